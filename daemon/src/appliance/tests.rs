//! What only the admin can say.

use berth_format::release::{Grant, GrantKind};

use super::*;
use crate::store::{Ended, Outcome};
use crate::update::seeded::Bench;

fn request(digest: Option<Digest>, accept_grants: bool, confirm: Option<&str>) -> ApplyRequest {
    ApplyRequest {
        plan: PlanRequest {
            kind: PlanKind::Install,
            bundle: None,
            to: None,
            retry_quarantined: false,
        },
        digest,
        accept_grants,
        confirm: confirm.map(Into::into),
    }
}

fn refused(request: &ApplyRequest, planned: &Planned) -> Option<Code> {
    agreed(request, planned).err().map(|refusal| refusal.code)
}

#[test]
fn grants_are_listed_and_must_be_accepted() {
    let bench = Bench::new(0, false);
    let version = bench.product.releases[0].release.version.clone();
    let mut planned = bench.plan(PlanKind::Install, Some(&version)).unwrap();
    assert_eq!(refused(&request(None, false, None), &planned), None);
    planned.plan.grants = vec![Grant {
        service: "front".parse().unwrap(),
        kind: GrantKind::HostPath,
        detail: "/etc".into(),
    }];
    let refusal = agreed(&request(None, false, None), &planned).unwrap_err();
    assert_eq!(refusal.code, Code::GrantsNotAccepted);
    let found = refusal.found.unwrap();
    assert!(found.contains("front") && found.contains("/etc"), "{found}");
    assert_eq!(refused(&request(None, true, None), &planned), None);
}

#[test]
fn a_plan_that_was_read_is_done_or_nothing() {
    let bench = Bench::new(0, false);
    let version = bench.product.releases[0].release.version.clone();
    let mut planned = bench.plan(PlanKind::Install, Some(&version)).unwrap();
    let read = Some(planned.plan.digest());
    assert_eq!(refused(&request(read, true, None), &planned), None);
    planned.plan.fetch_bytes += 1;
    let moved = refused(&request(read, true, None), &planned);
    assert_eq!(moved, Some(Code::PlanMoved));
}

#[test]
fn a_rollback_wants_its_version_typed() {
    let bench = Bench::new(0, false);
    let version = bench.product.releases[0].release.version.clone();
    let mut planned = bench.plan(PlanKind::Install, Some(&version)).unwrap();
    planned.plan.kind = PlanKind::Rollback;
    for typed in [None, Some(""), Some("9.9.9")] {
        let code = refused(&request(None, true, typed), &planned);
        assert_eq!(code, Some(Code::ConfirmationWanted), "{typed:?}");
    }
    let typed = version.to_string();
    assert_eq!(refused(&request(None, true, Some(&typed)), &planned), None);
}

/// A run that ended well, for what it leaves behind.
fn ended(bench: &Bench, kind: PlanKind, from: Option<&str>, to: &str, outcome: Outcome) -> Run {
    let version = bench.product.releases[0].release.version.clone();
    let mut plan = bench.plan(PlanKind::Install, Some(&version)).unwrap().plan;
    plan.kind = kind;
    plan.from = from.map(|from| from.parse().unwrap());
    plan.to = to.parse().unwrap();
    let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    Run {
        id: 1,
        plan,
        values: Vec::new(),
        hop: 0,
        phase: Phase::Idle,
        started: at,
        ended: Some(Ended { at, outcome }),
        failure: None,
    }
}

#[test]
fn what_an_admin_went_back_from_is_not_taken_again_by_itself() {
    let bench = Bench::new(0, false);
    let update = |from, to| ended(&bench, PlanKind::Update, Some(from), to, Outcome::Committed);
    let back = |from, to, outcome| ended(&bench, PlanKind::Rollback, Some(from), to, outcome);
    let left = |mut runs: Vec<Run>| {
        // Told oldest first, kept newest first.
        runs.reverse();
        let left = policy::left_by_hand(&runs).into_keys();
        left.map(|v| v.to_string()).collect::<Vec<_>>()
    };
    let went = || {
        vec![
            update("1.0.0", "1.1.0"),
            back("1.1.0", "1.0.0", Outcome::Committed),
        ]
    };
    assert_eq!(left(went()), ["1.1.0"]);
    // A rollback that failed left nothing.
    let failed = vec![
        update("1.0.0", "1.1.0"),
        back("1.1.0", "1.0.0", Outcome::RolledBack),
    ];
    assert_eq!(left(failed), [""; 0]);
    // He took it again: it is his version now.
    let mut again = went();
    again.push(update("1.0.0", "1.1.0"));
    assert_eq!(left(again.clone()), [""; 0]);
    // And went back once more.
    again.push(back("1.1.0", "1.0.0", Outcome::Committed));
    assert_eq!(left(again), ["1.1.0"]);
    // A newer one is no reason to take the old one.
    let mut newer = went();
    newer.push(update("1.0.0", "1.2.0"));
    assert_eq!(left(newer), ["1.1.0"]);
}
