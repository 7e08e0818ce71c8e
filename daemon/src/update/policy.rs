//! Which way to go, and what each hop does to each service. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use berth_format::release::{DataPromise, MigrationPhase};
use berth_format::service::NetworkMode;
use berth_format::validate::{dependencies, start_order};
use berth_format::{Code, Digest, Name, Refusal, Release};
use semver::Version;

use super::plan::{Action, Change, Hop, PlannedMigration, PlannedNetwork};
use super::resolve::{self, Place, ResolveError, Resolver};
use crate::engine::spec::NetworkSpec;
use crate::store::{PlacedNetwork, PlacedService};

/// The stack before a hop.
#[derive(Debug, Clone)]
pub struct Current<'a> {
    pub release: &'a Release,
    pub services: BTreeMap<Name, PlacedService>,
    pub networks: BTreeMap<String, PlacedNetwork>,
}

/// The release after a hop.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub release: &'a Release,
    /// Of its signed bytes.
    pub digest: Digest,
    pub values: &'a BTreeMap<String, String>,
    pub generation: u64,
}

/// What kind of hop it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To another release, or to the first.
    Forward,
    /// The same release with other values.
    Reconfigure,
    /// To the release before; with its data as it was (run and hop of its snapshot), or as it is.
    Back(Option<(i64, usize)>),
}

/// What one hop does, and what keeps its containers from being made: where that is anything, the
/// hop is for people to read, and is not to be done.
pub fn hop(
    current: Option<&Current<'_>>,
    target: Target<'_>,
    way: Way,
    place: &Place,
) -> (Hop, Vec<ResolveError>) {
    let Target {
        release,
        digest,
        values,
        generation,
    } = target;
    let migrations = match way {
        Way::Forward => migrations(current, release, generation),
        Way::Reconfigure | Way::Back(_) => Vec::new(),
    };
    let data_may_change = match way {
        Way::Reconfigure => false,
        Way::Back(snapshot) => snapshot.is_some(),
        Way::Forward => {
            current.is_none()
                || release.data == DataPromise::MayChange
                || migrations
                    .iter()
                    .any(|m| m.phase == MigrationPhase::Stopped)
        }
    };
    let mut problems = Vec::new();
    let specs = resolve::networks(release, values).unwrap_or_else(|error| {
        problems.push(error);
        resolve::bare_networks(release)
    });
    let networks = networks(current, release, specs, generation);
    let names = networks
        .iter()
        .map(|(label, n)| (label.clone(), n.name.clone()))
        .collect();
    let resolver = Resolver {
        release,
        values,
        place,
        networks: &names,
        generation,
    };
    let mut services = changes(current, &resolver, digest, data_may_change, &mut problems);
    if let Some(current) = current {
        for (name, placed) in &current.services {
            services.entry(name.clone()).or_insert_with(|| Change {
                action: Action::Remove,
                old: Some(placed.container.clone()),
                new: None,
                spec: None,
                generation: placed.generation,
            });
        }
    }
    // Also those of the new release alone: one that an older release left behind comes back.
    let (snapshot, not_covered) = if data_may_change {
        covered(current.map(|c| c.release).into_iter().chain([release]))
    } else {
        (Vec::new(), Vec::new())
    };
    let had = current.map(|c| &c.release.volumes);
    let new_volumes = release
        .volumes
        .keys()
        .filter(|name| had.is_none_or(|had| !had.contains_key(*name)))
        .map(|name| resolve::volume_name(&release.product, name))
        .collect();
    let hop = Hop {
        from: current.map(|c| c.release.version.clone()),
        to: release.version.clone(),
        release: digest,
        generation,
        services,
        networks,
        new_volumes,
        snapshot,
        not_covered,
        migrations,
        data_may_change,
        restore: match way {
            Way::Back(snapshot) => snapshot,
            Way::Forward | Way::Reconfigure => None,
        },
    };
    (hop, problems)
}

/// The stack after a hop.
pub fn placed(
    hop: &Hop,
) -> (
    BTreeMap<Name, PlacedService>,
    BTreeMap<String, PlacedNetwork>,
) {
    let services = hop
        .services
        .iter()
        .filter_map(|(name, change)| {
            let (container, spec) = (change.new.clone()?, change.spec?);
            Some((
                name.clone(),
                PlacedService {
                    container,
                    generation: change.generation,
                    spec,
                    done: false,
                },
            ))
        })
        .collect();
    let networks = hop
        .networks
        .iter()
        .map(|(label, n)| {
            (
                label.clone(),
                PlacedNetwork {
                    name: n.name.clone(),
                    spec: n.spec,
                },
            )
        })
        .collect();
    (services, networks)
}

fn migrations(
    current: Option<&Current<'_>>,
    release: &Release,
    generation: u64,
) -> Vec<PlannedMigration> {
    release
        .migrations
        .iter()
        .filter(|m| match (&m.from, current) {
            // A first install runs every migration that needs no old stack.
            (_, None) => !m.needs.iter().any(|need| need.old),
            (None, Some(_)) => true,
            (Some(from), Some(current)) => from.matches(&current.release.version),
        })
        .map(|m| PlannedMigration {
            name: m.name.clone(),
            // Without an old stack there is no before.
            phase: if current.is_none() {
                MigrationPhase::Stopped
            } else {
                m.phase
            },
            reversible: m.reversible,
            container: resolve::migration_name(&release.product, &m.name, generation),
        })
        .collect()
}

fn networks(
    current: Option<&Current<'_>>,
    release: &Release,
    specs: BTreeMap<String, NetworkSpec>,
    generation: u64,
) -> BTreeMap<String, PlannedNetwork> {
    specs
        .into_iter()
        .map(|(label, mut spec)| {
            // The digest is over all but the name: a network that did not change keeps its own.
            let own_bridge = !spec.name.is_empty();
            spec.generation = 0;
            let digest = Digest::of(&berth_format::canonical(&spec));
            // Two networks of one subnet cannot be there at once: the old one stays as it is.
            let pinned = spec.subnet.is_some()
                && current.is_some_and(|c| {
                    let old = c.release.networks.iter().find(|(n, _)| n.as_str() == label);
                    old.is_some_and(|(_, old)| old.subnet == spec.subnet)
                });
            let old = current
                .and_then(|c| c.networks.get(&label))
                .filter(|old| old.spec == digest || pinned);
            let name = match old {
                Some(old) => old.name.clone(),
                None if own_bridge => spec.name,
                None => format!("{}-{label}-{generation}", release.product),
            };
            (
                label,
                PlannedNetwork {
                    name,
                    spec: digest,
                    new: old.is_none(),
                },
            )
        })
        .collect()
}

fn changes(
    current: Option<&Current<'_>>,
    resolver: &Resolver<'_>,
    digest: Digest,
    data_may_change: bool,
    problems: &mut Vec<ResolveError>,
) -> BTreeMap<Name, Change> {
    let release = resolver.release;
    let order = start_order(release).unwrap_or_else(|name| {
        problems.push(ResolveError::Missing(format!("a start order for {name}")));
        vec![release.services.keys().cloned().collect()]
    });
    let mut changes: BTreeMap<Name, Change> = BTreeMap::new();
    for name in order.into_iter().flatten() {
        let service = &release.services[&name];
        let shared = match &service.network {
            NetworkMode::Service(other) => changes.get(other).and_then(|c| c.new.clone()),
            _ => None,
        };
        // One that cannot be made yet differs from all that was ever made.
        let digest = match resolver.service(&name, shared.as_deref()) {
            Ok((spec, _)) => spec.digest(),
            Err(error) => {
                problems.push(error);
                digest
            }
        };
        let made = resolve::container_name(&release.product, &name, resolver.generation);
        let old = current.and_then(|c| c.services.get(&name));
        let restarted = |other: &Name| {
            changes
                .get(other)
                .is_some_and(|c| matches!(c.action, Action::Cycle | Action::Replace))
        };
        let pulled = service
            .depends_on
            .iter()
            .any(|(other, d)| d.restart && restarted(other))
            || matches!(&service.network, NetworkMode::Service(other) if restarted(other));
        let change = match old {
            Some(old) if old.spec == digest => Change {
                action: if data_may_change || pulled {
                    Action::Cycle
                } else {
                    Action::Keep
                },
                old: Some(old.container.clone()),
                new: Some(old.container.clone()),
                spec: Some(digest),
                generation: old.generation,
            },
            old => Change {
                action: if old.is_some() {
                    Action::Replace
                } else {
                    Action::Add
                },
                old: old.map(|old| old.container.clone()),
                new: Some(made),
                spec: Some(digest),
                generation: resolver.generation,
            },
        };
        changes.insert(name, change);
    }
    changes
}

/// Volumes that a snapshot covers, and those that none does: real names.
fn covered<'a>(releases: impl Iterator<Item = &'a Release>) -> (Vec<String>, Vec<String>) {
    let mut all = BTreeMap::new();
    for release in releases {
        for (name, volume) in &release.volumes {
            let covered = volume.snapshot && volume.driver_opts.is_empty();
            // The older release knows what is in it.
            all.entry(resolve::volume_name(&release.product, name))
                .or_insert(covered);
        }
    }
    let (yes, no): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, covered)| *covered);
    let names = |list: Vec<(String, bool)>| list.into_iter().map(|(name, _)| name).collect();
    (names(yes), names(no))
}

/// The releases to go through, the last one being `to`. The fewest hops that skip no stop.
pub fn route<'a>(
    from: Option<&Version>,
    to: &Version,
    available: &[&'a Release],
) -> Result<Vec<&'a Release>, Refusal> {
    let by_version: BTreeMap<&Version, &'a Release> =
        available.iter().map(|r| (&r.version, *r)).collect();
    let Some(last) = by_version.get(to) else {
        return Err(
            Refusal::new(Code::NotFound, format!("release {to} is not here"))
                .next("Give the bundle that holds it."),
        );
    };
    let Some(from) = from else {
        return Ok(vec![last]);
    };
    if to == from {
        return Err(Refusal::new(
            Code::AlreadyInstalled,
            format!("{to} is installed"),
        ));
    }
    if to < from {
        return Err(Refusal::new(
            Code::Downgrade,
            format!("{to} is older than what is installed"),
        )
        .because(format!("a version above {from}"), to.to_string()));
    }
    let may_go = |v: &Version, r: &Release| {
        let stop_between = |s: &&Version| *s > v && **s < r.version && by_version[*s].upgrade.stop;
        r.version > *v && r.upgrade.from.matches(v) && !by_version.keys().any(stop_between)
    };
    let mut came_from: BTreeMap<&Version, &Version> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    let mut seen = BTreeSet::from([from]);
    while let Some(at) = queue.pop_front() {
        for (version, release) in &by_version {
            if **version <= *to && may_go(at, release) && seen.insert(*version) {
                came_from.insert(*version, at);
                queue.push_back(*version);
            }
        }
    }
    let mut way = Vec::new();
    let mut at = to;
    while at != from {
        way.push(by_version[at]);
        match came_from.get(at) {
            Some(before) => at = *before,
            None => {
                return Err(Refusal::new(
                    Code::StopSkipped,
                    format!("there is no way from {from} to {to} with the releases that are here"),
                )
                .because(
                    format!("a release that {} accepts", last.upgrade.from),
                    format!(
                        "installed {from}; here: {}",
                        by_version
                            .keys()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                ));
            }
        }
    }
    way.reverse();
    Ok(way)
}

/// What a fetch moves, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetch {
    /// Layers as tar, as they go into Docker.
    pub unpacked: u64,
    /// The same as they are published.
    pub stored: u64,
}

/// Layers that the releases need and that none of `known` has.
pub fn fetch<'a>(
    needed: impl IntoIterator<Item = &'a Release>,
    known: impl IntoIterator<Item = &'a Release>,
    place: &Place,
) -> Fetch {
    let layers = |release: &'a Release| {
        release
            .images
            .values()
            .filter_map(|i| i.platforms.get(&place.platform))
            .flat_map(|i| &i.layers)
    };
    let known: BTreeSet<&Digest> = known.into_iter().flat_map(layers).collect();
    let mut counted = BTreeSet::new();
    let mut fetch = Fetch::default();
    for release in needed {
        for layer in layers(release) {
            if !known.contains(layer)
                && counted.insert(layer)
                && let Some(layer) = release.layers.get(layer)
            {
                fetch.unpacked = fetch.unpacked.saturating_add(layer.size);
                fetch.stored = fetch.stored.saturating_add(layer.stored.size);
            }
        }
    }
    fetch
}

/// Old services that must be stopped before `name` is: those that depend on it, in waves.
pub fn stop_order(release: &Release) -> Vec<Vec<Name>> {
    let mut waves = start_order(release).unwrap_or_else(|_| {
        // A release with a cycle is refused when it is read.
        vec![release.services.keys().cloned().collect()]
    });
    waves.reverse();
    waves
}

/// Whether `name` must wait for something that is not yet there.
pub fn waits_for<'a>(release: &'a Release, name: &Name) -> impl Iterator<Item = &'a Name> {
    release
        .services
        .get(name)
        .into_iter()
        .flat_map(dependencies)
}

#[cfg(test)]
mod tests;
