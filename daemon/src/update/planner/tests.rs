//! What a plan is refused for, beyond what [`crate::update::policy`] decides.

use berth_format::Code;
use semver::Version;

use super::*;
use crate::update::seeded::Bench;

/// An appliance on which the first release of a random product runs.
fn installed() -> (Bench, Version) {
    let mut bench = Bench::whose_first_is_good();
    let version = bench.product.releases[0].release.version.clone();
    let run = bench
        .apply(PlanKind::Install, Some(&version), false)
        .unwrap();
    assert!(run.failure.is_none(), "{:?}", run.failure);
    (bench, version)
}

fn refused(bench: &Bench, kind: PlanKind, offered: &[Available]) -> Refusal {
    let wanted = Wanted {
        kind,
        to: None,
        retry_quarantined: false,
        offered,
        withdrawn: &BTreeMap::new(),
        download: false,
    };
    match make(&bench.store, &bench.place, &wanted) {
        Ok(_) => panic!("it was planned"),
        Err(refusal) => refusal,
    }
}

#[test]
fn a_bundle_of_another_product_is_refused() {
    let (bench, _) = installed();
    let mut other = bench.product.releases[0].release.clone();
    other.product = "other".parse().unwrap();
    other.version = Version::new(99, 0, 0);
    let offered = [(other, Digest::of(b"other"))];
    let refusal = refused(&bench, PlanKind::Update, &offered);
    assert_eq!(refusal.code, Code::WrongProduct);
    assert_eq!(refusal.expected.as_deref(), Some("shop"));
    assert_eq!(refusal.found.as_deref(), Some("other"));
}

#[test]
fn what_runs_is_not_replaced_by_other_bytes_of_its_version() {
    let (bench, version) = installed();
    let same = bench.product.releases[0].release.clone();
    let offered = [(same, Digest::of(b"other bytes"))];
    let refusal = refused(&bench, PlanKind::Reconfigure, &offered);
    assert_eq!(refusal.code, Code::PlanMoved, "{refusal}");
    assert!(refusal.summary.contains(&version.to_string()));
}

#[test]
fn each_hop_has_the_values_of_its_own_form() {
    let (bench, version) = installed();
    let release = |n: usize, default: &str| {
        let mut release = bench.product.releases[0].release.clone();
        release.version = Version::new(version.major + n as u64, 0, 0);
        release.upgrade.from = semver::VersionReq::STAR;
        // Nobody may skip the first.
        release.upgrade.stop = n == 1;
        for field in &mut release.config {
            if field.name.as_str() == "MODE" {
                field.default = Some(default.to_owned());
            }
        }
        let digest = Digest::of(&[u8::try_from(n).unwrap()]);
        (release, digest)
    };
    let offered = [release(1, "one"), release(2, "two")];
    let wanted = Wanted {
        kind: PlanKind::Update,
        to: None,
        retry_quarantined: false,
        offered: &offered,
        withdrawn: &BTreeMap::new(),
        download: false,
    };
    let planned = make(&bench.store, &bench.place, &wanted).unwrap();
    let modes: Vec<_> = planned.values.iter().map(|v| v["MODE"].as_str()).collect();
    assert_eq!(modes, ["one", "two"]);
}

#[test]
fn a_plan_without_a_value_is_another_one_than_with_it() {
    let (bench, version) = installed();
    let mut release = bench.product.releases[0].release.clone();
    release.version = Version::new(version.major + 1, 0, 0);
    release.upgrade.from = semver::VersionReq::STAR;
    let field = serde_json::json!({
        "name": "ADMIN", "type": "string", "label": "Admin", "required": true,
    });
    release.config.push(serde_json::from_value(field).unwrap());
    let front = release.services.get_mut("front").unwrap();
    let admin = berth_format::Template::parse("${ADMIN}").unwrap();
    front.environment.insert("ADMIN".into(), admin);
    let offered = [(release, Digest::of(b"2.0.0"))];
    let wanted = Wanted {
        kind: PlanKind::Update,
        to: None,
        retry_quarantined: false,
        offered: &offered,
        withdrawn: &BTreeMap::new(),
        download: false,
    };
    let plan = || make(&bench.store, &bench.place, &wanted).unwrap();
    let without = plan();
    let codes: Vec<Code> = without.problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::ConfigMissing]);
    // People read the same as they would with it.
    let front = &without.plan.hops[0].services["front"];
    assert_eq!(front.action, crate::update::plan::Action::Replace);
    assert!(
        front
            .new
            .as_ref()
            .is_some_and(|new| new.starts_with("shop-front-"))
    );
    let set = BTreeMap::from([("ADMIN".to_owned(), Some("me".to_owned()))]);
    bench.store.set_config(&set).unwrap();
    let with = plan();
    assert_eq!(with.problems, []);
    assert_ne!(with.plan.digest(), without.plan.digest());
}
