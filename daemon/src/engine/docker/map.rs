//! Between the engine's words and ours, without asking anybody.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_format::service::Restart;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, DeviceMapping,
    EndpointSettings, HealthConfig, HealthStatusEnum, HostConfig, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use jiff::Timestamp;
use semver::Version;

use crate::engine::spec::{HealthSpec, MountSpec, NetworkChoice};
use crate::engine::{
    Container, ContainerSpec, ContainerState, Health, ImageStore, LABEL_GENERATION, LABEL_NAME,
    LABEL_PRODUCT, LABEL_SPEC,
};

/// The first API in which `start_interval` means something.
const START_INTERVAL_API: (u32, u32) = (1, 44);

/// The numbers that a version begins with; distributions write all kinds of things behind them.
pub fn version(text: &str) -> Option<Version> {
    let numbers: String = text
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let mut parts = numbers.split('.').map(str::parse::<u64>);
    let major = parts.next()?.ok()?;
    let mut rest = || parts.next().and_then(Result::ok).unwrap_or_default();
    Some(Version::new(major, rest(), rest()))
}

/// `1.41`.
pub fn api(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|p| p.parse().unwrap_or_default());
    let mut part = || parts.next().unwrap_or_default();
    (part(), part())
}

/// `root = "…"` of containerd's configuration, before its first table.
pub fn containerd_root(config: &str) -> Option<PathBuf> {
    config
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with('['))
        .find_map(|line| {
            let value = line.strip_prefix("root")?.trim_start().strip_prefix('=')?;
            let value = value.trim();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (path, _) = value[1..].split_once(quote)?;
            Some(PathBuf::from(path))
        })
}

/// What the engine's filters take.
pub fn filters<const N: usize>(pairs: [(&str, String); N]) -> HashMap<String, Vec<String>> {
    let mut filters: HashMap<String, Vec<String>> = HashMap::new();
    for (key, value) in pairs {
        filters.entry(key.to_owned()).or_default().push(value);
    }
    filters
}

/// As Docker writes it.
pub fn restart_policy(policy: Restart) -> RestartPolicy {
    let (name, retries) = match policy {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure { max_retries } => (
            RestartPolicyNameEnum::ON_FAILURE,
            Some(i64::from(max_retries)),
        ),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: retries,
    }
}

fn restart(policy: Option<&RestartPolicy>) -> Restart {
    let name = policy.and_then(|p| p.name);
    match name {
        Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
        Some(RestartPolicyNameEnum::ON_FAILURE) => Restart::OnFailure {
            max_retries: policy
                .and_then(|p| p.maximum_retry_count)
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or_default(),
        },
        _ => Restart::No,
    }
}

/// Docker's zero time is no time.
fn moment(text: Option<&String>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time.as_second() > 0).then_some(time)
}

/// A container of ours; `None` where a label of Berth is missing.
pub fn container(found: ContainerInspectResponse) -> Option<Container> {
    let labels = found.config.and_then(|c| c.labels).unwrap_or_default();
    labels.get(LABEL_PRODUCT)?;
    let state = found.state.unwrap_or_default();
    let health = match state.health.and_then(|h| h.status) {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        _ => Health::None,
    };
    let address = |endpoint: &EndpointSettings| {
        [&endpoint.ip_address, &endpoint.global_ipv6_address]
            .into_iter()
            .find_map(|text| text.as_ref()?.parse().ok())
    };
    Some(Container {
        name: found.name?.trim_start_matches('/').to_owned(),
        id: found.id?,
        service: labels.get(LABEL_NAME)?.parse().ok()?,
        generation: labels.get(LABEL_GENERATION)?.parse().ok()?,
        spec: labels.get(LABEL_SPEC).and_then(|s| s.parse().ok()),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
                ContainerState::Running
            }
            Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
            Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
            Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
            Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited {
                code: state.exit_code.unwrap_or_default(),
            },
            Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
            _ => ContainerState::Created,
        },
        health,
        started: moment(state.started_at.as_ref()),
        finished: moment(state.finished_at.as_ref()),
        restarts: found
            .restart_count
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or_default(),
        restart: restart(found.host_config.and_then(|h| h.restart_policy).as_ref()),
        networks: found
            .network_settings
            .and_then(|n| n.networks)
            .unwrap_or_default()
            .into_iter()
            .map(|(name, endpoint)| (name, address(&endpoint)))
            .collect(),
    })
}

/// How a container is on a network.
pub fn endpoint<'a>(aliases: impl IntoIterator<Item = &'a String>) -> EndpointSettings {
    EndpointSettings {
        aliases: Some(aliases.into_iter().cloned().collect()),
        ..EndpointSettings::default()
    }
}

/// What a create asks for: everything but the second and later networks.
pub fn create(spec: &ContainerSpec, store: ImageStore, api: (u32, u32)) -> ContainerCreateBody {
    let mut labels: HashMap<_, _> = spec.labels.clone().into_iter().collect();
    labels.insert(LABEL_PRODUCT.into(), spec.product.to_string());
    labels.insert(LABEL_NAME.into(), spec.service.to_string());
    labels.insert(LABEL_GENERATION.into(), spec.generation.to_string());
    labels.insert(LABEL_SPEC.into(), spec.digest().to_string());
    // Ports belong to whoever owns the network.
    let own_network = !matches!(spec.network, NetworkChoice::Container(_));
    let mut exposed: Vec<_> = spec
        .expose
        .iter()
        .map(|port| {
            if port.contains('/') {
                port.clone()
            } else {
                format!("{port}/tcp")
            }
        })
        .collect();
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        let key = format!("{}/{}", port.target, port.protocol.as_str());
        exposed.push(key.clone());
        bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: port.host_ip.map(|ip| ip.to_string()),
                host_port: Some(port.published.map(|p| p.to_string()).unwrap_or_default()),
            });
    }
    exposed.sort_unstable();
    exposed.dedup();
    ContainerCreateBody {
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        user: spec.user.clone(),
        exposed_ports: own_network.then_some(exposed),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin_open),
        env: Some(
            spec.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        cmd: spec.command.clone(),
        healthcheck: spec.healthcheck.as_ref().map(|h| health(h, api)),
        image: Some(spec.image.id(store).to_string()),
        working_dir: spec.working_dir.clone(),
        entrypoint: spec.entrypoint.clone(),
        labels: Some(labels),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: i64::try_from(spec.stop_grace_ms.div_ceil(1000)).ok(),
        host_config: Some(HostConfig {
            port_bindings: own_network.then_some(bindings),
            ..host_config(spec)
        }),
        networking_config: match &spec.network {
            NetworkChoice::Networks(networks) => {
                networks.first().map(|(name, aliases)| NetworkingConfig {
                    endpoints_config: Some(HashMap::from([(name.clone(), endpoint(aliases))])),
                })
            }
            _ => None,
        },
        ..ContainerCreateBody::default()
    }
}

/// The networks beyond the first.
pub fn more_networks(spec: &ContainerSpec) -> &[(String, std::collections::BTreeSet<String>)] {
    match &spec.network {
        NetworkChoice::Networks(networks) => networks.get(1..).unwrap_or_default(),
        _ => &[],
    }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    let set = |items: &std::collections::BTreeSet<String>| {
        (!items.is_empty()).then(|| items.iter().cloned().collect())
    };
    let limits = &spec.resources;
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for wanted in &spec.mounts {
        match bind_text(wanted) {
            Some(text) => binds.push(text),
            None => mounts.push(mount(wanted)),
        }
    }
    HostConfig {
        binds: Some(binds),
        mounts: Some(mounts),
        network_mode: Some(match &spec.network {
            NetworkChoice::Networks(networks) => networks
                .first()
                .map_or_else(|| "none".to_owned(), |(name, _)| name.clone()),
            NetworkChoice::None => "none".into(),
            NetworkChoice::Host => "host".into(),
            NetworkChoice::Container(name) => format!("container:{name}"),
        }),
        // What it will be is set at commit: until then a killed Docker must start nothing.
        restart_policy: Some(restart_policy(Restart::No)),
        init: spec.init,
        readonly_rootfs: Some(spec.read_only),
        privileged: Some(spec.privileged),
        log_config: spec.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver.clone()),
            config: Some(logging.options.clone().into_iter().collect()),
        }),
        extra_hosts: list(&spec.extra_hosts),
        dns: (!spec.dns.is_empty()).then(|| spec.dns.iter().map(ToString::to_string).collect()),
        dns_search: list(&spec.dns_search),
        dns_options: list(&spec.dns_opt),
        group_add: list(&spec.group_add),
        cap_add: set(&spec.cap_add),
        cap_drop: set(&spec.cap_drop),
        security_opt: list(&spec.security_opt),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        ulimits: (!spec.ulimits.is_empty()).then(|| {
            spec.ulimits
                .iter()
                .map(|(name, limit)| ResourcesUlimits {
                    name: Some(name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect()
        }),
        devices: (!spec.devices.is_empty()).then(|| {
            spec.devices
                .iter()
                .map(|device| DeviceMapping {
                    path_on_host: Some(device.source.clone()),
                    path_in_container: Some(device.target.clone()),
                    cgroup_permissions: Some(device.permissions.clone()),
                })
                .collect()
        }),
        pid_mode: spec.pid.clone(),
        ipc_mode: spec.ipc.clone(),
        userns_mode: spec.userns_mode.clone(),
        nano_cpus: limits.nano_cpus,
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset.clone(),
        memory: limits.memory,
        memory_reservation: limits.memory_reservation,
        memory_swap: limits.memory_swap,
        shm_size: limits.shm_size,
        pids_limit: limits.pids_limit,
        oom_score_adj: limits.oom_score_adj,
        ..HostConfig::default()
    }
}

/// A path that Docker is to make when it is missing: only the old form does so on every engine.
fn bind_text(wanted: &MountSpec) -> Option<String> {
    match wanted {
        MountSpec::Bind {
            path,
            target,
            read_only,
            create: true,
            propagation,
        } => {
            let path = path.to_str()?;
            if path.contains(':') || target.contains(':') {
                return None;
            }
            let mode = if *read_only { "ro" } else { "rw" };
            let extra = propagation.as_ref().map(|p| format!(",{p}"));
            Some(format!(
                "{path}:{target}:{mode}{}",
                extra.unwrap_or_default()
            ))
        }
        _ => None,
    }
}

fn mount(wanted: &MountSpec) -> Mount {
    match wanted {
        MountSpec::Volume {
            name,
            target,
            read_only,
            nocopy,
        } => Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            volume_options: nocopy.then(|| MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        },
        MountSpec::Bind {
            path,
            target,
            read_only,
            create,
            propagation,
        } => Mount {
            typ: Some(MountType::BIND),
            source: Some(path.to_string_lossy().into_owned()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            bind_options: (*create || propagation.is_some()).then(|| MountBindOptions {
                propagation: propagation.as_deref().and_then(propagation_mode),
                create_mountpoint: create.then_some(true),
                ..MountBindOptions::default()
            }),
            ..Mount::default()
        },
        MountSpec::Tmpfs { target, size, mode } => Mount {
            typ: Some(MountType::TMPFS),
            target: Some(target.clone()),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: size.and_then(|s| i64::try_from(s).ok()),
                mode: mode.map(i64::from),
                ..MountTmpfsOptions::default()
            }),
            ..Mount::default()
        },
    }
}

fn propagation_mode(text: &str) -> Option<MountBindOptionsPropagationEnum> {
    Some(match text {
        "private" => MountBindOptionsPropagationEnum::PRIVATE,
        "rprivate" => MountBindOptionsPropagationEnum::RPRIVATE,
        "shared" => MountBindOptionsPropagationEnum::SHARED,
        "rshared" => MountBindOptionsPropagationEnum::RSHARED,
        "slave" => MountBindOptionsPropagationEnum::SLAVE,
        "rslave" => MountBindOptionsPropagationEnum::RSLAVE,
        _ => return None,
    })
}

fn health(wanted: &HealthSpec, api: (u32, u32)) -> HealthConfig {
    // Nanoseconds; Docker refuses less than a millisecond and reads zero as "inherit".
    let time = |ms: &Option<u64>| ms.map(|ms| i64::try_from(ms * 1_000_000).unwrap_or(i64::MAX));
    match wanted {
        HealthSpec::Disabled => HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..HealthConfig::default()
        },
        HealthSpec::Test {
            test,
            interval_ms,
            timeout_ms,
            retries,
            start_period_ms,
            start_interval_ms,
        } => HealthConfig {
            test: test.clone(),
            interval: time(interval_ms),
            timeout: time(timeout_ms),
            retries: retries.map(i64::from),
            start_period: time(start_period_ms),
            start_interval: time(start_interval_ms).filter(|_| api >= START_INTERVAL_API),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_stands_behind_them() {
        for (text, expected) in [
            ("20.10.24+dfsg1", Some((20, 10, 24))),
            ("26.1.5+dfsg1-9", Some((26, 1, 5))),
            ("28.5.0-rc.1", Some((28, 5, 0))),
            ("17.06.0-ce", Some((17, 6, 0))),
            ("27", Some((27, 0, 0))),
            ("dev", None),
            ("", None),
        ] {
            let expected = expected.map(|(a, b, c)| Version::new(a, b, c));
            assert_eq!(version(text), expected, "{text}");
        }
        assert_eq!(api("1.41"), (1, 41));
        assert_eq!(api(""), (0, 0));
    }

    #[test]
    fn containerd_says_where_its_root_is() {
        let config = "version = 2\n# root = \"/no\"\nroot = '/srv/containerd' # here\n[plugins]\nroot = \"/plugin\"\n";
        assert_eq!(containerd_root(config), Some("/srv/containerd".into()));
        assert_eq!(containerd_root("[plugins]\nroot = \"/plugin\"\n"), None);
    }

    #[test]
    fn a_bind_that_may_be_made_takes_the_form_that_makes_it() {
        let bind = |path: &str, create| MountSpec::Bind {
            path: path.into(),
            target: "/data".into(),
            read_only: true,
            create,
            propagation: Some("rslave".into()),
        };
        assert_eq!(
            bind_text(&bind("/srv/x", true)).as_deref(),
            Some("/srv/x:/data:ro,rslave")
        );
        assert_eq!(bind_text(&bind("/srv/x", false)), None);
        assert_eq!(bind_text(&bind("/srv/x:y", true)), None);
    }

    #[test]
    fn start_interval_is_kept_from_engines_that_do_not_know_it() {
        let spec = HealthSpec::Test {
            test: None,
            interval_ms: Some(5),
            timeout_ms: None,
            retries: None,
            start_period_ms: None,
            start_interval_ms: Some(7),
        };
        assert_eq!(health(&spec, (1, 43)).start_interval, None);
        assert_eq!(health(&spec, (1, 44)).start_interval, Some(7_000_000));
        assert_eq!(health(&spec, (1, 41)).interval, Some(5_000_000));
    }
}
