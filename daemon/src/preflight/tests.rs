//! Each check says no when it should, and all of them at once.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::release::Requires;
use berth_format::{Code, Template};

use super::*;
use crate::engine::fake::world::World;
use crate::host::fake::DRAINED;
use crate::update::planner::{self, Available, Wanted};
use crate::update::seeded::Bench;

fn codes(checks: &[Check]) -> Vec<Code> {
    checks
        .iter()
        .filter_map(|check| check.refusal.as_ref().map(|r| r.code))
        .collect()
}

fn here(bench: &Bench) -> Docker {
    let info = bench.fake.execute(bench.fake.info()).unwrap();
    Docker::Here(info.unwrap())
}

fn gone(last: Option<EngineInfo>) -> Docker {
    Docker::Gone {
        error: EngineError::Gone("connection refused".into()),
        last,
    }
}

/// A bench on which the first release of a random product could be installed, and its plan.
fn fresh() -> (Bench, Planned) {
    let bench = Bench::new(0, false);
    let version = bench.product.releases[0].release.version.clone();
    let planned = bench.plan(PlanKind::Install, Some(&version)).unwrap();
    (bench, planned)
}

fn look(bench: &Bench, planned: &Planned, docker: &Docker) -> Vec<Check> {
    let ctx = bench.context(true);
    let checks = run(&ctx, planned, None, docker);
    bench.fake.execute(checks).unwrap()
}

/// A plan for releases that a test made.
fn plan(bench: &Bench, kind: PlanKind, offered: &[Available]) -> Planned {
    let wanted = Wanted {
        kind,
        to: None,
        retry_quarantined: false,
        offered,
        withdrawn: &BTreeMap::new(),
        download: false,
    };
    planner::make(&bench.store, &bench.place, &wanted).unwrap()
}

/// The machine has less of everything.
fn too_much() -> Requires {
    Requires {
        cpus: 64,
        memory: 1 << 50,
        disk: 1 << 50,
        engine: ">=99".parse().unwrap(),
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let (bench, mut planned) = fresh();
    let docker = here(&bench);
    let fine = look(&bench, &planned, &docker);
    assert_eq!(codes(&fine), []);
    assert!(verdict(&fine).is_none());

    planned.releases[0].requires = too_much();
    let wrong = look(&bench, &planned, &docker);
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
    planned.releases[0].requires = Requires {
        cpus: 4,
        memory: 0,
        disk: 0,
        engine: ">=20.10".parse().unwrap(),
    };
    assert_eq!(codes(&look(&bench, &planned, &docker)), []);
    planned.plan.fetch_bytes = 1 << 60;
    assert_eq!(codes(&look(&bench, &planned, &docker)), [Code::DiskSpace]);
    // What comes over the line lies on the disk until Docker has it.
    planned.plan.fetch_bytes = 0;
    planned.plan.download_bytes = 1 << 60;
    let checks = look(&bench, &planned, &docker);
    assert_eq!(codes(&checks), [Code::DiskSpace]);
    let refusal = verdict(&checks).unwrap();
    let expected = refusal.expected.unwrap();
    assert!(expected.contains("downloads 1048576.0 TiB"), "{expected}");
}

#[test]
fn what_a_release_cannot_run_on_or_without_hides_nothing_else() {
    let (bench, _) = fresh();
    let mut release = bench.product.releases[0].release.clone();
    release.requires = too_much();
    // Made for another machine, with a field that nobody filled in, one that no longer fits, and a
    // door whose value is no port; the last hides behind the others in the same service.
    for image in release.images.values_mut() {
        let made = std::mem::take(&mut image.platforms).into_values();
        let arm = berth_format::image::Platform::linux("arm64");
        image.platforms = made.map(|made| (arm.clone(), made)).collect();
    }
    for (name, kind) in [("ADMIN", "string"), ("LIMIT", "int")] {
        let field = serde_json::json!({
            "name": name, "type": kind, "label": name, "required": true,
        });
        release.config.push(serde_json::from_value(field).unwrap());
    }
    let set = |name: &str, value: &str| {
        let value = BTreeMap::from([(name.to_owned(), Some(value.to_owned()))]);
        bench.store.set_config(&value).unwrap();
    };
    set("LIMIT", "many");
    set("MODE", "no port");
    let front = release.services.get_mut("front").unwrap();
    let text = |text: &str| Template::parse(text).unwrap();
    front.environment.insert("ADMIN".into(), text("${ADMIN}"));
    let mut second = front.ports[0].clone();
    second.published = Some(text("${MODE}"));
    front.ports.push(second);
    bench.fake.world().taken.insert(8080);

    let offered = [(release, berth_format::Digest::of(b"a release"))];
    let planned = plan(&bench, PlanKind::Install, &offered);
    let machine = [Code::CpuFew, Code::MemoryLow, Code::DiskSpace];
    let release = [
        Code::WrongArchitecture,
        Code::ConfigMissing,
        Code::ConfigInvalid,
        Code::ConfigInvalid,
    ];
    let all = look(&bench, &planned, &here(&bench));
    let expected = [
        &release[..],
        &[Code::EngineOld],
        &machine,
        &[Code::PortInUse],
    ]
    .concat();
    assert_eq!(codes(&all), expected);
    let names: Vec<&str> = all.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names[..4], ["architecture", "config", "config", "config"]);
    let refusal = all[1].refusal.as_ref().unwrap();
    assert!(
        refusal.found.as_ref().unwrap().contains("ADMIN"),
        "{refusal}"
    );
    assert!(refusal.next.contains("ADMIN=VALUE"), "{refusal}");
    let refusal = all[3].refusal.as_ref().unwrap();
    assert!(refusal.summary.ends_with("service front"), "{refusal}");
    assert_eq!(refusal.found.as_deref(), Some("no port"));

    // Without Docker, all of it but what only Docker knows.
    let Docker::Here(info) = here(&bench) else {
        panic!("it is here");
    };
    let all = look(&bench, &planned, &gone(Some(info)));
    let expected = [
        &release[..],
        &[Code::EngineGone],
        &machine,
        &[Code::PortInUse],
    ]
    .concat();
    assert_eq!(codes(&all), expected);
    // Where Docker's data is was never said.
    let all = look(&bench, &planned, &gone(None));
    assert_eq!(codes(&all).len(), expected.len() - 1);
    assert!(!codes(&all).contains(&Code::DiskSpace));
}

#[test]
fn a_port_of_any_hop_must_be_free_and_is_told_once() {
    let mut bench = Bench::whose_first_is_good();
    let first = bench.product.releases[0].release.clone();
    bench
        .apply(PlanKind::Install, Some(&first.version), false)
        .unwrap();
    let release = |minor: u64, ports: &[&str]| {
        let mut release = first.clone();
        release.version = semver::Version::new(2, minor, 0);
        release.upgrade.from = semver::VersionReq::STAR;
        release.upgrade.stop = true;
        let front = release.services.get_mut("front").unwrap();
        for port in ports {
            let mut more = front.ports[0].clone();
            more.published = Some(Template::parse(port).unwrap());
            front.ports.push(more);
        }
        let digest = berth_format::Digest::of(&minor.to_be_bytes());
        (release, digest)
    };
    let offered = [release(0, &["7000", "7001"]), release(1, &["7001", "7002"])];
    let planned = plan(&bench, PlanKind::Update, &offered);
    assert_eq!(planned.plan.hops.len(), 2);
    let installed = bench.store.installed().unwrap().unwrap();
    let (old, docker, ctx) = ((first, installed), here(&bench), bench.context(true));
    let look = || {
        let checks = run(&ctx, &planned, Some(&old), &docker);
        bench.fake.execute(checks).unwrap()
    };
    assert_eq!(codes(&look()), []);
    // 8080 is held by what runs: that is no failure.
    bench.fake.world().taken = [7000, 7001, 7002, 8080].into();
    let checks = look();
    let wanted: Vec<_> = checks
        .iter()
        .filter_map(|check| check.refusal.as_ref()?.expected.clone())
        .collect();
    assert_eq!(
        wanted,
        [
            "port 7000/tcp free for front of 2.0.0",
            "port 7001/tcp free for front",
            "port 7002/tcp free for front",
        ]
    );
}

#[test]
fn a_volume_whose_copy_could_not_come_back_is_found_before_it_is_needed() {
    let mut bench = Bench::whose_first_is_good();
    let version = bench.product.releases[0].release.version.clone();
    bench
        .apply(PlanKind::Install, Some(&version), false)
        .unwrap();
    let mut release = bench.product.releases[0].release.clone();
    release.version = semver::Version::new(2, 0, 0);
    release.upgrade.from = semver::VersionReq::STAR;
    let offered = [(release, berth_format::Digest::of(b"2.0.0"))];
    let planned = plan(&bench, PlanKind::Update, &offered);
    let docker = here(&bench);
    assert_eq!(codes(&look(&bench, &planned, &docker)), []);
    let folder = World::volume_dir("shop_data");
    bench.fake.world().mounts.insert(folder.clone());
    let checks = look(&bench, &planned, &docker);
    assert_eq!(codes(&checks), [Code::VolumeElsewhere]);
    let refusal = verdict(&checks).unwrap();
    assert_eq!(refusal.found, Some(folder.display().to_string()));
}

#[test]
fn what_still_works_in_the_background_is_waited_for() {
    let mut bench = Bench::whose_first_is_good();
    let shipped = &mut bench.product.releases[0];
    shipped.release.upgrade.drained = Some(berth_format::release::Probe {
        service: "front".parse().unwrap(),
        port: 80,
        path: Some(DRAINED.into()),
        within_ms: 0,
    });
    shipped.bytes = shipped.release.to_bytes();
    let first = shipped.release.clone();
    bench.store.put_release(&first, &shipped.bytes).unwrap();
    bench
        .apply(PlanKind::Install, Some(&first.version), false)
        .unwrap();
    let mut release = first.clone();
    release.version = semver::Version::new(2, 0, 0);
    release.upgrade.from = semver::VersionReq::STAR;
    let offered = [(release, berth_format::Digest::of(b"2.0.0"))];
    let update = plan(&bench, PlanKind::Update, &offered);
    let again = plan(&bench, PlanKind::Reconfigure, &[]);
    let installed = bench.store.installed().unwrap().unwrap();
    let (old, docker, ctx) = ((first, installed), here(&bench), bench.context(true));
    let look = |planned: &Planned| {
        let checks = run(&ctx, planned, Some(&old), &docker);
        codes(&bench.fake.execute(checks).unwrap())
    };
    let busy = bench.fake.now() + Duration::from_mins(1);
    bench.fake.world().busy = busy;
    assert_eq!(look(&update), [Code::NotDrained]);
    // The same release goes on with its work.
    assert_eq!(look(&again), []);
    bench.fake.world().now = busy;
    assert_eq!(look(&update), []);
}

#[test]
fn a_clock_before_the_last_commit_is_wrong() {
    let mut bench = Bench::whose_first_is_good();
    let version = bench.product.releases[0].release.version.clone();
    bench
        .apply(PlanKind::Install, Some(&version), false)
        .unwrap();
    let planned = bench.plan(PlanKind::Reconfigure, None).unwrap();
    let docker = here(&bench);
    bench.fake.world().now = Duration::from_secs(1);
    let checks = look(&bench, &planned, &docker);
    assert_eq!(codes(&checks), [Code::ClockWrong]);
}
