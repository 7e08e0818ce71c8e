//! Makes a plan: reads what is installed and what is here, and asks [`super::policy`].

use std::collections::BTreeMap;

use berth_format::release::{Grant, MigrationPhase};
use berth_format::{Code, Digest, Refusal, Release};
use semver::Version;

use super::plan::{Hop, Plan, PlanKind};
use super::policy::{self, Current, Target, Way};
use super::resolve::{Place, ResolveError};
use crate::api::internal;
use crate::preflight::uncovered_host_paths;
use crate::store::{Installed, Previous, Store};

#[cfg(test)]
mod tests;
mod unfit;
mod values;

use values::values;

/// A release that can be gone to, with the digest of its signed bytes.
pub type Available = (Release, Digest);

/// What to plan for.
pub struct Wanted<'a> {
    pub kind: PlanKind,
    pub to: Option<&'a Version>,
    pub retry_quarantined: bool,
    /// From a bundle, or from the channel; none: what the store has.
    pub offered: &'a [Available],
    /// What the vendor took back, and why.
    pub withdrawn: &'a BTreeMap<Version, String>,
    /// What is not here comes over the line.
    pub download: bool,
}

/// A plan with what it was made from.
pub struct Planned {
    pub plan: Plan,
    /// Of its hops, in order.
    pub releases: Vec<Release>,
    /// Config values, of each hop.
    pub values: Vec<BTreeMap<String, String>>,
    /// Why these releases cannot run here: their architecture, the config. While there is any, the
    /// plan is for people to read: [`crate::preflight`] says it beside all else, and nothing is begun.
    pub problems: Vec<Refusal>,
}

/// Makes the plan, as far as it can be made.
pub fn make(store: &Store, place: &Place, wanted: &Wanted<'_>) -> Result<Planned, Refusal> {
    let installed = store.installed().map_err(internal)?;
    let current = match &installed {
        Some(installed) => Some(stored(store, &installed.version)?),
        None => None,
    };
    match (wanted.kind, &installed) {
        (PlanKind::Install, Some(installed)) => {
            return Err(Refusal::new(
                Code::AlreadyInstalled,
                format!("{} {} is installed", installed.product, installed.version),
            )
            .next("Use `berth update`."));
        }
        (PlanKind::Update | PlanKind::Rollback | PlanKind::Reconfigure, None) => {
            return Err(Refusal::new(Code::NotInstalled, "no product is installed"));
        }
        _ => {}
    }
    if let (Some(installed), Some((offered, _))) = (&installed, wanted.offered.first())
        && offered.product != installed.product
    {
        return Err(
            Refusal::new(Code::WrongProduct, "the bundle is for another product")
                .because(installed.product.to_string(), offered.product.to_string()),
        );
    }
    let (way, releases) = match wanted.kind {
        PlanKind::Rollback => back(store, installed.as_ref())?,
        PlanKind::Reconfigure => (Way::Reconfigure, current.iter().cloned().collect()),
        PlanKind::Install | PlanKind::Update => {
            (Way::Forward, forward(store, installed.as_ref(), wanted)?)
        }
    };
    // Of what is installed, or was, only the very release will do.
    if wanted.kind != PlanKind::Install
        && wanted.kind != PlanKind::Update
        && let Some((release, digest)) = wanted.offered.iter().find(|(offered, digest)| {
            releases
                .iter()
                .any(|(r, d)| r.version == offered.version && d != digest)
        })
    {
        let summary = format!("the bundle has another release {}", release.version);
        let here = releases.iter().find(|(r, _)| r.version == release.version);
        return Err(Refusal::new(Code::PlanMoved, summary).because(
            here.map_or_else(String::new, |(_, d)| d.to_string()),
            digest.to_string(),
        ));
    }
    let Some((last, _)) = releases.last() else {
        return Err(Refusal::new(Code::NotFound, "there is no release to go to"));
    };
    let (values, form) = match (&way, installed.as_ref().and_then(|i| i.previous.as_ref())) {
        (Way::Back(_), Some(previous)) => (vec![previous.values.clone()], Vec::new()),
        _ => values(store, releases.iter().map(|(r, _)| r))?,
    };
    let (hops, errors) = hops(
        store,
        installed.as_ref(),
        current.as_ref(),
        &releases,
        way,
        &values,
        place,
    )?;
    let problems = unfit::all(&releases, &values, errors, &form, place);
    let held = store.releases().map_err(internal)?;
    let known = held.iter().filter(|s| s.fetched).map(|s| &s.release);
    let needed = releases
        .iter()
        .filter(|(r, digest)| {
            !held
                .iter()
                .any(|s| s.fetched && s.digest == *digest && s.release.version == r.version)
        })
        .map(|(r, _)| r);
    let fetch = policy::fetch(needed, known, place);
    let plan = Plan {
        product: last.product.clone(),
        title: last.title.clone(),
        kind: wanted.kind,
        from: installed.as_ref().map(|i| i.version.clone()),
        to: last.version.clone(),
        // What a rollback goes to was agreed to when it was installed.
        grants: match way {
            Way::Back(_) => Vec::new(),
            Way::Forward | Way::Reconfigure => {
                new_grants(current.as_ref().map(|(r, _)| r), &releases)
            }
        },
        fetch_bytes: fetch.unpacked,
        download_bytes: if wanted.download { fetch.stored } else { 0 },
        warnings: warnings(
            installed.as_ref(),
            current.as_ref().map(|(r, _)| r),
            &releases,
            &hops,
            way,
        ),
        hops,
    };
    Ok(Planned {
        plan,
        releases: releases.into_iter().map(|(r, _)| r).collect(),
        values,
        problems,
    })
}

fn stored(store: &Store, version: &Version) -> Result<Available, Refusal> {
    match store.release(version).map_err(internal)? {
        Some(stored) => Ok((stored.release, stored.digest)),
        None => Err(internal(format!("release {version} is not in the store"))),
    }
}

fn back(store: &Store, installed: Option<&Installed>) -> Result<(Way, Vec<Available>), Refusal> {
    let previous: Option<&Previous> = installed.and_then(|i| i.previous.as_ref());
    let Some(previous) = previous else {
        return Err(Refusal::new(
            Code::NoWayBack,
            "there is no version to go back to",
        ));
    };
    Ok((
        Way::Back(previous.snapshot),
        vec![stored(store, &previous.version)?],
    ))
}

fn forward(
    store: &Store,
    installed: Option<&Installed>,
    wanted: &Wanted<'_>,
) -> Result<Vec<Available>, Refusal> {
    let mut here: BTreeMap<Version, (Available, Option<String>)> = BTreeMap::new();
    for stored in store.releases().map_err(internal)? {
        // What is not in Docker must be offered again.
        if stored.fetched
            || wanted
                .offered
                .iter()
                .any(|(_, digest)| *digest == stored.digest)
        {
            let version = stored.release.version.clone();
            here.insert(version, ((stored.release, stored.digest), stored.failed));
        }
    }
    for (release, digest) in wanted.offered {
        let same = here
            .get(&release.version)
            .is_some_and(|((_, d), _)| d == digest);
        if !same {
            here.insert(release.version.clone(), ((release.clone(), *digest), None));
        }
    }
    let from = installed.map(|i| &i.version);
    here.retain(|version, _| !wanted.withdrawn.contains_key(version));
    if let Some((to, why)) = wanted.to.and_then(|to| wanted.withdrawn.get_key_value(to)) {
        let summary = format!("the vendor has withdrawn {to}");
        return Err(Refusal::new(Code::ReleaseWithdrawn, summary).found(why.clone()));
    }
    let usable: Vec<&Release> = here
        .values()
        .filter(|(_, failed)| failed.is_none() || wanted.retry_quarantined)
        .map(|((release, _), _)| release)
        .collect();
    let to = match wanted.to {
        Some(to) => to.clone(),
        None => newest(from, &usable, &here, wanted)?,
    };
    if let Some((_, Some(why))) = here.get(&to)
        && !wanted.retry_quarantined
    {
        return Err(
            Refusal::new(Code::Quarantined, format!("{to} failed here before")).found(why.clone()),
        );
    }
    let route = policy::route(from, &to, &usable)?;
    Ok(route
        .into_iter()
        .map(|r| here[&r.version].0.clone())
        .collect())
}

fn newest(
    from: Option<&Version>,
    usable: &[&Release],
    here: &BTreeMap<Version, (Available, Option<String>)>,
    wanted: &Wanted<'_>,
) -> Result<Version, Refusal> {
    let newer = usable
        .iter()
        .map(|r| &r.version)
        .filter(|v| from.is_none_or(|f| *v > f));
    // A bundle names its goal: its newest release.
    let offered = wanted.offered.iter().map(|(r, _)| &r.version).max();
    match (offered, from) {
        (Some(offered), Some(from)) if offered < from => {
            return Err(Refusal::new(
                Code::Downgrade,
                "the bundle is older than what is installed",
            )
            .because(format!("a version above {from}"), offered.to_string()));
        }
        (Some(offered), _) => return Ok(offered.clone()),
        (None, _) => {}
    }
    let reachable = newer
        .filter(|v| policy::route(from, v, usable).is_ok())
        .max();
    if let Some(version) = reachable {
        return Ok(version.clone());
    }
    let failed = here
        .values()
        .find(|((r, _), failed)| failed.is_some() && from.is_none_or(|f| r.version > *f));
    Err(match (failed, from) {
        (Some(((release, _), Some(why))), _) => Refusal::new(
            Code::Quarantined,
            format!("{} failed here before", release.version),
        )
        .found(why.clone()),
        (_, Some(from)) => Refusal::new(
            Code::AlreadyInstalled,
            format!("{from} is the newest version that is here"),
        ),
        (_, None) => Refusal::new(Code::NotFound, "there is no release here")
            .next("Run `berth install BUNDLE`."),
    })
}

/// The hops, and of each what keeps its containers from being made.
fn hops(
    store: &Store,
    installed: Option<&Installed>,
    current: Option<&Available>,
    releases: &[Available],
    way: Way,
    values: &[BTreeMap<String, String>],
    place: &Place,
) -> Result<(Vec<Hop>, Vec<Vec<ResolveError>>), Refusal> {
    let (mut hops, mut all_errors) = (Vec::new(), Vec::new());
    let mut before = match (installed, current) {
        (Some(installed), Some((release, _))) => Some(Current {
            release,
            services: installed.services.clone(),
            networks: installed.networks.clone(),
        }),
        _ => None,
    };
    let first = installed.map_or(0, |i| i.generation) + 1;
    for (generation, ((release, digest), values)) in (first..).zip(releases.iter().zip(values)) {
        let target = Target {
            release,
            digest: *digest,
            values,
            generation,
        };
        let (mut hop, errors) = policy::hop(before.as_ref(), target, way, place);
        if let Way::Back(Some((run, source))) = way {
            cover_what_goes_back(store, &mut hop, (run, source))?;
        }
        let (services, networks) = policy::placed(&hop);
        before = Some(Current {
            release,
            services,
            networks,
        });
        hops.push(hop);
        all_errors.push(errors);
    }
    Ok((hops, all_errors))
}

/// What the kept snapshot takes the place of is copied first, whatever the newer release says of
/// it: a rollback that fails puts the present back.
fn cover_what_goes_back(
    store: &Store,
    hop: &mut Hop,
    (run, source): (i64, usize),
) -> Result<(), Refusal> {
    let kept = store.notes(run, source, "snapshot").map_err(internal)?;
    hop.not_covered.retain(|volume| !kept.contains_key(volume));
    hop.snapshot.extend(kept.into_keys());
    hop.snapshot.sort();
    hop.snapshot.dedup();
    Ok(())
}

fn new_grants(current: Option<&Release>, releases: &[Available]) -> Vec<Grant> {
    let mut grants: Vec<Grant> = releases
        .iter()
        .flat_map(|(r, _)| &r.grants)
        .filter(|grant| current.is_none_or(|c| !c.grants.contains(grant)))
        .cloned()
        .collect();
    grants.sort();
    grants.dedup();
    grants
}

fn warnings(
    installed: Option<&Installed>,
    current: Option<&Release>,
    releases: &[Available],
    hops: &[Hop],
    way: Way,
) -> Vec<String> {
    let mut all = Vec::new();
    if let (Way::Back(snapshot), Some(installed)) = (way, installed) {
        all.push(match snapshot {
            Some(_) => {
                let since = installed.previous.as_ref().and_then(|p| p.since);
                format!(
                    "Writes since {} will be lost.",
                    since.unwrap_or(installed.committed)
                )
            }
            None => "The data stays as it is.".to_owned(),
        });
    }
    if let (Way::Back(Some(_)), Some(current), Some((last, _))) = (way, current, releases.last()) {
        let gone = current
            .volumes
            .keys()
            .filter(|v| !last.volumes.contains_key(*v));
        all.extend(gone.map(|volume| {
            format!(
                "Volume {volume} came with {} and goes with it.",
                current.version
            )
        }));
    }
    for (hop, (release, _)) in hops.iter().zip(releases) {
        if hop.from.is_some() {
            for migration in hop.migrations.iter().filter(|m| !m.reversible) {
                // The copy is made when the product is stopped: later than that.
                let back = match migration.phase {
                    MigrationPhase::Before => "and no copy of the data is made before it",
                    MigrationPhase::Stopped => "a rollback restores the data from before it",
                };
                all.push(format!(
                    "Migration {} of {} cannot be undone after the update; {back}.",
                    migration.name, release.version
                ));
            }
        }
    }
    for (hop, (release, _)) in hops.iter().zip(releases) {
        // A bridge that lets out also publishes: Docker knows no other kind.
        let open = |name: &&berth_format::Name| {
            release.services[*name].egress && super::has_doors(release, name)
        };
        for name in release
            .services
            .keys()
            .filter(open)
            .filter(|_| hop.data_may_change)
        {
            all.push(format!(
                "{name} of {} reaches out before the update is committed, so its ports are open then: a rollback takes writes back.",
                release.version
            ));
        }
    }
    if let Some(current) = current {
        for name in uncovered_host_paths(current) {
            all.push(format!(
                "{name} is not covered by a snapshot: a rollback leaves it as it is."
            ));
        }
    }
    all.dedup();
    all
}
