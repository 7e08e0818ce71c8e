//! Every key of the Compose specification and what becomes of it.
//!
//! The resolver asks this table about each key that it meets, and docs/compose.md is printed
//! from it, so neither can say something else than the other.

use std::fmt::Write as _;

use crate::compose::cursor::At;
use crate::problem::Problem;
use crate::yaml::join;

/// Which map a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    File,
    Include,
    Service,
    Extends,
    EnvFile,
    DependsOn,
    Healthcheck,
    Port,
    Mount,
    MountBind,
    MountVolume,
    MountTmpfs,
    FileUse,
    Attachment,
    Logging,
    Ulimit,
    Device,
    Deploy,
    Resources,
    Limits,
    Reservations,
    RestartPolicy,
    Network,
    Ipam,
    IpamConfig,
    Volume,
    Source,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Becomes part of the release; the text says how.
    Supported(&'static str),
    /// Means nothing on an appliance; a warning says so.
    Warned(&'static str),
    /// Refused: the reason, and what to do instead.
    Refused(&'static str, &'static str),
}

/// A key of the specification.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub scope: Scope,
    pub name: &'static str,
    pub fate: Fate,
    /// Version of berth-publish that first treated it so.
    pub since: &'static str,
}

const fn yes(scope: Scope, name: &'static str, how: &'static str) -> Key {
    Key {
        scope,
        name,
        fate: Fate::Supported(how),
        since: "0.1.0",
    }
}

const fn off(scope: Scope, name: &'static str, why: &'static str) -> Key {
    Key {
        scope,
        name,
        fate: Fate::Warned(why),
        since: "0.1.0",
    }
}

const fn no(scope: Scope, name: &'static str, why: &'static str, instead: &'static str) -> Key {
    Key {
        scope,
        name,
        fate: Fate::Refused(why, instead),
        since: "0.1.0",
    }
}

use Scope as S;

const AT_CUSTOMER: &str = "the customer's machine has no source code";
const ONE_MACHINE: &str = "belongs to Swarm; an appliance is one machine";
const BERTH_NAMES: &str = "Berth names what it makes, so that generations do not collide";
const BOTH_GENERATIONS: &str = "old and new containers are on the network side by side";
const HOST_SPECIFIC: &str = "depends on the machine that it was written for";

/// The table.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    off(S::File, "version", "is obsolete and means nothing"),
    yes(S::File, "name", "should be the product of berth.yaml, which is what holds"),
    yes(S::File, "include", "short and long form; a name that two files define must mean the same in both"),
    yes(S::File, "services", ""),
    yes(S::File, "networks", ""),
    yes(S::File, "volumes", ""),
    yes(S::File, "secrets", "from `file:`, or from `environment:` where that names a config field or a variable"),
    yes(S::File, "configs", "from `file:`, `content:` or `environment:`"),
    no(S::File, "models", "models are pulled from the internet by Docker Model Runner", "ship a service that serves the model"),
    yes(S::Include, "path", "one file, or several that are layered"),
    yes(S::Include, "project_directory", "relative paths of the included files start here"),
    yes(S::Include, "env_file", "variables of the included files"),
    no(S::Service, "annotations", "only some OCI runtimes read them", "use `labels`"),
    off(S::Service, "attach", "only `docker compose up` reads it"),
    no(S::Service, "blkio_config", HOST_SPECIFIC, "remove it"),
    no(S::Service, "build", AT_CUSTOMER, "build the image before and name it in `image:`; say `ignore: [build]` in berth.yaml if the file keeps `build:` for developers"),
    yes(S::Service, "cap_add", "a capability beyond Docker's default set is a grant"),
    yes(S::Service, "cap_drop", ""),
    no(S::Service, "cgroup", "the host's cgroups hold Berth itself", "remove it"),
    no(S::Service, "cgroup_parent", HOST_SPECIFIC, "remove it"),
    yes(S::Service, "command", "text (split as a shell would) or list; replaced when files are layered"),
    yes(S::Service, "configs", "short and long form; files are read-only"),
    yes(S::Service, "container_name", "becomes an alias on every network of the service: each generation has containers of its own names; left out, with a warning, beside `network_mode`"),
    no(S::Service, "cpu_count", "Windows only", "use `cpus`"),
    no(S::Service, "cpu_percent", "Windows only", "use `cpus`"),
    no(S::Service, "cpu_period", "is the older way to say `cpus`", "use `cpus`"),
    no(S::Service, "cpu_quota", "is the older way to say `cpus`", "use `cpus`"),
    no(S::Service, "cpu_rt_period", "needs a kernel and an engine that were set up for it", "remove it"),
    no(S::Service, "cpu_rt_runtime", "needs a kernel and an engine that were set up for it", "remove it"),
    yes(S::Service, "cpu_shares", ""),
    yes(S::Service, "cpus", "same as deploy.resources.limits.cpus"),
    yes(S::Service, "cpuset", ""),
    no(S::Service, "credential_spec", "Windows only", "remove it"),
    yes(S::Service, "depends_on", "list or map; all three conditions, `required`, `restart`"),
    yes(S::Service, "deploy", "what makes sense on one machine"),
    off(S::Service, "develop", "only `docker compose watch` reads it"),
    no(S::Service, "device_cgroup_rules", "opens devices without naming them", "name them in `devices`"),
    yes(S::Service, "devices", "each one is a grant; CDI names are refused"),
    yes(S::Service, "dns", ""),
    yes(S::Service, "dns_opt", ""),
    yes(S::Service, "dns_search", ""),
    yes(S::Service, "domainname", ""),
    yes(S::Service, "entrypoint", "text or list; an empty list clears the image's"),
    yes(S::Service, "env_file", "text, list, long form with `required` and `format`; read when the release is built; a name without a value is as in `environment`"),
    yes(S::Service, "environment", "map or list; a name without a value takes the config field or variable of that name"),
    yes(S::Service, "expose", "ports and ranges"),
    yes(S::Service, "extends", "same file or another, chains; a circle is refused"),
    no(S::Service, "external_links", "points to containers outside of the product", "give the address as a config field"),
    yes(S::Service, "extra_hosts", "map or list"),
    no(S::Service, "gpus", "no way yet to check the customer's machine for them", "name the device files in `devices`"),
    yes(S::Service, "group_add", ""),
    yes(S::Service, "healthcheck", ""),
    yes(S::Service, "hostname", ""),
    yes(S::Service, "image", "pinned by digest; the release carries it"),
    yes(S::Service, "init", ""),
    yes(S::Service, "ipc", "`private`, `shareable`; `host` is a grant"),
    no(S::Service, "isolation", "Windows only", "remove it"),
    no(S::Service, "label_file", "is not supported yet", "use `labels`"),
    yes(S::Service, "labels", "map or list; com.docker.compose.* is refused"),
    no(S::Service, "links", "is the older way to say aliases", "every service is reachable under its name; give others under `networks: {default: {aliases: [...]}}` of the service that is linked to"),
    yes(S::Service, "logging", "drivers of Docker itself"),
    no(S::Service, "mac_address", BOTH_GENERATIONS, "remove it"),
    yes(S::Service, "mem_limit", "same as deploy.resources.limits.memory"),
    yes(S::Service, "mem_reservation", "same as deploy.resources.reservations.memory"),
    no(S::Service, "mem_swappiness", "does not exist under cgroup v2", "remove it"),
    yes(S::Service, "memswap_limit", ""),
    no(S::Service, "models", "models are pulled from the internet by Docker Model Runner", "ship a service that serves the model"),
    yes(S::Service, "network_mode", "`none`; `service:NAME`, and what belongs to a network of its own is refused then; `host` is a grant"),
    yes(S::Service, "networks", "list or map; without it the service is on `default`"),
    no(S::Service, "oom_kill_disable", "does not exist under cgroup v2", "use `oom_score_adj`"),
    yes(S::Service, "oom_score_adj", ""),
    yes(S::Service, "pid", "`host` is a grant; others are refused"),
    yes(S::Service, "pids_limit", "same as deploy.resources.limits.pids"),
    yes(S::Service, "platform", "must be one of `platforms:` in berth.yaml, and the only one"),
    yes(S::Service, "ports", "short, long, ranges, host address, protocol; the published port may be a config field"),
    no(S::Service, "post_start", "hooks run again at each start, also in the middle of a rollback", "put it into the image's entrypoint"),
    no(S::Service, "pre_stop", "a crash does not run it", "let the process act on its stop signal"),
    yes(S::Service, "privileged", "a grant"),
    yes(S::Service, "profiles", "`profiles:` in berth.yaml chooses; the rest is left out of the release"),
    no(S::Service, "provider", "runs a program on the machine of whoever calls Compose", "ship a service"),
    off(S::Service, "pull_policy", "the release carries its images, nothing is pulled"),
    off(S::Service, "pull_refresh_after", "the release carries its images, nothing is pulled"),
    yes(S::Service, "read_only", ""),
    yes(S::Service, "restart", "all four policies; without it `no`"),
    no(S::Service, "runtime", "needs an engine that was set up for it", "remove it"),
    yes(S::Service, "scale", "only 1"),
    yes(S::Service, "secrets", "short and long form; files are read-only"),
    yes(S::Service, "security_opt", "switching a confinement off is a grant; profiles from files are refused"),
    yes(S::Service, "shm_size", ""),
    yes(S::Service, "stdin_open", ""),
    yes(S::Service, "stop_grace_period", ""),
    yes(S::Service, "stop_signal", ""),
    no(S::Service, "storage_opt", "depends on the engine's storage driver", "remove it"),
    yes(S::Service, "sysctls", "map or list; `net.*` is refused beside `network_mode: host`, those of IPC beside `ipc: host`, as Docker does"),
    yes(S::Service, "tmpfs", "text or list, with size and mode"),
    yes(S::Service, "tty", ""),
    yes(S::Service, "ulimits", "one number, or soft and hard"),
    no(S::Service, "use_api_socket", "hands the vendor's registry passwords to the container", "mount /var/run/docker.sock and say so under `grants:` in berth.yaml"),
    yes(S::Service, "user", ""),
    yes(S::Service, "userns_mode", "`host` is a grant"),
    no(S::Service, "uts", "the host's name is the customer's", "remove it"),
    yes(S::Service, "volumes", "named volumes, files of the vendor's folder (read-only), host paths (grants), tmpfs; short and long"),
    no(S::Service, "volumes_from", "hides what is mounted where", "name the volumes in each service"),
    yes(S::Service, "working_dir", ""),
    yes(S::Extends, "file", ""),
    yes(S::Extends, "service", ""),
    yes(S::EnvFile, "path", ""),
    yes(S::EnvFile, "required", ""),
    yes(S::EnvFile, "format", "`raw`: nothing is interpolated"),
    yes(S::DependsOn, "condition", ""),
    yes(S::DependsOn, "required", "`false`: its failure does not count, and its profile may leave it out"),
    yes(S::DependsOn, "restart", ""),
    yes(S::Healthcheck, "test", "text, `CMD`, `CMD-SHELL`, `NONE`; an empty list is the image's own"),
    yes(S::Healthcheck, "interval", ""),
    yes(S::Healthcheck, "timeout", ""),
    yes(S::Healthcheck, "retries", ""),
    yes(S::Healthcheck, "start_period", ""),
    yes(S::Healthcheck, "start_interval", "on engines from 25.0"),
    yes(S::Healthcheck, "disable", ""),
    yes(S::Port, "target", ""),
    yes(S::Port, "published", "a number or a config field; a range only in the short form"),
    yes(S::Port, "host_ip", ""),
    yes(S::Port, "protocol", "tcp, udp, sctp"),
    yes(S::Port, "mode", "both mean the same on one machine"),
    off(S::Port, "name", "is only for people"),
    off(S::Port, "app_protocol", "is only for people"),
    yes(S::Mount, "type", "volume, bind, tmpfs"),
    yes(S::Mount, "source", ""),
    yes(S::Mount, "target", ""),
    yes(S::Mount, "read_only", ""),
    yes(S::Mount, "bind", ""),
    yes(S::Mount, "volume", ""),
    yes(S::Mount, "tmpfs", ""),
    off(S::Mount, "consistency", "Docker itself ignores it"),
    no(S::Mount, "image", "mounts of images need an engine that few customers have", "copy the files into the service's image"),
    yes(S::MountBind, "propagation", "host paths only"),
    yes(S::MountBind, "create_host_path", ""),
    no(S::MountBind, "selinux", "relabels the customer's files", "remove it"),
    no(S::MountBind, "recursive", "is not supported yet", "remove it"),
    yes(S::MountVolume, "nocopy", ""),
    no(S::MountVolume, "labels", "labels an anonymous volume", "give the volume a name and label it under `volumes:`"),
    no(S::MountVolume, "subpath", "needs an engine that few customers have", "use one volume for each path"),
    yes(S::MountTmpfs, "size", ""),
    yes(S::MountTmpfs, "mode", ""),
    yes(S::FileUse, "source", ""),
    yes(S::FileUse, "target", ""),
    yes(S::FileUse, "mode", "octal, as in 0440"),
    yes(S::FileUse, "uid", "where the value is a config field"),
    yes(S::FileUse, "gid", "where the value is a config field"),
    yes(S::Attachment, "aliases", ""),
    no(S::Attachment, "ipv4_address", BOTH_GENERATIONS, "reach the service by its name"),
    no(S::Attachment, "ipv6_address", BOTH_GENERATIONS, "reach the service by its name"),
    no(S::Attachment, "link_local_ips", BOTH_GENERATIONS, "reach the service by its name"),
    no(S::Attachment, "mac_address", BOTH_GENERATIONS, "remove it"),
    no(S::Attachment, "interface_name", "needs an engine that few customers have", "remove it"),
    no(S::Attachment, "driver_opts", "needs an engine that few customers have", "remove it"),
    no(S::Attachment, "priority", "Berth decides which network has the way out", "remove it; `services: {x: {egress: true}}` in berth.yaml gives a way out"),
    no(S::Attachment, "gw_priority", "Berth decides which network has the way out", "remove it; `services: {x: {egress: true}}` in berth.yaml gives a way out"),
    yes(S::Logging, "driver", ""),
    yes(S::Logging, "options", ""),
    yes(S::Ulimit, "soft", ""),
    yes(S::Ulimit, "hard", ""),
    yes(S::Device, "source", ""),
    yes(S::Device, "target", ""),
    yes(S::Device, "permissions", "of `r`, `w` and `m`; default `rwm`"),
    yes(S::Deploy, "resources", ""),
    yes(S::Deploy, "restart_policy", "becomes `restart`"),
    yes(S::Deploy, "replicas", "only 1"),
    yes(S::Deploy, "mode", "only `replicated`"),
    no(S::Deploy, "endpoint_mode", ONE_MACHINE, "remove it"),
    no(S::Deploy, "labels", "labels a Swarm service", "use `labels` of the service"),
    no(S::Deploy, "placement", ONE_MACHINE, "remove it"),
    no(S::Deploy, "rollback_config", ONE_MACHINE, "remove it; Berth rolls back by itself"),
    no(S::Deploy, "update_config", ONE_MACHINE, "remove it; Berth updates in the order of depends_on"),
    yes(S::Resources, "limits", ""),
    yes(S::Resources, "reservations", ""),
    yes(S::Limits, "cpus", ""),
    yes(S::Limits, "memory", ""),
    yes(S::Limits, "pids", ""),
    yes(S::Reservations, "memory", ""),
    no(S::Reservations, "cpus", "Docker reserves no CPUs outside of Swarm", "use `cpu_shares`, and `requires: {cpus: N}` in berth.yaml"),
    no(S::Reservations, "devices", "no way yet to check the customer's machine for them", "name the device files in `devices`"),
    no(S::Reservations, "generic_resources", ONE_MACHINE, "remove it"),
    yes(S::RestartPolicy, "condition", "none, on-failure, any"),
    yes(S::RestartPolicy, "max_attempts", "with `on-failure`"),
    no(S::RestartPolicy, "delay", ONE_MACHINE, "remove it; Docker waits longer from try to try"),
    no(S::RestartPolicy, "window", ONE_MACHINE, "remove it"),
    yes(S::Network, "driver", "only `bridge`"),
    yes(S::Network, "driver_opts", ""),
    yes(S::Network, "enable_ipv6", ""),
    yes(S::Network, "enable_ipv4", "only `true`"),
    yes(S::Network, "internal", ""),
    yes(S::Network, "ipam", ""),
    yes(S::Network, "labels", ""),
    yes(S::Network, "external", "only `false`: a network of the customer's may not exist"),
    off(S::Network, "name", BERTH_NAMES),
    off(S::Network, "attachable", "means nothing outside of Swarm"),
    yes(S::Ipam, "driver", "only `default`"),
    yes(S::Ipam, "config", "one subnet"),
    no(S::Ipam, "options", "depends on the driver", "remove it"),
    yes(S::IpamConfig, "subnet", ""),
    no(S::IpamConfig, "gateway", "Docker chooses it from the subnet", "remove it"),
    no(S::IpamConfig, "ip_range", BOTH_GENERATIONS, "remove it"),
    no(S::IpamConfig, "aux_addresses", BOTH_GENERATIONS, "remove it"),
    yes(S::Volume, "driver", "only `local`"),
    yes(S::Volume, "driver_opts", "types tmpfs, nfs, nfs4, cifs, smb3, ceph; data outside of Docker's root: never in snapshots"),
    yes(S::Volume, "labels", ""),
    yes(S::Volume, "external", "only `false`: a volume of the customer's may not exist"),
    off(S::Volume, "name", BERTH_NAMES),
    yes(S::Source, "file", "packed into the release"),
    yes(S::Source, "environment", "a config field (its value becomes the file) or a variable"),
    yes(S::Source, "content", "configs only; may name config fields"),
    yes(S::Source, "external", "only `false`"),
    off(S::Source, "name", BERTH_NAMES),
    no(S::Source, "labels", ONE_MACHINE, "remove it"),
    no(S::Source, "driver", ONE_MACHINE, "remove it"),
    no(S::Source, "driver_opts", ONE_MACHINE, "remove it"),
    no(S::Source, "template_driver", ONE_MACHINE, "use `content:` with ${NAME}"),
];

/// Looks a key up.
pub fn find(scope: Scope, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.scope == scope && k.name == name)
}

/// Checks every key of a map against the table. `x-*` is the vendor's own.
pub fn check(at: &At, scope: Scope) {
    check_but(at, scope, &[]);
}

/// [`check`], where some keys that would be refused are left out on purpose.
pub fn check_but(at: &At, scope: Scope, ignored: &[String]) {
    let Some(map) = at.map() else { return };
    for entry in &map.entries {
        if entry.key.starts_with("x-") || ignored.contains(&entry.key) {
            continue;
        }
        let key = join(&at.key, &entry.key);
        match find(scope, &entry.key).map(|k| k.fate) {
            Some(Fate::Supported(_)) => {}
            Some(Fate::Warned(why)) => {
                at.report
                    .warning(Problem::new(&entry.pos, &key, why, "it is left out"));
            }
            Some(Fate::Refused(why, instead)) => {
                at.report
                    .problem(Problem::new(&entry.pos, &key, why, instead));
            }
            None => {
                let names = KEYS.iter().filter(|k| k.scope == scope).map(|k| k.name);
                let problem = Problem::new(
                    &entry.pos,
                    &key,
                    "is no key of the Compose specification",
                    nearest(&entry.key, names),
                );
                at.report.problem(problem);
            }
        }
    }
}

/// "did you mean", or what to do with a key that nobody knows.
pub fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> String {
    names
        .map(|n| (distance(name, n), n))
        .min()
        .filter(|(d, n)| *d <= n.len() / 3)
        .map_or_else(
            || "remove it, or let its name begin with x-".to_owned(),
            |(_, n)| format!("did you mean `{n}`?"),
        )
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl Scope {
    /// Where such maps stand, for the table.
    pub fn place(self) -> &'static str {
        match self {
            S::File => "",
            S::Include => "include[]",
            S::Service => "services.*",
            S::Extends => "services.*.extends",
            S::EnvFile => "services.*.env_file[]",
            S::DependsOn => "services.*.depends_on.*",
            S::Healthcheck => "services.*.healthcheck",
            S::Port => "services.*.ports[]",
            S::Mount => "services.*.volumes[]",
            S::MountBind => "services.*.volumes[].bind",
            S::MountVolume => "services.*.volumes[].volume",
            S::MountTmpfs => "services.*.volumes[].tmpfs",
            S::FileUse => "services.*.{secrets,configs}[]",
            S::Attachment => "services.*.networks.*",
            S::Logging => "services.*.logging",
            S::Ulimit => "services.*.ulimits.*",
            S::Device => "services.*.devices[]",
            S::Deploy => "services.*.deploy",
            S::Resources => "services.*.deploy.resources",
            S::Limits => "services.*.deploy.resources.limits",
            S::Reservations => "services.*.deploy.resources.reservations",
            S::RestartPolicy => "services.*.deploy.restart_policy",
            S::Network => "networks.*",
            S::Ipam => "networks.*.ipam",
            S::IpamConfig => "networks.*.ipam.config[]",
            S::Volume => "volumes.*",
            S::Source => "{secrets,configs}.*",
        }
    }
}

/// The table of docs/compose.md.
pub fn markdown() -> String {
    let mut out =
        String::from("| key | | how, or why not and what instead | since |\n|---|---|---|---|\n");
    for key in KEYS {
        let (mark, text) = match key.fate {
            Fate::Supported(how) => ("yes", how.to_owned()),
            Fate::Warned(why) => ("left out, with a warning", why.to_owned()),
            Fate::Refused(why, instead) => ("refused", format!("{why}: {instead}")),
        };
        let path = join(key.scope.place(), key.name);
        let _ = writeln!(out, "| `{path}` | {mark} | {text} | {} |", key.since);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_stands_once() {
        for (n, key) in KEYS.iter().enumerate() {
            let again = KEYS[n + 1..]
                .iter()
                .any(|k| k.scope == key.scope && k.name == key.name);
            assert!(!again, "{:?} {}", key.scope, key.name);
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let names = || ["environment", "image", "ports"].into_iter();
        assert_eq!(
            nearest("enviroment", names()),
            "did you mean `environment`?"
        );
        assert!(nearest("zzz", names()).contains("x-"));
    }
}
