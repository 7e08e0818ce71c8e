//! What only the admin can say.

use berth_format::release::{Grant, GrantKind};

use super::*;
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
