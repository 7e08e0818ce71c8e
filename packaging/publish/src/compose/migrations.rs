//! Migrations of berth.yaml: services in all but that they end.

use std::collections::{BTreeMap, BTreeSet};

use berth_format::release::{Migration, MigrationPhase};
use berth_format::service::{NetworkMode, Restart, Service};
use berth_format::{Name, validate};

use crate::berth_yaml::MigrationPart;
use crate::compose::cursor::At;
use crate::compose::load::Loader;
use crate::compose::normalize::{self, Context};
use crate::compose::{Builder, merge};
use crate::yaml::{Kind, Map, Node};

/// Keys of a migration that are its container's.
const CONTAINER: &[&str] = &[
    "image",
    "command",
    "entrypoint",
    "environment",
    "env_file",
    "volumes",
    "secrets",
    "configs",
    "networks",
    "user",
    "working_dir",
    "tmpfs",
];

/// Keys of a service that mean nothing for a migration that inherits from it.
const NOT_INHERITED: &[&str] = &[
    "ports",
    "expose",
    "healthcheck",
    "depends_on",
    "restart",
    "container_name",
    "hostname",
    "profiles",
    "scale",
    "labels",
    "build",
    "stdin_open",
    "tty",
];

impl Builder<'_> {
    /// All migrations, and which inherit from which service. Services that they inherit from
    /// are added to `used`.
    pub fn migrations(
        &mut self,
        loader: &Loader,
        services: &BTreeMap<Name, Service>,
        used: &mut BTreeSet<String>,
    ) -> (Vec<Migration>, BTreeMap<Name, Name>) {
        let (mut out, mut inherits) = (Vec::new(), BTreeMap::new());
        let berth = self.berth;
        for part in &berth.migrations {
            let Some(migration) = self.migration(part, loader, services, used) else {
                continue;
            };
            if let Some((service, _)) = &part.service
                && let Ok(service) = service.parse()
            {
                inherits.insert(migration.name.clone(), service);
            }
            out.push(migration);
        }
        (out, inherits)
    }

    fn migration(
        &mut self,
        part: &MigrationPart,
        loader: &Loader,
        services: &BTreeMap<Name, Service>,
        used: &mut BTreeSet<String>,
    ) -> Option<Migration> {
        let report = self.report;
        self.check_migration(part);
        let mut own = Map::default();
        if let Some(map) = part.node.as_map() {
            let entries = map.entries.iter();
            let container = entries.filter(|e| CONTAINER.contains(&e.key.as_str()));
            own.entries.extend(container.cloned());
        }
        let mut own = Node::at(&part.node.pos, Kind::Map(own));
        self.variables.interpolate_tree(&mut own, &part.key, report);
        if let Kind::Map(map) = &mut own.kind {
            normalize::service(map, &part.key, &Context { base: "", report });
            loader.service_env_files(map, &part.key, self.variables, report);
        }
        let base = self.inherited(part, used)?;
        let Kind::Map(own) = own.kind else {
            return None;
        };
        let mut merged = merge::merge_service(base, own, part.name.as_str(), report);
        if merged.get("networks").is_none() && merged.get("network_mode").is_none() {
            let needed = networks(part, services);
            if !needed.is_empty() {
                let mut map = Map::default();
                for name in needed {
                    map.set(name.as_str(), Node::at(&part.node.pos, Kind::Null));
                }
                merged.set("networks", Node::at(&part.node.pos, Kind::Map(map)));
            }
        }
        let node = Node::at(&part.node.pos, Kind::Map(merged));
        let at = At::new(&node, part.key.clone(), report);
        let mut service = self.service(&part.name, &at)?;
        service.restart = Restart::No;
        service.probe = None;
        // Nobody may take a migration for the service that it inherits from.
        if let NetworkMode::Networks(networks) = &mut service.network {
            for attachment in networks.values_mut() {
                attachment.aliases.clear();
            }
        }
        service.settle_ms = 0;
        Some(Migration {
            name: part.name.clone(),
            service,
            needs: part.needs.clone(),
            timeout_ms: part.timeout_ms,
            from: part.from.clone(),
            reversible: part.reversible,
            phase: part.phase,
        })
    }

    /// What `check` of the release would say too, with its place.
    fn check_migration(&self, part: &MigrationPart) {
        let at = At::new(&part.node, part.key.clone(), self.report);
        let of = |key: &str| at.get(key).unwrap_or_else(|| at.clone());
        if part.phase == MigrationPhase::Before && !part.reversible {
            of("phase").fail(
                format!("{} runs before the snapshot and is not reversible: after a later failure the old version would run on data that nothing gives back", part.name),
                "let it run in `phase: stopped`, or say `reversible: true` if the old version can run after it",
            );
        }
        let service = format!("migrate-{}", part.name);
        if self.active.contains(&service) {
            of("name").fail(
                format!("its container is called like that of the service {service}"),
                "give one of them another name",
            );
        }
        let needs = of("needs");
        if let Some(service) = validate::both_needed(&part.needs) {
            needs.fail(
                format!("needs {service} and {service}@old, which cannot run side by side"),
                "write two migrations: one dumps, one loads",
            );
        }
        for need in part.needs.iter().filter(|n| !n.old) {
            if !self.active.contains(need.service.as_str()) {
                let name = need.service.as_str();
                self.missing(&needs, name, "add the profile, or need another service");
            }
        }
    }

    /// What `service:` and `env_from:` bring.
    fn inherited(&self, part: &MigrationPart, used: &mut BTreeSet<String>) -> Option<Map> {
        let mut base = Map::default();
        let model = self.model;
        let report = self.report;
        let mut find = |(name, pos): &(String, crate::yaml::Pos), key: &str| {
            let found = model.get("services").and_then(|s| s.get(name));
            used.insert(name.clone());
            if found.is_none() {
                report.problem(crate::problem::Problem::new(
                    pos,
                    &format!("{}.{key}", part.key),
                    format!("{name} is no service"),
                    "correct the name",
                ));
            }
            found.and_then(Node::as_map)
        };
        if let Some(service) = &part.service {
            base = find(service, "service")?.clone();
            base.entries
                .retain(|e| !NOT_INHERITED.contains(&e.key.as_str()));
            if let Some(Kind::Map(deploy)) = base.get_mut("deploy").map(|n| &mut n.kind) {
                deploy.entries.retain(|e| e.key == "resources");
            }
        }
        if let Some(service) = &part.env_from {
            let other = find(service, "env_from")?;
            for key in ["environment", "env_file"] {
                if let Some(node) = other.get(key) {
                    base.set(key, node.clone());
                }
            }
        }
        Some(base)
    }
}

/// The networks of the services that a migration needs.
fn networks<'a>(part: &MigrationPart, services: &'a BTreeMap<Name, Service>) -> BTreeSet<&'a Name> {
    let needed = part.needs.iter().filter_map(|n| services.get(&n.service));
    needed
        .filter_map(|s| match &s.network {
            NetworkMode::Networks(networks) => Some(networks.keys()),
            _ => None,
        })
        .flatten()
        .collect()
}
