//! What is dangerous is allowed only when berth.yaml says it, and only that.

use std::collections::BTreeMap;

use berth_format::Name;
use berth_format::release::{Grant, GrantKind};

use crate::berth_yaml::{Declared, grant_text};
use crate::compose::cursor::At;
use crate::problem::{Problem, Report};
use crate::yaml::Pos;

/// Capabilities that every container has.
/// <https://docs.docker.com/engine/security/#linux-kernel-capabilities>
pub const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The other capabilities of Linux: capabilities(7).
pub const OTHER_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// What services were found to need.
#[derive(Debug, Default)]
pub struct Needed {
    all: BTreeMap<Grant, (Pos, String)>,
}

impl Needed {
    /// Notes that a service needs a grant, and where it says so.
    pub fn add(&mut self, service: &Name, kind: GrantKind, detail: &str, at: &At) {
        let grant = Grant {
            service: service.clone(),
            kind,
            detail: detail.to_owned(),
        };
        let place = (at.node.pos.clone(), at.key.clone());
        self.all.entry(grant).or_insert(place);
    }

    /// Compares with what berth.yaml declares, and gives the grants of the release. What is said
    /// of a service holds for the migrations that inherit from it.
    pub fn settle(
        self,
        declared: &[Declared],
        inherits: &BTreeMap<Name, Name>,
        report: &Report,
    ) -> Vec<Grant> {
        let covers = |d: &Declared, g: &Grant| {
            let owner = inherits.get(&g.service).map(Name::as_str);
            (d.service == g.service.as_str() || owner == Some(d.service.as_str()))
                && d.kind == g.kind
                && d.detail == g.detail
        };
        let said = |g: &Grant| declared.iter().any(|d| covers(d, g));
        // Said once, of the service, is enough.
        let same_as_service = |g: &Grant| {
            inherits.get(&g.service).is_some_and(|owner| {
                let service = owner.clone();
                self.all.contains_key(&Grant {
                    service,
                    ..g.clone()
                })
            })
        };
        let missing = |g: &Grant| !said(g) && !same_as_service(g);
        for (grant, (pos, key)) in self.all.iter().filter(|(g, _)| missing(g)) {
            let text = grant_text(grant.kind, &grant.detail);
            report.problem(Problem::new(
                pos,
                key,
                format!(
                    "{} gets more than a container has ({text}), and berth.yaml does not say so",
                    grant.service
                ),
                format!(
                    "remove it, or add to berth.yaml: `grants: {{{}: [\"{text}\"]}}`",
                    grant.service
                ),
            ));
        }
        for d in declared {
            let used = self.all.keys().any(|g| covers(d, g));
            if !used {
                report.problem(Problem::new(
                    &d.pos,
                    &format!("grants.{}", d.service),
                    format!(
                        "{} is granted and never used",
                        grant_text(d.kind, &d.detail)
                    ),
                    "remove it",
                ));
            }
        }
        self.all.into_keys().collect()
    }
}
