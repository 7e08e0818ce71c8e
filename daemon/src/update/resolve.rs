//! From a release and the admin's values to what the engine is asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use berth_format::image::Platform;
use berth_format::release::Migration;
use berth_format::service::{Healthcheck, NetworkMode, Service};
use berth_format::template::TemplateError;
use berth_format::validate::reaches_host;
use berth_format::{Name, Product, Release, Template};

use crate::engine::ImageRef;
use crate::engine::spec::{
    ContainerSpec, HealthSpec, NetworkChoice, NetworkSpec, PortSpec, VolumeSpec,
};
use crate::host::LaidTree;

mod mounts;

/// Label of the bridge by which services without ports reach out.
pub const EGRESS: &str = "@egress";
/// Label of the bridge that publishes ports.
pub const DOORS: &str = "@doors";

/// Milliseconds between the stop signal and the kill where nothing is said: Docker's own.
const STOP_GRACE_MS: u64 = 10_000;

/// Why a release cannot be made into containers here.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("{place}: {source}")]
    Template {
        place: String,
        source: TemplateError,
    },
    #[error("{place}: expected {expected}, found {found:?}")]
    Value {
        place: String,
        expected: &'static str,
        found: String,
    },
    #[error("image {image} is not made for {platform}")]
    Platform { image: String, platform: Platform },
    #[error("{0} is not in the release")]
    Missing(String),
}

type Result<T> = std::result::Result<T, ResolveError>;

/// Where on this machine, and for which one.
#[derive(Debug, Clone)]
pub struct Place {
    pub platform: Platform,
    /// Folder of what is bind-mounted, by content.
    pub mounts: PathBuf,
}

/// Resolves the parts of one release.
pub struct Resolver<'a> {
    pub release: &'a Release,
    pub values: &'a BTreeMap<String, String>,
    pub place: &'a Place,
    /// Real names of the networks by label.
    pub networks: &'a BTreeMap<String, String>,
    pub generation: u64,
}

/// `<product>-<service>-<generation>`.
pub fn container_name(product: &Product, service: &Name, generation: u64) -> String {
    format!("{product}-{service}-{generation}")
}

/// `<product>-migrate-<migration>-<generation>`.
pub fn migration_name(product: &Product, migration: &Name, generation: u64) -> String {
    format!("{product}-migrate-{migration}-{generation}")
}

/// `<product>_<volume>`, as Compose names it.
pub fn volume_name(product: &Product, volume: &Name) -> String {
    format!("{product}_{volume}")
}

/// The networks of a release by label; the name is still to be given.
pub fn networks(
    release: &Release,
    values: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, NetworkSpec>> {
    let mut all = bare_networks(release);
    for (name, network) in &release.networks {
        if let Some(spec) = all.get_mut(name.as_str()) {
            spec.labels = render_map(&network.labels, values, &format!("network {name}"))?;
        }
    }
    Ok(all)
}

/// The same without labels, which alone hold the admin's values.
pub fn bare_networks(release: &Release) -> BTreeMap<String, NetworkSpec> {
    let mut all = BTreeMap::new();
    let bridge = |label: &str| NetworkSpec {
        name: format!("{}-{}", release.product, &label[1..]),
        product: release.product.clone(),
        label: label.to_owned(),
        generation: 0,
        internal: false,
        ipv6: false,
        subnet: None,
        driver_opts: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    all.insert(EGRESS.to_owned(), bridge(EGRESS));
    all.insert(DOORS.to_owned(), bridge(DOORS));
    for (name, network) in &release.networks {
        let spec = NetworkSpec {
            name: String::new(),
            label: name.to_string(),
            // Doors and egress are Berth's own bridges: no network of the product lets out.
            internal: true,
            ipv6: network.ipv6,
            subnet: network.subnet.clone(),
            driver_opts: network.driver_opts.clone(),
            ..bridge(EGRESS)
        };
        all.insert(name.to_string(), spec);
    }
    all
}

/// The volumes of a release, each by itself.
pub fn volumes<'a>(
    release: &'a Release,
    values: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Result<VolumeSpec>> {
    release.volumes.iter().map(move |(name, volume)| {
        let place = format!("volume {name}");
        let driver_opts = render_map(&volume.driver_opts, values, &place)?;
        // What the admin filled in may hold a comma.
        let literal = driver_opts.iter();
        let literal = literal.map(|(key, value)| (key.clone(), Template::literal(value)));
        if let Some(key) = reaches_host(&literal.collect()) {
            let template = volume.driver_opts.get(key);
            return Err(ResolveError::Value {
                place: format!("{place}, option {key}"),
                expected: "options that show no path of this machine",
                // As the release has it: filled in it may hold a password.
                found: template.map_or_else(String::new, |t| t.source().to_owned()),
            });
        }
        Ok(VolumeSpec {
            name: volume_name(&release.product, name),
            product: release.product.clone(),
            label: name.clone(),
            driver_opts,
            labels: render_map(&volume.labels, values, &place)?,
        })
    })
}

impl Resolver<'_> {
    /// The container of a service. `shared` is the container whose network it shares, if it does.
    pub fn service(
        &self,
        name: &Name,
        shared: Option<&str>,
    ) -> Result<(ContainerSpec, Vec<LaidTree>)> {
        let service = self
            .release
            .services
            .get(name)
            .ok_or_else(|| ResolveError::Missing(format!("service {name}")))?;
        let real = container_name(&self.release.product, name, self.generation);
        self.container(name, real, service, shared)
    }

    /// The container of a migration.
    pub fn migration(
        &self,
        migration: &Migration,
        shared: Option<&str>,
    ) -> Result<(ContainerSpec, Vec<LaidTree>)> {
        let real = migration_name(&self.release.product, &migration.name, self.generation);
        let mut service = migration.service.clone();
        // A one-off publishes nothing and is never restarted.
        service.ports.clear();
        service.restart = berth_format::service::Restart::No;
        self.container(&migration.name, real, &service, shared)
    }

    fn container(
        &self,
        name: &Name,
        real: String,
        service: &Service,
        shared: Option<&str>,
    ) -> Result<(ContainerSpec, Vec<LaidTree>)> {
        let place = format!("service {name}");
        let text = |t: &Template| render(t, self.values, &place);
        let list = |l: &Vec<Template>| l.iter().map(text).collect::<Result<Vec<_>>>();
        let optional = |t: &Option<Template>| t.as_ref().map(text).transpose();
        let (mounts, laid) = self.mounts(service, &place)?;
        let c = &service.container;
        let spec = ContainerSpec {
            name: real,
            product: self.release.product.clone(),
            service: name.clone(),
            generation: self.generation,
            image: self.image(&service.image)?,
            command: service.command.as_ref().map(list).transpose()?,
            entrypoint: service.entrypoint.as_ref().map(list).transpose()?,
            environment: render_map(&service.environment, self.values, &place)?,
            ports: ports(service, self.values, &place).collect::<Result<_>>()?,
            expose: service.expose.clone(),
            mounts,
            network: self.network(name, service, shared)?,
            healthcheck: health(service.healthcheck.as_ref(), list)?,
            restart: service.restart,
            hostname: optional(&c.hostname)?,
            domainname: optional(&c.domainname)?,
            user: c.user.clone(),
            working_dir: c.working_dir.clone(),
            init: c.init,
            tty: c.tty,
            stdin_open: c.stdin_open,
            read_only: c.read_only,
            privileged: c.privileged,
            stop_signal: c.stop_signal.clone(),
            stop_grace_ms: c.stop_grace_ms.unwrap_or(STOP_GRACE_MS),
            labels: render_map(&c.labels, self.values, &place)?,
            logging: c.logging.clone(),
            extra_hosts: list(&c.extra_hosts)?,
            dns: c.dns.clone(),
            dns_search: c.dns_search.clone(),
            dns_opt: c.dns_opt.clone(),
            group_add: c.group_add.clone(),
            cap_add: c.cap_add.clone(),
            cap_drop: c.cap_drop.clone(),
            security_opt: c.security_opt.clone(),
            sysctls: c.sysctls.clone(),
            ulimits: c.ulimits.clone(),
            devices: c.devices.clone(),
            pid: c.pid.clone(),
            ipc: c.ipc.clone(),
            userns_mode: c.userns_mode.clone(),
            resources: service.resources.clone(),
        };
        Ok((spec, laid))
    }

    /// The image of a service on this machine.
    pub fn image(&self, key: &str) -> Result<ImageRef> {
        let image = self
            .release
            .images
            .get(key)
            .ok_or_else(|| ResolveError::Missing(format!("image {key}")))?;
        let found =
            image
                .platforms
                .get(&self.place.platform)
                .ok_or_else(|| ResolveError::Platform {
                    image: key.to_owned(),
                    platform: self.place.platform.clone(),
                })?;
        let (config, manifest) = (found.config.digest, found.manifest);
        Ok(ImageRef {
            tag: image.tag.clone(),
            config,
            manifest,
        })
    }

    fn network(
        &self,
        name: &Name,
        service: &Service,
        shared: Option<&str>,
    ) -> Result<NetworkChoice> {
        let networks = match &service.network {
            NetworkMode::None => return Ok(NetworkChoice::None),
            NetworkMode::Host => return Ok(NetworkChoice::Host),
            NetworkMode::Service(other) => {
                let container =
                    shared.ok_or_else(|| ResolveError::Missing(format!("service {other}")))?;
                return Ok(NetworkChoice::Container(container.to_owned()));
            }
            NetworkMode::Networks(networks) => networks,
        };
        let real = |label: &str| {
            self.networks
                .get(label)
                .cloned()
                .ok_or_else(|| ResolveError::Missing(format!("network {label}")))
        };
        let mut chosen = Vec::new();
        let mut reaches_out = false;
        for (label, attachment) in networks {
            let mut aliases = attachment.aliases.clone();
            aliases.insert(name.to_string());
            chosen.push((real(label.as_str())?, aliases));
            reaches_out |= self
                .release
                .networks
                .get(label)
                .is_some_and(|n| !n.internal);
        }
        if reaches_out && (service.ports.is_empty() || service.egress) {
            chosen.push((real(EGRESS)?, BTreeSet::new()));
        }
        Ok(NetworkChoice::Networks(chosen))
    }
}

/// The ports of a service, each by itself: one that cannot be filled in says nothing of the others.
pub fn ports<'a>(
    service: &'a Service,
    values: &'a BTreeMap<String, String>,
    place: &'a str,
) -> impl Iterator<Item = Result<PortSpec>> {
    service.ports.iter().map(move |port| {
        let unfit = |expected, found| ResolveError::Value {
            place: place.to_owned(),
            expected,
            found,
        };
        let text = |t: &Option<Template>| t.as_ref().map(|t| render(t, values, place)).transpose();
        let published = text(&port.published)?.map(|text| match text.parse::<u16>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(unfit("a port, 1 to 65535", text)),
        });
        let host_ip =
            text(&port.host_ip)?.map(|text| text.parse().map_err(|_| unfit("an IP address", text)));
        Ok(PortSpec {
            target: port.target,
            protocol: port.protocol,
            published: published.transpose()?,
            host_ip: host_ip.transpose()?,
        })
    })
}

fn health(
    check: Option<&Healthcheck>,
    list: impl Fn(&Vec<Template>) -> Result<Vec<String>>,
) -> Result<Option<HealthSpec>> {
    Ok(match check {
        None => None,
        Some(Healthcheck::Disabled) => Some(HealthSpec::Disabled),
        Some(Healthcheck::Test {
            test,
            interval_ms,
            timeout_ms,
            retries,
            start_period_ms,
            start_interval_ms,
        }) => Some(HealthSpec::Test {
            test: test.as_ref().map(list).transpose()?,
            interval_ms: *interval_ms,
            timeout_ms: *timeout_ms,
            retries: *retries,
            start_period_ms: *start_period_ms,
            start_interval_ms: *start_interval_ms,
        }),
    })
}

fn render(template: &Template, values: &BTreeMap<String, String>, place: &str) -> Result<String> {
    template
        .render(values)
        .map_err(|source| ResolveError::Template {
            place: place.to_owned(),
            source,
        })
}

fn render_map(
    map: &BTreeMap<String, Template>,
    values: &BTreeMap<String, String>,
    place: &str,
) -> Result<BTreeMap<String, String>> {
    map.iter()
        .map(|(key, value)| Ok((key.clone(), render(value, values, place)?)))
        .collect()
}
