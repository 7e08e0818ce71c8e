//! Single scenes on the fake machine, where the seeds say only that every run ends whole.

use std::time::Duration;

use berth_format::release::Probe;
use berth_format::service::{Condition, Dependency};
use berth_format::{Code, Effect, Name, Release};
use semver::{Version, VersionReq};

use super::plan::PlanKind;
use super::seeded::{Bench, Shipped};
use super::{Event, Phase, Step, Undo};
use crate::engine::fake::fault::{Fault, When};
use crate::host::fake::DRAINED;
use crate::store::{Outcome, Run};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Offers a release that is made from the first of the product.
fn offer(bench: &mut Bench, version: Version, edit: impl FnOnce(&mut Release)) {
    let mut release = bench.product.releases[0].release.clone();
    release.version = version;
    release.upgrade.from = VersionReq::STAR;
    edit(&mut release);
    let bytes = release.to_bytes();
    bench.store.put_release(&release, &bytes).unwrap();
    bench.product.releases.push(Shipped {
        release,
        bytes,
        bad: false,
    });
}

fn install(bench: &mut Bench) {
    let version = bench.product.releases[0].release.version.clone();
    let run = bench.apply(PlanKind::Install, Some(&version), false);
    let run = run.unwrap_or_else(|| panic!("{:?}", bench.fake.world().violations));
    assert!(run.failure.is_none(), "{:?}", run.failure);
}

#[test]
fn services_start_at_once_and_one_that_depends_on_them_after_them() {
    const TAKES: Duration = Duration::from_secs(3);
    let mut bench = Bench::whose_first_is_good();
    let version = Version::new(5, 0, 0);
    offer(&mut bench, version.clone(), |release| {
        let mut draft = release.services[&name("db")].clone();
        draft.healthcheck = None;
        draft.mounts.clear();
        let depends = |others: &[&str]| {
            let on = Dependency {
                condition: Condition::ServiceHealthy,
                restart: false,
                required: true,
            };
            others
                .iter()
                .map(|other| (name(other), on.clone()))
                .collect()
        };
        release.services.clear();
        release.migrations.clear();
        for (service, others) in [("one", &[][..]), ("two", &[]), ("three", &["one", "two"])] {
            let mut made = draft.clone();
            made.depends_on = depends(others);
            made.probe = Some(Probe {
                service: name(service),
                port: 80,
                path: None,
                within_ms: 30_000,
            });
            release.services.insert(name(service), made);
        }
    });
    for behaviour in bench.fake.world().behaviours.values_mut() {
        behaviour.takes = TAKES;
    }
    let run = bench
        .apply(PlanKind::Install, Some(&version), false)
        .unwrap();
    assert!(run.failure.is_none(), "{:?}", run.failure);
    let world = bench.fake.world();
    let started = |service: &str| world.docker.containers[&format!("shop-{service}-1")].started;
    let (one, two, three) = (started("one"), started("two"), started("three"));
    let moment = Duration::from_millis(500);
    assert!(one.abs_diff(two) < moment, "{one:?} {two:?}");
    let waited = three.saturating_sub(one.max(two));
    assert!((TAKES..TAKES + moment).contains(&waited), "{waited:?}");
}

/// An update that fails in its migration, and what was installed before it; with a fault where a
/// phase begins.
struct Scene {
    bench: Bench,
    run: Run,
    took: Duration,
}

fn failing(seed: u64, fault: Option<(u64, Fault)>) -> Option<Scene> {
    let mut bench = Bench::new(seed, true);
    let bad = bench.product.releases.iter().find(|s| s.bad)?;
    let bad = bad.release.version.clone();
    let first = bench.product.releases[0].release.version.clone();
    bench.apply(PlanKind::Install, Some(&first), false)?;
    let before = bench.store.installed().unwrap()?;
    let planned = bench.plan(PlanKind::Update, Some(&bad))?;
    if planned.plan.hops.len() != 1 {
        return None;
    }
    let (began, loads) = {
        let mut world = bench.fake.world();
        world.faults.planned.extend(fault);
        (world.now, world.loads)
    };
    let run = bench.apply(PlanKind::Update, Some(&bad), false)?;
    let took = bench.fake.now().saturating_sub(began);
    bench.check(&run, Some(&before), loads).unwrap();
    Some(Scene { bench, run, took })
}

/// The first call in a phase of the last run, as the trace has it.
fn call_in(trace: &[String], phase: Phase) -> Option<u64> {
    let begun = format!("== {phase} Begun");
    let at = trace.iter().rposition(|line| line.contains(&begun))?;
    trace[at..].iter().find_map(|line| {
        let (number, _) = line.split_once('#')?.1.split_once(' ')?;
        number.parse().ok()
    })
}

/// A seed whose update fails in its migration, after which everything is undone; its trace.
fn seed_that_migrates_in_vain() -> (u64, Vec<String>) {
    (0..1000)
        .find_map(|seed| {
            let scene = failing(seed, None)?;
            let failure = scene.run.failure?;
            let trace = scene.bench.fake.world().trace.take()?;
            (failure.code == Code::MigrationFailed
                && scene.run.plan.hops[0].data_may_change
                && trace.iter().any(|line| line.contains("== halt Begun")))
            .then_some((seed, trace))
        })
        .unwrap()
}

#[test]
fn an_undo_waits_for_docker_however_long_it_is_away() {
    let (seed, trace) = seed_that_migrates_in_vain();
    for undo in Undo::ALL {
        let call = call_in(&trace, Phase::Back(undo)).unwrap();
        let down = Duration::from_mins(20);
        let gone = Fault::Gone {
            when: When::Before,
            down,
            killed: true,
        };
        let scene = failing(seed, Some((call, gone))).unwrap();
        let fired = scene.bench.fake.world().faults.fired.clone();
        assert_eq!(fired.len(), 1, "{undo:?}: {fired:?}");
        assert!(scene.took > down, "{undo:?}: {:?}", scene.took);
        let run = scene.run;
        assert_eq!(run.ended.unwrap().outcome, Outcome::RolledBack);
        assert_eq!(run.failure.unwrap().code, Code::MigrationFailed);
        // Nobody had to help: no undo failed.
        let entries = scene.bench.store.entries(run.id, 0, u32::MAX).unwrap();
        let failed = entries
            .iter()
            .find(|e| e.event == Event::Failed && matches!(e.phase, Phase::Back(_)));
        assert_eq!(failed, None, "{undo:?}");
    }
}

#[test]
fn a_run_whose_journal_cannot_be_written_is_taken_up_again() {
    let (seed, trace) = seed_that_migrates_in_vain();
    for phase in [
        Phase::Forward(Step::Prepare),
        Phase::Forward(Step::Stop),
        Phase::Forward(Step::Migrate),
        Phase::Back(Undo::Restore),
        Phase::Back(Undo::Discard),
    ] {
        let call = call_in(&trace, phase).unwrap();
        let mute = Duration::from_mins(7);
        let scene = failing(seed, Some((call, Fault::Mute(mute)))).unwrap();
        assert!(scene.took > mute, "{phase}: {:?}", scene.took);
        assert_eq!(scene.run.ended.unwrap().outcome, Outcome::RolledBack);
        let entries = scene.bench.store.entries(scene.run.id, 0, u32::MAX);
        let cut = |e: &crate::store::Entry| e.event == Event::Cut;
        assert!(entries.unwrap().iter().any(cut), "{phase} was not cut");
    }
}

/// What runs, then 2.0.0 that works on in the background until `busy` has passed, then 2.1.0.
fn through_two_hops(busy: Duration) -> Scene {
    let mut bench = Bench::whose_first_is_good();
    install(&mut bench);
    offer(&mut bench, Version::new(2, 0, 0), |release| {
        release.upgrade.stop = true;
        release.upgrade.drained = Some(Probe {
            service: name("front"),
            port: 80,
            path: Some(DRAINED.into()),
            within_ms: 0,
        });
    });
    offer(&mut bench, Version::new(2, 1, 0), |_| ());
    let began = bench.fake.now();
    bench.fake.world().busy = began + busy;
    let to = Version::new(2, 1, 0);
    let run = bench.apply(PlanKind::Update, Some(&to), false).unwrap();
    assert_eq!(run.plan.hops.len(), 2);
    let took = bench.fake.now().saturating_sub(began);
    Scene { bench, run, took }
}

#[test]
fn the_second_hop_waits_until_the_first_one_is_drained() {
    let busy = Duration::from_mins(20);
    let Scene { bench, run, took } = through_two_hops(busy);
    assert!(run.failure.is_none(), "{:?}", run.failure);
    assert_eq!(run.ended.unwrap().outcome, Outcome::Committed);
    assert!(took > busy, "{took:?}");
    // It waited before it did anything, and no longer than it had to.
    let entries = bench.store.entries(run.id, 0, u32::MAX).unwrap();
    let fetched = entries
        .iter()
        .find(|e| e.hop == 1 && e.phase == Phase::Forward(Step::Fetch) && e.event == Event::Done);
    let world = bench.fake.world();
    let (at, drained) = (fetched.unwrap().at, world.timestamp(world.busy));
    assert!(at >= drained, "{at} {drained}");
    assert!(at.duration_since(drained).as_secs() < 5, "{at} {drained}");
}

#[test]
fn one_that_is_never_drained_ends_the_update_where_it_is() {
    let Scene { bench, run, .. } = through_two_hops(Duration::from_hours(9));
    let failure = run.failure.unwrap();
    assert_eq!(failure.code, Code::NotDrained, "{failure}");
    assert_eq!(failure.effect, Effect::NothingChanged);
    assert!(failure.found.unwrap().contains("2 jobs left"));
    let installed = bench.store.installed().unwrap().unwrap();
    assert_eq!(installed.version, Version::new(2, 0, 0));
    // The release that was not even begun is to blame for nothing.
    let next = bench.store.release(&Version::new(2, 1, 0)).unwrap();
    assert_eq!(next.unwrap().failed, None);
    let world = bench.fake.world();
    for placed in installed.services.values() {
        assert!(world.docker.containers.contains_key(&placed.container));
    }
}
