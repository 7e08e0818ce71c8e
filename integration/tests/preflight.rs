//! What is wrong with a machine is said before anything is done, and all of it at once.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use berth_integration::vendor::{Draft, other_architecture};
use berth_integration::{Answer, Machine, World, run};
use serde_json::Value;

/// A port that nothing else of a test wants.
const PORT: u16 = 7171;

/// Codes of the checks of a plan that failed.
fn failed(plan: &Value) -> BTreeSet<String> {
    let checks = plan["checks"].as_array().unwrap();
    let codes = checks.iter().map(|check| &check["refusal"]["code"]);
    codes.filter_map(|c| c.as_str().map(Into::into)).collect()
}

fn set(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

fn plan(machine: &Machine, bundle: &Path) -> Answer {
    let bundle = bundle.display().to_string();
    machine.berth(["plan", &bundle])
}

#[test]
fn everything_that_is_wrong_with_a_machine_is_said_at_once() {
    let machine = Machine::new().unwrap();
    let bundle = Draft {
        version: "9.0.0",
        architecture: other_architecture(),
        berth: "requires: {cpus: 9999, memory: 900TiB, disk: 900TiB, engine: '>=99'}\n\
                config: [{name: ADMIN, type: string, label: Admin, required: true}]",
        service: &format!("    environment: {{ADMIN: '${{ADMIN}}'}}\n    ports: ['{PORT}:80']"),
    };
    let bundle = bundle.publish(&machine).unwrap();
    let taken = machine.client.occupy_port(PORT).unwrap();
    let before = World::of(&machine).unwrap();

    let all = [
        "wrong-architecture",
        "config-missing",
        "engine-old",
        "cpu-few",
        "memory-low",
        "disk-space",
        "port-in-use",
    ];
    let answer = plan(&machine, &bundle);
    assert_eq!(failed(&answer.value), set(&all), "{}", answer.text);
    assert_eq!(answer.code, 5, "{}", answer.text);
    let path = bundle.display().to_string();
    let answer = machine.berth(["install", &path, "--yes", "--accept-grants"]);
    assert_eq!(answer.refusal(), "preflight-failed", "{}", answer.text);
    let found = answer.refused["found"].as_str().unwrap();
    for code in all {
        assert!(found.contains(&format!("[{code}]")), "{code}: {found}");
    }

    // Without Docker it is the same, but for Docker's own version.
    machine.engine.kill().unwrap();
    let answer = plan(&machine, &bundle);
    machine.engine.up().unwrap();
    let mut without = set(&all);
    without.remove("engine-old");
    without.insert("engine-gone".into());
    assert_eq!(failed(&answer.value), without, "{}", answer.text);
    assert_eq!(answer.code, 5, "{}", answer.text);

    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    drop(taken);
}

#[test]
fn a_release_for_another_architecture_changes_nothing() {
    let machine = Machine::with("1.2.0").unwrap();
    let bundle = Draft {
        version: "9.1.0",
        architecture: other_architecture(),
        berth: "upgrade: {from: '>=1.0.0'}",
        service: "",
    };
    let bundle = bundle.publish(&machine).unwrap().display().to_string();
    let before = World::of(&machine).unwrap();
    let answer = machine.berth(["update", &bundle, "--yes", "--accept-grants"]);
    assert_eq!(answer.refusal(), "wrong-architecture", "{}", answer.text);
    assert_eq!(answer.code, 3);
    assert_eq!(answer.refused["effect"], "nothing-changed");
    let found = answer.refused["found"].as_str().unwrap();
    assert_eq!(found, format!("linux/{}", other_architecture()));
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
}

#[test]
fn a_volume_on_a_mount_of_its_own_is_refused_before_its_data_is_touched() {
    let machine = Machine::with("1.2.0").unwrap();
    let before = World::of(&machine).unwrap();
    // The same filesystem, and even the same folder: still another mount, and no way back.
    let volume = machine.engine.volume_path("lantern_repos");
    let mount = || run(Command::new("mount").arg("--bind").args([&volume, &volume]));
    mount().unwrap();
    let answer = machine.update("1.4.0");
    run(Command::new("umount").arg(&volume)).unwrap();
    assert_eq!(answer.refusal(), "volume-elsewhere", "{}", answer.text);
    assert_eq!(answer.code, 5);
    assert!(answer.text.contains("lantern_repos"), "{}", answer.text);
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
}
