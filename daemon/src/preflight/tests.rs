//! Each check says no when it should, and all of them at once.

use std::time::Duration;

use berth_format::Code;
use berth_format::release::Requires;

use super::*;
use crate::update::seeded::Bench;

fn codes(checks: &[Check]) -> Vec<Code> {
    checks
        .iter()
        .filter_map(|check| check.refusal.as_ref().map(|r| r.code))
        .collect()
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let bench = Bench::new(0, false);
    let version = bench.product.releases[0].release.version.clone();
    let mut planned = bench.plan(PlanKind::Install, Some(&version)).unwrap();
    let ctx = bench.context(true);
    let look = |releases: &[Release]| {
        let checks = run(&ctx, &planned.plan, releases, None);
        bench.fake.execute(checks).unwrap()
    };
    let fine = look(&planned.releases);
    assert_eq!(codes(&fine), []);
    assert!(verdict(&fine).is_none());

    let mut asking = planned.releases.clone();
    asking[0].requires = Requires {
        cpus: 64,
        memory: 1 << 50,
        disk: 1 << 50,
        engine: ">=99".parse().unwrap(),
    };
    let wrong = look(&asking);
    assert_eq!(
        codes(&wrong),
        [
            Code::EngineOld,
            Code::CpuFew,
            Code::MemoryLow,
            Code::DiskSpace
        ]
    );
    let refusal = verdict(&wrong).unwrap();
    assert_eq!(refusal.code, Code::PreflightFailed);
    let found = refusal.found.unwrap();
    for code in codes(&wrong) {
        assert!(found.contains(code.as_str()), "{found}");
    }

    // Just what there is, is enough.
    asking[0].requires.cpus = 4;
    asking[0].requires.memory = 0;
    asking[0].requires.disk = 0;
    asking[0].requires.engine = ">=20.10".parse().unwrap();
    assert_eq!(codes(&look(&asking)), []);
    planned.plan.fetch_bytes = 1 << 60;
    let checks = run(&ctx, &planned.plan, &asking, None);
    assert_eq!(
        codes(&bench.fake.execute(checks).unwrap()),
        [Code::DiskSpace]
    );
}

#[test]
fn a_clock_before_the_last_commit_is_wrong() {
    let mut bench = (0..1000)
        .map(|seed| Bench::new(seed, false))
        .find(|bench| !bench.product.releases[0].bad)
        .unwrap();
    let version = bench.product.releases[0].release.version.clone();
    bench
        .apply(PlanKind::Install, Some(&version), false)
        .unwrap();
    let planned = bench.plan(PlanKind::Reconfigure, None).unwrap();
    let ctx = bench.context(true);
    bench.fake.world().now = Duration::from_secs(1);
    let checks = run(&ctx, &planned.plan, &planned.releases, None);
    let checks = bench.fake.execute(checks).unwrap();
    assert_eq!(codes(&checks), [Code::ClockWrong]);
}
