//! What is told of what happens to a stack in memory.

use berth_format::Refusal;
use jiff::Timestamp;

use super::*;
use crate::engine::fake::Fake;
use crate::host::fake::FakeHost;
use crate::notify::{Program, Receiver, Way};
use crate::store::{Ended, Store};
use crate::update::Undo;
use crate::update::seeded::Bench;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn program(path: &str) -> Receiver {
    Receiver {
        way: Way::Program(Program { path: path.into() }),
        only: std::collections::BTreeSet::new(),
    }
}

/// Somebody is told, and the first version is installed.
fn installed() -> (Bench, Run) {
    let mut bench = Bench::new(0, false);
    let receiver = program("/bin/true");
    bench
        .store
        .set_receiver(&name("ops"), Some(&receiver))
        .unwrap();
    let first = bench.product.releases[0].release.version.clone();
    let run = bench.apply(PlanKind::Install, Some(&first), false).unwrap();
    (bench, run)
}

/// berthd, started over what there is.
fn started(bench: &Bench) -> Appliance<Fake, FakeHost> {
    let host = FakeHost::of(&bench.fake);
    Appliance::open(bench.store.clone(), bench.fake.clone(), host)
}

/// Oldest first.
fn told(store: &Store) -> Vec<(Event, String)> {
    let mut all: Vec<_> = store.deliveries(100).unwrap();
    all.reverse();
    all.into_iter()
        .map(|d| (d.letter.event, d.letter.data.summary))
        .collect()
}

fn events(store: &Store) -> Vec<Event> {
    told(store).into_iter().map(|(event, _)| event).collect()
}

#[test]
fn a_run_is_told_when_it_begins_and_once_when_it_ends() {
    let (bench, run) = installed();
    let appliance = started(&bench);
    assert!(appliance.has_receiver());
    appliance.announce_begun(&run);
    appliance.announce_end(&run);
    appliance.announce_end(&run);
    let said = told(&bench.store);
    let (title, to) = (&run.plan.title, &run.plan.to);
    let begun = format!("The install of {title} {to} has begun.");
    let done = format!("{title} {to} is installed and runs.");
    assert_eq!(
        said,
        [(Event::UpdateBegun, begun), (Event::UpdateDone, done)]
    );
    let letter = &bench.store.deliveries(1).unwrap()[0].letter;
    assert_eq!(letter.data.product.as_ref(), Some(&run.plan.product));
    assert_eq!(letter.data.run, Some(run.id));
    assert_eq!(letter.data.appliance, bench.store.appliance().unwrap());
}

#[test]
fn an_end_that_a_crash_kept_quiet_is_told_at_the_next_start() {
    let (bench, run) = installed();
    started(&bench).announce_missed();
    assert_eq!(events(&bench.store), [], "from before anybody was told");
    started(&bench).announce_begun(&run);
    started(&bench).announce_missed();
    started(&bench).announce_missed();
    assert_eq!(
        events(&bench.store),
        [Event::UpdateBegun, Event::UpdateDone]
    );
}

#[test]
fn a_failure_says_what_runs_and_what_to_do() {
    let (_, mut run) = installed();
    let old: Version = "1.0.0".parse().unwrap();
    run.plan.kind = PlanKind::Update;
    run.plan.to = "1.1.0".parse().unwrap();
    let refusal = Refusal::new(Code::Unhealthy, "frontend did not become healthy.");
    run.failure = Some(refusal.clone());
    run.ended = Some(Ended {
        at: Timestamp::UNIX_EPOCH,
        outcome: Outcome::RolledBack,
    });
    let back = end(&run, Some(&old)).unwrap();
    assert_eq!(back.event, Event::RolledBack);
    let text = format!(
        "The update to 1.1.0 failed, and {} 1.0.0 runs again: frontend did not become healthy.",
        run.plan.title
    );
    assert_eq!(back.summary, text);
    assert_eq!(
        (back.code, back.next),
        (Some(Code::Unhealthy), Some(refusal.next))
    );
    assert_eq!((back.from, back.to), (Some(run.plan.to.clone()), Some(old)));

    let failed = end(&run, None).unwrap();
    assert_eq!(failed.event, Event::UpdateFailed);

    run.phase = Phase::Halted(Undo::Restore);
    run.ended = None;
    let halted = end(&run, None).unwrap();
    assert_eq!(
        (halted.event, halted.code),
        (Event::Halted, Some(Code::RollbackFailed))
    );
    assert!(halted.next.unwrap().contains("--resume"));

    run.phase = Phase::Back(Undo::Restore);
    assert_eq!(end(&run, None), None, "it is under way");
}

#[test]
fn one_that_halts_is_told_once_over_restarts_and_again_when_it_halts_again() {
    let (bench, mut run) = installed();
    run.phase = Phase::Halted(Undo::Revive);
    run.ended = None;
    started(&bench).announce_end(&run);
    started(&bench).announce_found(&run);
    assert_eq!(events(&bench.store), [Event::Halted]);
    started(&bench).announce_end(&run);
    assert_eq!(events(&bench.store), [Event::Halted, Event::Halted]);
}

#[test]
fn a_service_that_stays_away_is_told_once_over_restarts_and_then_that_it_is_back() {
    let (bench, run) = installed();
    let release = &bench.product.releases[0].release;
    let installed = bench.store.installed().unwrap().unwrap();
    assert_eq!(installed.version, run.plan.to);
    let all = || {
        let engine = bench.fake.clone();
        let product = installed.product.clone();
        let all = bench
            .fake
            .execute(async move { engine.containers(&product).await });
        all.unwrap().unwrap()
    };
    let here = all();
    let here: BTreeMap<&str, &Container> = here.iter().map(|c| (c.name.as_str(), c)).collect();
    let gone = BTreeMap::new();
    let services = release.services.keys();
    let services: Vec<_> = services.filter(|n| !installed.services[*n].done).collect();
    let look = |vitals: &mut Vitals, seen: &BTreeMap<&str, &Container>, seconds| {
        started(&bench).see(vitals, release, &installed, seen);
        bench.fake.world().now += Duration::from_secs(seconds);
    };
    let mut vitals = Vitals::default();
    look(&mut vitals, &gone, 119);
    look(&mut vitals, &gone, 1);
    assert_eq!(events(&bench.store), []);
    look(&mut vitals, &gone, 60);
    let ill = vec![Event::Unhealthy; services.len()];
    assert_eq!(events(&bench.store), ill);
    assert!(told(&bench.store)[0].1.contains("its container is gone"));

    let mut vitals = Vitals::default();
    look(&mut vitals, &gone, 300);
    look(&mut vitals, &gone, 300);
    assert_eq!(events(&bench.store), ill, "berthd was only restarted");

    look(&mut vitals, &here, 61);
    look(&mut vitals, &here, 61);
    look(&mut vitals, &here, 61);
    let said = events(&bench.store);
    assert_eq!(said.len(), 2 * services.len(), "{said:?}");
    assert!(
        said[services.len()..]
            .iter()
            .all(|e| *e == Event::HealthyAgain)
    );
}

#[test]
fn a_docker_that_is_away_is_told_after_the_grace() {
    let (bench, _) = installed();
    let appliance = started(&bench);
    let mut vitals = Vitals::default();
    for _ in 0..10 {
        let gone = StepError::Engine(EngineError::Gone("no such file".into()));
        appliance.watch_failed(&mut vitals, &gone);
        bench.fake.world().now += Duration::from_secs(20);
    }
    let said = told(&bench.store);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].1.starts_with("Docker has not answered"), "{said:?}");
}

#[test]
fn a_disk_is_told_once_until_there_was_room_again() {
    let (bench, _) = installed();
    let appliance = started(&bench);
    let look = |free: u64, filesystem| {
        let disk = Disk {
            total: 100 * GIB,
            free,
            free_inodes: None,
            filesystem,
        };
        appliance.judge_disk("Docker's data", Path::new("/var/lib/docker"), disk);
        events(&bench.store).len()
    };
    assert_eq!(
        look(9 * GIB, 1),
        0,
        "less than a tenth is enough on a large disk"
    );
    assert_eq!(look(4 * GIB, 1), 1);
    assert_eq!(look(GIB / 2, 1), 1);
    assert_eq!(look(5 * GIB + 1, 1), 1, "not yet room again");
    assert_eq!(look(4 * GIB, 1), 1);
    assert_eq!(look(7 * GIB, 1), 1);
    assert_eq!(look(4 * GIB, 1), 2);
    let said = told(&bench.store);
    assert_eq!(
        said[0].1,
        "The disk with Docker's data (/var/lib/docker) has 4.0 GiB of 100.0 GiB left."
    );
}

#[test]
fn a_small_disk_is_low_below_a_gibibyte_or_a_tenth() {
    let of = |total: u64, free: u64| {
        room(Disk {
            total,
            free,
            free_inodes: None,
            filesystem: 1,
        })
    };
    assert_eq!(of(8 * GIB, GIB - 1), Some(false));
    assert_eq!(of(20 * GIB, 2 * GIB - 1), Some(false));
    assert_eq!(of(20 * GIB, 2 * GIB + GIB / 5), None);
    assert_eq!(of(20 * GIB, 3 * GIB), Some(true));
}

#[test]
fn nothing_is_written_where_nobody_is_told() {
    let (bench, run) = installed();
    bench.store.set_receiver(&name("ops"), None).unwrap();
    let appliance = started(&bench);
    assert!(!appliance.has_receiver());
    appliance.announce_begun(&run);
    assert_eq!(events(&bench.store), []);
    assert_eq!(bench.store.told("run-begun").unwrap(), None);
}

#[tokio::test]
async fn what_is_set_is_checked_and_a_test_says_what_each_answered() {
    let (bench, _) = installed();
    let appliance = started(&bench);
    let bad = appliance.answer_set_receiver(&name("bad"), Some(&program("/no/such")));
    assert_eq!(bad.unwrap_err().code, Code::NotifySettings);
    let set = appliance.answer_set_receiver(&name("sad"), Some(&program("/bin/false")));
    assert_eq!(set.unwrap().receivers.len(), 2);
    let tested = appliance.answer_test(None).await.unwrap();
    let codes: Vec<_> = tested
        .iter()
        .map(|t| (t.receiver.as_str(), t.refusal.as_ref().map(|r| r.code)))
        .collect();
    assert_eq!(codes, [("ops", None), ("sad", Some(Code::NotifyFailed))]);
    let one = appliance.answer_test(Some(&name("ops"))).await.unwrap();
    assert_eq!(one.len(), 1);
    let none = appliance.answer_test(Some(&name("nobody"))).await;
    assert_eq!(none.unwrap_err().code, Code::NotFound);
    assert_eq!(events(&bench.store), [], "a test waits in no line");
    for receiver in ["ops", "sad"] {
        appliance
            .answer_set_receiver(&name(receiver), None)
            .unwrap();
    }
    let nobody = appliance.answer_test(None).await;
    assert_eq!(nobody.unwrap_err().code, Code::NotifyMissing);
}
