//! What must hold after every run, whatever went wrong in it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Bench, Installed, Outcome, Phase, PlanKind, Run};
use crate::engine::ContainerState;
use crate::engine::fake::Fake;
use crate::engine::fake::world::{ROOT, World, volumes};
use crate::host::fake::FakeHost;
use crate::update::context::snapshot_dir;
use crate::update::context::{Context, StepError};
use crate::update::gate::{bring_up, is_one_off};
use crate::update::resolve::DOORS;
use crate::update::steps::open::{arm, open};
use crate::update::steps::stop::has_doors;

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

pub fn run(bench: &mut Bench, run: &Run, before: Option<&Installed>, loads: u64) -> Check {
    let installed = bench.installed();
    ensure(run.phase == Phase::Idle, || {
        format!("it ended {}", run.phase)
    })?;
    let ended = run.ended.ok_or("it ended and did not say how")?;
    outcome(bench, run, before, installed.as_ref(), ended.outcome)?;
    if run.plan.kind == PlanKind::Rollback {
        let now = bench.fake.world().loads;
        ensure(now == loads, || "a rollback loaded images".into())?;
    }
    if let Some(restored) = run.plan.hops[run.hop].restore
        && ended.outcome == Outcome::Committed
    {
        // Writes since the snapshot are lost, as the admin was told.
        let mut world = bench.fake.world();
        world.acknowledged = world.begun[&restored].clone();
    }
    data(bench)?;
    journal(bench, run)?;

    bench.fake.world().mend();
    bench.fake.world().phase = Phase::Idle;
    let ctx = bench.context(false);
    let left_over = gave_up_removing(bench, run) || bench.fake.world().lost;
    let whole = stack(bench, installed.as_ref(), left_over);
    let excused = bench.fake.world().outages > 0 || !bench.fake.world().faults.fired.is_empty();
    if whole.is_err() && !excused {
        return whole;
    }
    if let Err(why) = &whole {
        bench
            .fake
            .world()
            .say(|| format!("==== not whole yet: {why}"));
    }
    if let Some(installed) = &installed {
        let fake = bench.fake.clone();
        let release = bench
            .store
            .release(&installed.version)
            .unwrap()
            .unwrap()
            .release;
        let done = fake.execute(supervise(&ctx, &release, installed));
        if let Some(violation) = fake.world().violations.first() {
            return Err(violation.clone());
        }
        done.ok_or("the supervisor crashed")?
            .map_err(|e| format!("the supervisor: {e}"))?;
        // A client goes on writing.
        fake.execute(fake.sleep(std::time::Duration::from_secs(2)));
    }
    stack(bench, installed.as_ref(), left_over)?;
    data(bench)
}

/// Old whole or new whole, and the record says which.
fn outcome(
    bench: &Bench,
    run: &Run,
    before: Option<&Installed>,
    after: Option<&Installed>,
    outcome: Outcome,
) -> Check {
    let fired = !bench.fake.world().faults.fired.is_empty();
    let version = |i: Option<&Installed>| i.map(|i| i.version.clone());
    let hop = &run.plan.hops[run.hop];
    match outcome {
        Outcome::Committed => {
            ensure(version(after).as_ref() == Some(&hop.to), || {
                format!(
                    "committed {}, but {:?} is installed",
                    hop.to,
                    version(after)
                )
            })?;
            let bad = bench
                .product
                .releases
                .iter()
                .any(|s| s.bad && s.release.version == hop.to);
            ensure(!bad || before.map(|b| &b.version) == Some(&hop.to), || {
                format!("{} cannot work, and was committed", hop.to)
            })?;
        }
        Outcome::RolledBack => {
            ensure(version(after) == hop.from, || {
                format!(
                    "rolled back to {:?}, but {:?} is installed",
                    hop.from,
                    version(after)
                )
            })?;
            let failure = run.failure.as_ref().ok_or("rolled back without a reason")?;
            let stored = bench.store.release(&hop.to).unwrap().unwrap();
            let bad = bench
                .product
                .releases
                .iter()
                .any(|s| s.bad && s.release.version == hop.to);
            let only_outages = faults_all_outages(bench);
            ensure(bad || !only_outages || stored.failed.is_none(), || {
                format!("{} is quarantined for an outage of Docker", hop.to)
            })?;
            if !fired {
                ensure(bad, || {
                    format!("{} failed without a fault: {failure}", hop.to)
                })?;
                ensure(stored.failed.is_some(), || {
                    format!("{} failed by itself and is not quarantined", hop.to)
                })?;
            }
        }
    }
    Ok(())
}

/// Whether nothing went wrong but that Docker was away, as far as berthd could see it.
fn faults_all_outages(bench: &Bench) -> bool {
    let world = bench.fake.world();
    let fired = &world.faults.fired;
    !fired.is_empty() && fired.iter().all(|f| f.contains(": Gone {"))
}

/// Nothing that a client was told is kept is gone.
fn data(bench: &Bench) -> Check {
    let world = bench.fake.world();
    for (volume, writes) in &world.acknowledged {
        let kept = world.folders.get(&World::volume_dir(volume));
        let kept = kept.map(|f| f.data.writes.clone()).unwrap_or_default();
        let lost: Vec<_> = writes.difference(&kept).collect();
        ensure(lost.is_empty(), || {
            format!("writes {lost:?} to {volume} are lost")
        })?;
    }
    Ok(())
}

/// Every intent has one outcome, and they follow each other as the match says.
fn journal(bench: &Bench, run: &Run) -> Check {
    use crate::update::transition::{Event, next};
    let entries = bench.store.entries(run.id, 0, u32::MAX).unwrap();
    let mut at: Option<Phase> = None;
    for entry in entries {
        match (entry.event, at) {
            (Event::Begun, _) => {
                if let Some(expected) = at {
                    ensure(expected == entry.phase || expected == Phase::Idle, || {
                        format!("the journal goes to {}, expected {expected}", entry.phase)
                    })?;
                }
                at = Some(entry.phase);
            }
            (event, Some(phase)) => {
                ensure(phase == entry.phase, || {
                    format!("the journal has {event:?} of {} in {phase}", entry.phase)
                })?;
                at = Some(next(phase, event).map_err(|e| e.to_string())?);
            }
            (event, None) => return Err(format!("the journal begins with {event:?}")),
        }
    }
    ensure(at == Some(Phase::Idle), || {
        format!("the journal ends in {at:?}")
    })
}

/// Discard or prune was hit for so long that it was given up.
fn gave_up_removing(bench: &Bench, run: &Run) -> bool {
    use crate::update::transition::{Event, Step, Undo};
    let entries = bench.store.entries(run.id, 0, u32::MAX).unwrap();
    entries.iter().any(|e| {
        let removes = [Phase::Back(Undo::Discard), Phase::Forward(Step::Prune)];
        e.event == Event::Failed && removes.contains(&e.phase)
    })
}

/// The installed stack runs, whole, and nothing else does.
///
/// What is left over is excused only if removing it failed; the next run removes it.
fn stack(bench: &Bench, installed: Option<&Installed>, excused: bool) -> Check {
    let world = bench.fake.world();
    let docker = &world.docker;
    let Some(installed) = installed else {
        let running: Vec<_> = docker.containers.iter().filter(|(_, c)| c.runs()).collect();
        ensure(running.is_empty(), || {
            format!("nothing is installed, but {} runs", running[0].0)
        })?;
        if excused {
            return Ok(());
        }
        let names: Vec<_> = docker.containers.keys().collect();
        ensure(names.is_empty(), || {
            format!("nothing is installed, but there are {names:?}")
        })?;
        ensure(docker.volumes.is_empty(), || {
            format!("nothing is installed, but there is {:?}", docker.volumes)
        })?;
        return Ok(());
    };
    let shipped = bench
        .product
        .releases
        .iter()
        .find(|s| s.release.version == installed.version);
    let release = &shipped.ok_or("another release is installed")?.release;
    let mut mine = BTreeSet::new();
    for (name, placed) in &installed.services {
        mine.insert(placed.container.clone());
        let service = &release.services[name];
        let c = docker
            .containers
            .get(&placed.container)
            .ok_or_else(|| format!("{} is gone", placed.container))?;
        ensure(c.digest == placed.spec, || {
            format!("{name} was made from something else")
        })?;
        ensure(c.spec.generation == placed.generation, || {
            format!("{name} is of generation {}", c.spec.generation)
        })?;
        let well =
            c.runs() || (is_one_off(service) && c.state == ContainerState::Exited { code: 0 });
        ensure(well, || format!("{} is {:?}", placed.container, c.state))?;
        ensure(c.restart == service.restart, || {
            format!(
                "{name} has the restart policy {:?}, not {:?}",
                c.restart, service.restart
            )
        })?;
        if has_doors(release, name) {
            ensure(world.publishes(c), || {
                format!("the door of {name} is closed")
            })?;
        }
        if let crate::engine::spec::NetworkChoice::Networks(networks) = &c.spec.network {
            for (network, _) in networks {
                ensure(c.networks.contains(network), || {
                    format!("{name} is not on {network}")
                })?;
            }
        }
        for volume in volumes(&c.spec) {
            let folder = world.folders.get(&World::volume_dir(volume));
            ensure(folder.is_some(), || format!("volume {volume} is gone"))?;
        }
    }
    for (name, c) in &docker.containers {
        ensure(mine.contains(name) || !c.runs(), || {
            format!("{name} still runs")
        })?;
        ensure(
            mine.contains(name) || c.restart == berth_format::service::Restart::No,
            || format!("{name} may be started by Docker"),
        )?;
    }
    if !excused {
        let names: BTreeSet<_> = docker.containers.keys().cloned().collect();
        ensure(names == mine, || {
            format!("left over: {:?}", names.difference(&mine))
        })?;
        let kept = installed.previous.as_ref().and_then(|p| p.snapshot);
        let kept = kept.map(|(run, hop)| snapshot_dir(Path::new(ROOT), "shop", run, hop));
        let below = Path::new(ROOT).join("berth-snapshots");
        for path in world.folders.keys().filter(|p| p.starts_with(&below)) {
            let ok = kept.as_ref().is_some_and(|kept| path.starts_with(kept));
            ensure(ok, || format!("left over: {}", path.display()))?;
        }
        let ballast = world.dirs.iter().find(|d| d.ends_with("ballast"));
        ensure(ballast.is_none(), || "the ballast is left over".into())?;
    }
    Ok(())
}

/// What the supervisor does with a stack that is not whole.
async fn supervise(
    ctx: &Context<Fake, FakeHost>,
    release: &berth_format::Release,
    installed: &Installed,
) -> Result<(), StepError> {
    let all: std::collections::BTreeMap<_, _> = installed
        .services
        .iter()
        .map(|(name, placed)| (name.clone(), placed.container.clone()))
        .collect();
    bring_up(ctx, release, &all).await?;
    let doors = installed.networks.get(DOORS).map(|n| n.name.as_str());
    open(ctx, release, &all, doors).await?;
    arm(ctx, release, &all).await
}
