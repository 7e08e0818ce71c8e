//! The parts of a container that Berth only passes on, and its limits.

use std::collections::BTreeMap;

use berth_format::Name;
use berth_format::release::GrantKind;
use berth_format::service::{Container, Device, Logging, Resources, Ulimit};

use crate::compose::cursor::At;
use crate::compose::grants::{DEFAULT_CAPABILITIES, OTHER_CAPABILITIES};
use crate::compose::keys::{self, Scope};
use crate::compose::{Builder, labels, units};

/// Log drivers that are part of Docker itself.
/// <https://docs.docker.com/engine/logging/configure/#supported-logging-drivers>
const LOG_DRIVERS: &[&str] = &[
    "none",
    "local",
    "json-file",
    "syslog",
    "journald",
    "gelf",
    "fluentd",
    "awslogs",
    "splunk",
    "gcplogs",
];

/// Names that Docker takes for `ulimits`.
/// <https://github.com/docker/go-units/blob/master/ulimit.go>
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Sysctls that belong to what containers of one machine share with `ipc: host`.
/// <https://github.com/opencontainers/runc/blob/main/libcontainer/configs/validate/validator.go>
const IPC_SYSCTLS: &[&str] = &["kernel.msg", "kernel.sem", "kernel.shm", "fs.mqueue."];

impl Builder<'_> {
    /// Reads what stays of a service beside image, network, mounts and health.
    pub fn container(&mut self, name: &Name, at: &At) -> Container {
        let text = |key: &str| at.get(key).and_then(|a| a.text());
        let template = |key: &str| at.get(key).and_then(|a| a.template());
        let flag = |key: &str| at.get(key).and_then(|a| a.bool());
        let many = |key: &str| at.get(key).map(|a| a.items()).unwrap_or_default();
        let texts = |key: &str| many(key).iter().filter_map(At::text).collect::<Vec<_>>();
        let privileged = flag("privileged").unwrap_or(false);
        if privileged && let Some(at) = at.get("privileged") {
            self.grant(name, GrantKind::Privileged, "", &at);
        }
        let added = many("cap_add").into_iter();
        let added: Vec<_> = added
            .filter_map(|a| Some((a.clone(), capability(&a)?)))
            .collect();
        for (at, cap) in &added {
            if !DEFAULT_CAPABILITIES.contains(&cap.as_str()) {
                self.grant(name, GrantKind::Capability, cap, at);
            }
        }
        for at in many("security_opt") {
            self.security_opt(name, &at);
        }
        let mut devices = Vec::new();
        for at in many("devices") {
            if let Some(device) = device(&at) {
                self.grant(name, GrantKind::Device, &device.source, &at);
                devices.push(device);
            }
        }
        let pid = self.host_mode(name, at, "pid", GrantKind::HostPid, &[]);
        let ipc = self.host_mode(
            name,
            at,
            "ipc",
            GrantKind::HostIpc,
            &["private", "shareable"],
        );
        let userns_mode = text("userns_mode");
        if let Some(at) = at.get("userns_mode") {
            match userns_mode.as_deref() {
                Some("host") => self.grant(name, GrantKind::Unconfined, "userns", &at),
                _ => at.expected("host"),
            }
        }
        Container {
            hostname: template("hostname"),
            domainname: template("domainname"),
            user: text("user"),
            working_dir: text("working_dir"),
            init: flag("init"),
            tty: flag("tty").unwrap_or(false),
            stdin_open: flag("stdin_open").unwrap_or(false),
            read_only: flag("read_only").unwrap_or(false),
            privileged,
            stop_signal: text("stop_signal"),
            stop_grace_ms: at.get("stop_grace_period").and_then(|a| a.duration_ms()),
            labels: labels(at),
            logging: at.get("logging").and_then(|l| logging(&l)),
            extra_hosts: many("extra_hosts")
                .iter()
                .filter_map(At::template)
                .collect(),
            dns: many("dns")
                .iter()
                .filter_map(|a| a.parse("an address"))
                .collect(),
            dns_search: texts("dns_search"),
            dns_opt: texts("dns_opt"),
            group_add: texts("group_add"),
            cap_add: added.into_iter().map(|(_, cap)| cap).collect(),
            cap_drop: many("cap_drop").iter().filter_map(capability).collect(),
            security_opt: texts("security_opt"),
            sysctls: sysctls(at),
            ulimits: ulimits(at),
            devices,
            pid,
            ipc,
            userns_mode,
        }
    }

    fn host_mode(
        &mut self,
        name: &Name,
        at: &At,
        key: &str,
        kind: GrantKind,
        others: &[&str],
    ) -> Option<String> {
        let at = at.get(key)?;
        let mode = at.text()?;
        if mode == "host" {
            self.grant(name, kind, "", &at);
        } else if !others.contains(&mode.as_str()) {
            let known = [&["host"], others].concat().join(", ");
            at.fail(
                format!("{mode} is not supported: old and new containers run side by side"),
                format!("the known values are {known}"),
            );
        }
        Some(mode)
    }

    fn security_opt(&mut self, name: &Name, at: &At) {
        let Some(text) = at.text() else { return };
        let (kind, value) = text.split_once(['=', ':']).unwrap_or((&text, "true"));
        match (kind, value) {
            ("no-new-privileges", "true" | "false") => {}
            ("seccomp" | "apparmor" | "systempaths", "unconfined") | ("label", "disable") => {
                self.grant(name, GrantKind::Unconfined, kind, at);
            }
            ("label", _) => self.grant(name, GrantKind::Unconfined, &text, at),
            ("seccomp" | "apparmor", _) => at.fail(
                format!("the profile {value} is not on the customer's machine"),
                "use Docker's own profile",
            ),
            _ => at.expected("no-new-privileges, seccomp, apparmor, label or systempaths"),
        }
    }

    /// Reads limits, which Compose lets one say in two places.
    pub fn resources<'n>(at: &At<'n>) -> Resources {
        let resources = at.get("deploy").and_then(|d| d.get("resources"));
        if let Some(at) = &resources {
            keys::check(at, Scope::Resources);
        }
        let part = |key: &str, scope| {
            let at = resources.as_ref().and_then(|r| r.get(key));
            if let Some(at) = &at {
                keys::check(at, scope);
            }
            at
        };
        let limits = part("limits", Scope::Limits);
        let reservations = part("reservations", Scope::Reservations);
        let either = |own: &str, part: &Option<At<'n>>, key: &str| {
            let deployed = part.as_ref().and_then(|p| p.get(key));
            match (at.get(own), deployed) {
                (Some(own), Some(other)) => {
                    own.fail(format!("stands beside {}", other.key), "keep one of them");
                    None
                }
                (own, other) => own.or(other),
            }
        };
        let number = |key: &str| at.get(key).and_then(|a| a.parse::<i64>("a whole number"));
        let bytes = |at: Option<At>| at.and_then(|a| a.bytes());
        let cpus = either("cpus", &limits, "cpus").and_then(|a| {
            let value = units::nano_cpus(&a.text()?);
            if value.is_none() {
                a.expected("a number of CPUs such as 1.5");
            }
            value
        });
        let pids = either("pids_limit", &limits, "pids");
        Resources {
            nano_cpus: cpus.filter(|n| *n > 0),
            cpu_shares: number("cpu_shares"),
            cpuset: at.get("cpuset").and_then(|a| a.text()),
            memory: bytes(either("mem_limit", &limits, "memory")),
            memory_reservation: bytes(either("mem_reservation", &reservations, "memory")),
            memory_swap: at
                .get("memswap_limit")
                .and_then(|a| match a.text()?.as_str() {
                    "-1" => Some(-1),
                    _ => a.bytes(),
                }),
            shm_size: bytes(at.get("shm_size")),
            pids_limit: pids.and_then(|a| a.parse("a whole number")),
            oom_score_adj: at.get("oom_score_adj").and_then(|a| {
                let score = a.parse::<i64>("a number from -1000 to 1000")?;
                if !(-1000..=1000).contains(&score) {
                    a.expected("a number from -1000 to 1000");
                }
                Some(score)
            }),
        }
    }
}

fn logging(at: &At) -> Option<Logging> {
    keys::check(at, Scope::Logging);
    let driver = match at.get("driver") {
        None => "json-file".to_owned(),
        Some(driver) => {
            let text = driver.text()?;
            if !LOG_DRIVERS.contains(&text.as_str()) {
                driver.fail(
                    format!("the log driver {text} is a plugin"),
                    format!("Docker's own are {}", LOG_DRIVERS.join(", ")),
                );
            }
            text
        }
    };
    Some(Logging {
        driver,
        options: literal_map(at.get("options")),
    })
}

fn literal_map(at: Option<At>) -> BTreeMap<String, String> {
    let entries = at.map(|a| a.entries()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, a)| Some((name.to_owned(), a.text()?)))
        .collect()
}

fn sysctls(at: &At) -> BTreeMap<String, String> {
    let shares = |key: &str| at.get(key).is_some_and(|mode| mode.is("host"));
    let (network, ipc) = (shares("network_mode"), shares("ipc"));
    let entries = at.get("sysctls").map(|a| a.entries()).unwrap_or_default();
    for (name, value) in &entries {
        // They would be the machine's own: Docker refuses to create such a container.
        let theirs = if network && name.starts_with("net.") {
            "network_mode: host"
        } else if ipc && IPC_SYSCTLS.iter().any(|prefix| name.starts_with(prefix)) {
            "ipc: host"
        } else {
            continue;
        };
        value.fail(
            format!("is the machine's own with `{theirs}`, and no container may set it"),
            format!("remove it, or `{theirs}`; the admin may set it on the machine"),
        );
    }
    entries
        .into_iter()
        .filter_map(|(name, a)| Some((name.to_owned(), a.text()?)))
        .collect()
}

fn ulimits(at: &At) -> BTreeMap<String, Ulimit> {
    let entries = at.get("ulimits").map(|u| u.entries()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, a)| {
            keys::check(&a, Scope::Ulimit);
            if !ULIMITS.contains(&name) {
                a.fail(
                    format!("{name} is no limit that Docker knows"),
                    format!("there are {}", ULIMITS.join(", ")),
                );
            }
            let limit = |key| a.need(key)?.parse::<i64>("a number, -1 for no limit");
            let (soft, hard) = (limit("soft")?, limit("hard")?);
            if hard != -1 && (soft == -1 || soft > hard) {
                a.fail("has a soft limit beyond the hard one", "lower it");
            }
            Some((name.to_owned(), Ulimit { soft, hard }))
        })
        .collect()
}

/// A capability as Docker writes it, without `CAP_`.
fn capability(at: &At) -> Option<String> {
    let name = at.text()?.to_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    let known = [DEFAULT_CAPABILITIES, OTHER_CAPABILITIES].concat();
    if name != "ALL" && !known.contains(&name) {
        at.fail(
            format!("{name} is no capability of Linux"),
            "their names are in capabilities(7)",
        );
        return None;
    }
    Some(name.to_owned())
}

/// `SOURCE[:TARGET[:PERMISSIONS]]`, or the long form of it.
fn device(at: &At) -> Option<Device> {
    let is_set = |t: &str| !t.is_empty() && t.chars().all(|c| "rwm".contains(c));
    let (source, target, permissions) = if at.node.as_map().is_some() {
        keys::check(at, Scope::Device);
        let get = |key: &str| at.get(key).and_then(|a| a.text());
        let source = at.need("source")?.text()?;
        (source, get("target"), get("permissions"))
    } else {
        let text = at.text()?;
        let mut parts = text.split(':').map(str::to_owned);
        let (source, target, permissions) = (parts.next()?, parts.next(), parts.next());
        match (target, permissions, parts.next()) {
            // Docker takes `/dev/x:r` for permissions.
            (Some(t), None, None) if is_set(&t) => (source, None, Some(t)),
            (target, permissions, None) => (source, target, permissions),
            (_, _, Some(_)) => (String::new(), None, None),
        }
    };
    let permissions = permissions.unwrap_or_else(|| "rwm".to_owned());
    if !source.starts_with("/dev/") || !is_set(&permissions) {
        at.fail(
            "expected /dev/SOURCE[:TARGET[:rwm]]",
            "CDI devices (vendor.com/class=name) are not supported",
        );
        return None;
    }
    let target = target.unwrap_or_else(|| source.clone());
    if !target.starts_with('/') {
        at.fail(
            format!("expected an absolute path in the container, found {target:?}"),
            "begin it with /",
        );
    }
    Some(Device {
        source,
        target,
        permissions,
    })
}
