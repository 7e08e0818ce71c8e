//! What the machine does to a product between updates, and how Berth keeps it.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::time::Duration;

use berth_integration::{Engine, Machine, World, wait_for};

#[test]
fn a_container_that_is_killed_or_removed_comes_back() {
    let machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    let frontend = &before["frontend"];
    machine.engine.docker(["rm", "-f", frontend]).unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let gateway = &before["gateway"];
    machine.engine.docker(["kill", gateway]).unwrap();
    wait_for("the gateway is back", Duration::from_secs(30), || {
        machine
            .client
            .get("/healthz")
            .ok()
            .filter(|r| r.status == 200)
    })
    .unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let after = machine.running().unwrap();
    assert_eq!(after.len(), before.len());
    assert_ne!(after["frontend"], before["frontend"], "made anew");
    assert_eq!(after["gateway"], before["gateway"], "started again");
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn a_docker_that_is_killed_finds_the_product_whole_again() {
    let machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    machine.engine.kill().unwrap();
    machine.wait_state("engine-gone").unwrap();
    let answer = machine.update("1.4.0");
    assert_eq!(answer.refusal(), "engine-gone", "{}", answer.text);
    machine.engine.up().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.running().unwrap(), before);
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn a_docker_that_is_killed_in_an_update_ends_old_or_new() {
    let mut machine = Machine::with("1.2.0").unwrap();
    for phase in ["snapshot", "start"] {
        machine.berthd.kill().unwrap();
        machine.berthd.start_holding(&[phase]).unwrap();
        let update = machine.berthd.begin(machine.update_words("1.4.0")).unwrap();
        machine.wait_phase(phase).unwrap();
        machine.engine.kill().unwrap();
        machine.engine.up().unwrap();
        let old = |c: &serde_json::Value| {
            c["State"]["Running"] == true && c["HostConfig"]["RestartPolicy"]["Name"] != "no"
        };
        let containers = machine.engine.containers().unwrap();
        assert!(!containers.iter().any(old), "Docker started an old one");
        machine.berthd.release(phase).unwrap();
        update.wait_with_output().unwrap();
        let version = machine.status().unwrap()["version"].clone();
        let version = version.as_str().unwrap();
        machine.wait_healthy(version).unwrap();
        assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
        if version == "1.4.0" {
            machine
                .berth(["rollback", "--confirm", "1.2.0"])
                .good()
                .unwrap();
            machine.wait_healthy("1.2.0").unwrap();
        }
    }
}

#[test]
fn the_product_lives_without_berthd() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    // A reboot, as far as Docker can tell. (After a SIGKILL, Docker 20.10 forgets `unless-stopped`.)
    machine.engine.shut_down().unwrap();
    machine.engine.up().unwrap();
    wait_for("the product is up", Duration::from_mins(1), || {
        machine
            .client
            .get("/healthz")
            .ok()
            .filter(|r| r.status == 200)
    })
    .unwrap();
    machine.berthd.start().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
}

#[test]
fn a_port_in_use_is_said_before_anything_is_done() {
    let machine = Machine::new().unwrap();
    let taken = machine.client.occupy().unwrap();
    let before = World::of(&machine).unwrap();
    let answer = machine.install("1.0.0");
    assert_eq!(answer.refusal(), "port-in-use", "{}", answer.text);
    assert!(answer.text.contains("8080"), "{}", answer.text);
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    drop(taken);
    machine.install("1.0.0").good().unwrap();
}

#[test]
fn a_disk_that_is_too_small_is_said_before_anything_is_done() {
    let engine = Engine::own("small", Some(("ext4", 300))).unwrap();
    let machine = Machine::without_trust(engine).unwrap();
    let fingerprint = machine.published.fingerprint();
    machine.berth(["trust", &fingerprint]).good().unwrap();
    let before = World::of(&machine).unwrap();
    let answer = machine.install("1.0.0");
    assert_eq!(answer.refusal(), "disk-space", "{}", answer.text);
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
}
