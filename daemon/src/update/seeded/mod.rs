//! Seeded runs of the whole pipeline on the fake engine and host, with faults at every call.
//!
//! `BERTH_SEEDS=n` sets how many; `BERTH_SEED=n` runs one of them and prints all that happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_format::Digest;
use berth_format::image::Platform;
use semver::Version;
use tokio::sync::broadcast;

use super::context::Context;
use super::plan::PlanKind;
use super::planner::{self, Planned, Wanted};
use super::resolve::Place;
use super::transition::{Event, Phase, next};
use super::{driver, endure};
use crate::engine::fake::Fake;
use crate::engine::fake::fault::Fault;
use crate::engine::fake::random::Random;
use crate::engine::fake::world::World;
use crate::host::fake::FakeHost;
use crate::store::{Installed, Outcome, Run, Store};

mod check;
mod product;

use product::Product;
pub(crate) use product::Shipped;

/// Each makes two to three runs: 10,000 and some.
const SEEDS: u64 = 4_400;

/// Calls of a hop whose product was not seen to do one yet.
const FIRST_HOP: u64 = 300;

/// One appliance under test.
pub(crate) struct Bench {
    seed: u64,
    random: Random,
    pub(crate) product: Product,
    pub(crate) fake: Fake,
    pub(crate) store: Store,
    pub(crate) place: Place,
    /// Calls of the longest hop so far.
    longest: u64,
    problem: Option<String>,
    tally: Tally,
}

/// What the runs of many seeds came to.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    runs: usize,
    faults: usize,
    crashes: usize,
    committed: usize,
    undone: usize,
    halted: usize,
}

impl Bench {
    pub(crate) fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let product = Product::random(&mut random);
        let mut world = World::new(random.draw());
        world.behaviours = product.behaviours.clone();
        if trace {
            world.trace = Some(Vec::new());
        }
        let store = Store::in_memory().unwrap();
        for shipped in &product.releases {
            store.put_release(&shipped.release, &shipped.bytes).unwrap();
        }
        world.journal = Some(store.clone());
        Self {
            seed,
            random,
            product,
            fake: Fake::new(world),
            store,
            place: Place {
                platform: Platform::linux("amd64"),
                mounts: "/var/lib/berth/mounts".into(),
            },
            longest: FIRST_HOP,
            problem: None,
            tally: Tally::default(),
        }
    }

    /// One whose first release works.
    pub(crate) fn whose_first_is_good() -> Self {
        (0..1000)
            .map(|seed| Self::new(seed, false))
            .find(|bench| !bench.product.releases[0].bad)
            .unwrap()
    }

    /// As berthd makes it at its start; what was offered is gone after a crash.
    pub(crate) fn context(&self, offered: bool) -> Context<Fake, FakeHost> {
        let (notices, heard) = broadcast::channel(1024);
        let mut world = self.fake.world();
        world.crashed = false;
        world.phases = Some(heard);
        drop(world);
        let (fake, host) = (self.fake.clone(), FakeHost::of(&self.fake));
        let images: BTreeMap<Version, Vec<_>> = self
            .product
            .releases
            .iter()
            .map(|s| {
                let images = s.release.images.values().map(|i| {
                    let here = i.platforms.values().next().unwrap();
                    (i.tag.clone(), here.config.digest)
                });
                (s.release.version.clone(), images.collect())
            })
            .collect();
        let bring: super::context::Bring = Arc::new(move |versions| {
            let (fake, images) = (fake.clone(), images.clone());
            Box::pin(async move {
                for version in versions {
                    let loaded = fake.load_images(images[&version].clone()).await;
                    loaded.map_err(crate::api::internal)?;
                }
                Ok(())
            })
        });
        Context {
            engine: self.fake.clone(),
            host,
            store: self.store.clone(),
            place: self.place.clone(),
            notices,
            bring: offered.then_some(bring),
            outages: super::context::Outages::default(),
            away: super::away::Away::default(),
        }
    }

    /// What must hold after a run. `before`: what was installed then; `loads`: how often images
    /// had been loaded.
    pub(crate) fn check(
        &mut self,
        run: &Run,
        before: Option<&Installed>,
        loads: u64,
    ) -> Result<(), String> {
        check::run(self, run, before, loads)
    }

    fn installed(&self) -> Option<Installed> {
        self.store.installed().unwrap()
    }

    /// A plan; `None` where the planner says no.
    pub(crate) fn plan(&self, kind: PlanKind, to: Option<&Version>) -> Option<Planned> {
        let all = &self.product.releases;
        let offered: Vec<_> = all
            .iter()
            .map(|s| (s.release.clone(), Digest::of(&s.bytes)))
            .collect();
        let wanted = Wanted {
            kind,
            to,
            retry_quarantined: false,
            offered: &offered,
            withdrawn: &BTreeMap::new(),
            download: false,
        };
        let planned = planner::make(&self.store, &self.place, &wanted).ok()?;
        assert_eq!(planned.problems, [], "seed {}", self.seed);
        Some(planned)
    }

    /// Begins a run and brings it to its end, through every crash; the run as it ended.
    pub(crate) fn apply(
        &mut self,
        kind: PlanKind,
        to: Option<&Version>,
        faults: bool,
    ) -> Option<Run> {
        let Planned { plan, values, .. } = self.plan(kind, to)?;
        let ctx = self.context(kind != PlanKind::Rollback);
        let calls = self.fake.world().faults.calls;
        {
            let mut world = self.fake.world();
            world.faults.fired.clear();
            if faults {
                world.faults.more = u32::try_from(self.random.below(3)).unwrap();
                // Where much happens at once, or anywhere on the way.
                let whole = self.longest * plan.hops.len() as u64;
                let spread = self.random.pick(&[60, 200, whole, whole]);
                let at = calls + 1 + self.random.below(spread);
                let fault = Fault::any(&mut self.random);
                world.faults.planned.insert(at, fault);
            }
            let hops: Vec<_> = plan.hops.iter().map(|h| h.to.to_string()).collect();
            world.say(|| format!("==== {kind:?} through {}", hops.join(", ")));
            world.outages = 0;
            world.lost = false;
        }
        let now = {
            let world = self.fake.world();
            world.timestamp(world.now)
        };
        let first = next(Phase::Idle, Event::Begun).unwrap();
        let mut run = self.store.begin(&plan, &values, first, now).unwrap();
        {
            let mut world = self.fake.world();
            world.phase = first;
            world.hop = 0;
            world.may_change = plan.hops.iter().map(|h| h.data_may_change).collect();
            let kept = world.acknowledged.clone();
            world.begun.insert((run.id, 0), kept);
        }
        let mut ended = self.drive(&ctx, &mut run);
        let mut starts = 0;
        while ended.is_none() {
            if let Some(violation) = self.fake.world().violations.first().cloned() {
                self.problem = Some(violation);
                return None;
            }
            starts += 1;
            self.tally.crashes += 1;
            assert!(starts < 100, "seed {}: it crashes for ever", self.seed);
            let ctx = self.context(false);
            // berthd needs a moment to start.
            let pause = Duration::from_millis(self.random.below(3000));
            let fake = self.fake.clone();
            if fake.execute(fake.sleep(pause)).is_none() {
                continue;
            }
            self.fake.world().say(|| "==== berthd starts".into());
            run = self.store.current().unwrap().unwrap();
            let taken_up = fake.execute(endure::recover(&ctx, &mut run));
            ended = taken_up.and_then(|_| self.drive(&ctx, &mut run));
        }
        if matches!(run.phase, Phase::Halted(_)) {
            self.tally.halted += 1;
            // Somebody mends the machine and says so.
            self.fake.world().mend();
            let ctx = self.context(false);
            driver::resume(&ctx, &mut run).unwrap();
            if self.drive(&ctx, &mut run).is_none() {
                self.problem = self.fake.world().violations.first().cloned();
                return None;
            }
        }
        let hops = run.hop as u64 + 1;
        let made = self.fake.world().faults.calls - calls;
        self.longest = self.longest.max(made / hops);
        Some(self.store.run(run.id).unwrap().unwrap())
    }

    fn drive(&mut self, ctx: &Context<Fake, FakeHost>, run: &mut Run) -> Option<()> {
        self.fake.execute(endure::to_its_end(ctx, run))
    }

    /// All of one seed.
    fn run(&mut self) {
        let versions: Vec<Version> = self
            .product
            .releases
            .iter()
            .map(|s| s.release.version.clone())
            .collect();
        for _ in 0..2 + self.random.below(3) {
            let (kind, to) = match self.installed() {
                None => (PlanKind::Install, Some(versions[0].clone())),
                Some(installed) => match self.random.below(10) {
                    0..3 => (PlanKind::Update, None),
                    3..6 => (PlanKind::Update, versions.last().cloned()),
                    6 | 7 => {
                        let mode = self.random.pick(&["a", "b"]);
                        let set = BTreeMap::from([("MODE".to_owned(), Some(mode.to_owned()))]);
                        self.store.set_config(&set).unwrap();
                        (PlanKind::Reconfigure, None)
                    }
                    _ => match installed.previous {
                        Some(_) => (PlanKind::Rollback, None),
                        None => continue,
                    },
                },
            };
            let before = self.installed();
            let faults = self.random.chance(80);
            let loads = self.fake.world().loads;
            let run = self.apply(kind, to.as_ref(), faults);
            if self.problem.is_some() {
                return;
            }
            let Some(run) = run else { continue };
            self.tally.runs += 1;
            self.tally.faults += self.fake.world().faults.fired.len();
            match run.ended.map(|e| e.outcome) {
                Some(Outcome::RolledBack) => self.tally.undone += 1,
                _ => self.tally.committed += 1,
            }
            let result = self.check(&run, before.as_ref(), loads);
            if let Err(problem) = result {
                self.problem = Some(problem);
                return;
            }
        }
    }
}

fn run(seed: u64, trace: bool, tally: &mut Tally) -> Option<String> {
    let mut bench = Bench::new(seed, trace);
    bench.run();
    let t = bench.tally;
    tally.runs += t.runs;
    tally.faults += t.faults;
    tally.crashes += t.crashes;
    tally.committed += t.committed;
    tally.undone += t.undone;
    tally.halted += t.halted;
    if let Some(trace) = bench.fake.world().trace.take() {
        println!("{}", trace.join("\n"));
    }
    bench.problem.map(|problem| {
        format!(
            "seed {seed}: {problem}\n  again, with all that happens:\n  BERTH_SEED={seed} cargo test \
             -p berth-daemon --lib one_seed_in_full -- --nocapture"
        )
    })
}

fn part(part: u64, of: u64) {
    let seeds = std::env::var("BERTH_SEEDS").map_or(SEEDS, |n| n.parse().unwrap());
    let first = std::env::var("BERTH_FIRST_SEED").map_or(0, |n| n.parse().unwrap());
    let (mut failed, mut tally) = (Vec::new(), Tally::default());
    for seed in (first..first + seeds).filter(|seed| seed % of == part) {
        failed.extend(run(seed, false, &mut tally));
        if failed.len() >= 5 {
            break;
        }
    }
    println!("{tally:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(seeds < SEEDS || tally.runs >= 5000, "{tally:?}");
    // Seeds that try nothing prove nothing.
    let tried = seeds / of < 100
        || (tally.faults > tally.runs / 2
            && tally.crashes > tally.runs / 10
            && tally.committed > tally.runs / 5
            && tally.undone > tally.runs / 5
            && tally.halted > 0);
    assert!(tried, "{tally:?}");
}

#[test]
fn one_seed_in_full() {
    if let Ok(seed) = std::env::var("BERTH_SEED")
        && let Some(problem) = run(seed.parse().unwrap(), true, &mut Tally::default())
    {
        panic!("{problem}");
    }
}

#[test]
fn whatever_fails_it_ends_whole_even_seeds() {
    part(0, 2);
}

#[test]
fn whatever_fails_it_ends_whole_odd_seeds() {
    part(1, 2);
}
