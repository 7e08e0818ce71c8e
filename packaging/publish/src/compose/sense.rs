//! What is right in each part and makes no sense together.

use std::collections::{BTreeMap, BTreeSet};

use berth_format::release::{DataPromise, Release};
use berth_format::service::{Condition, Healthcheck, Service};
use berth_format::{Name, validate};

use crate::berth_yaml::FILE;
use crate::compose::cursor::At;
use crate::compose::{Builder, ports};
use crate::problem::Problem;
use crate::yaml::Pos;

/// Checks services against each other. `all` are those of the Compose file.
pub fn check_together(all: &[(&str, At)], services: &BTreeMap<Name, Service>) {
    let place = |name: &Name, key: &str| {
        let at = all
            .iter()
            .find(|(n, _)| *n == name.as_str())
            .map(|(_, at)| at);
        at.and_then(|at| at.get(key).or_else(|| Some(at.clone())))
    };
    for (n, (name, service)) in services.iter().enumerate() {
        for (other_name, other) in services.iter().skip(n + 1) {
            let taken = service
                .ports
                .iter()
                .find(|a| other.ports.iter().any(|b| ports::collide(a, b)));
            if let Some(port) = taken
                && let Some(at) = place(other_name, "ports")
            {
                let number = port.published.as_ref().map_or("", |p| p.source());
                at.fail(
                    format!("publishes {number}, and so does {name}"),
                    "give one of them another port",
                );
            }
        }
        if let Some(circle) = circle(name, services)
            && let Some(at) = place(name, "depends_on")
        {
            at.fail(
                format!("waits for itself: {}", circle.join(" -> ")),
                "break the circle",
            );
        }
        for (other_name, dependency) in &service.depends_on {
            let Some(other) = services.get(other_name) else {
                continue;
            };
            let never = other.healthcheck == Some(Healthcheck::Disabled) && other.probe.is_none();
            if dependency.condition == Condition::ServiceHealthy
                && never
                && let Some(at) = place(name, "depends_on")
            {
                at.fail(
                    format!("waits until {other_name} is healthy, whose healthcheck is off"),
                    format!("give {other_name} a healthcheck, or wait for service_started"),
                );
            }
        }
    }
}

/// The way from a service back to itself, told of the first of those that are on it.
fn circle<'a>(first: &'a Name, services: &'a BTreeMap<Name, Service>) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![vec![first]];
    while let Some(way) = open.pop() {
        let service = way.last().and_then(|name| services.get(*name));
        for next in service.into_iter().flat_map(validate::dependencies) {
            if next == first {
                let names = way.iter().map(|n| n.as_str());
                return Some(names.chain([first.as_str()]).collect());
            }
            if next > first && seen.insert(next) {
                open.push([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

impl Builder<'_> {
    /// Checks the release as a whole.
    pub fn check_release(&self, release: &Release) {
        let pos = Pos::file(FILE);
        if release.data == DataPromise::Unchanged {
            for migration in release.migrations.iter().filter(|m| !m.reversible) {
                self.report.problem(Problem::new(
                    &pos,
                    "data",
                    format!("`unchanged` promises that the old version can run on the data, and {} is not reversible", migration.name),
                    "say `data: may-change`, or `reversible: true` of the migration if the old version can run after it",
                ));
            }
        }
        let used = used(release);
        for field in &release.config {
            if !used.contains(field.name.as_str()) {
                self.report.warning(Problem::new(
                    &pos,
                    &format!("config.{}", field.name),
                    "the admin is asked for a value that nothing uses",
                    format!(
                        "write ${{{}}} in the Compose file, or remove the field",
                        field.name
                    ),
                ));
            }
        }
    }
}

/// The config fields that some part of the release names.
fn used(release: &Release) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for part in [
        serde_json::to_value(&release.services),
        serde_json::to_value(&release.migrations),
        serde_json::to_value(&release.volumes),
        serde_json::to_value(&release.networks),
        serde_json::to_value(&release.files),
    ] {
        collect(&part.unwrap_or_default(), &mut names);
    }
    names
}

fn collect(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => {
            if let Ok(template) = berth_format::Template::parse(text) {
                names.extend(template.variables());
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|v| collect(v, names)),
        serde_json::Value::Object(map) => {
            // A config value that is mounted as a file is named, not written as a template.
            if let Some(serde_json::Value::String(field)) = map.get("field") {
                names.insert(field.clone());
            }
            map.values().for_each(|v| collect(v, names));
        }
        _ => {}
    }
}
