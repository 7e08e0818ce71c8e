//! The first install, on a machine with no network but loopback.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use berth_integration::{Engine, Machine};

#[test]
fn installs_from_one_file_and_nothing_else() {
    let machine = Machine::new().unwrap();
    machine.engine.forget_images().unwrap();
    let links = machine.links().unwrap();
    assert!(
        links.iter().all(|l| l == "lo" || l.starts_with("berth")),
        "the machine has a network: {links:?}"
    );
    let run = machine.install("1.0.0").good().unwrap();
    assert_eq!(run["ended"]["outcome"], "committed", "{run:#}");
    machine.wait_healthy("1.0.0").unwrap();

    machine
        .client
        .put("notes/heron.txt", "a heron stands still")
        .unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/heron.txt"]);
    machine.wait_indexed().unwrap();

    // Only the gateway is reached from outside.
    for container in machine.engine.containers().unwrap() {
        let service = container["Config"]["Labels"]["berth.name"].clone();
        let ports = container["NetworkSettings"]["Ports"].as_object();
        let published = ports.is_some_and(|p| p.values().any(|v| !v.is_null()));
        assert_eq!(published, service == "gateway", "{service}");
    }
    let images = machine
        .engine
        .docker(["images", "--format", "{{.Repository}}"])
        .unwrap();
    for image in images.lines() {
        assert!(image.starts_with("berth.local/lantern/"), "{image}");
    }
    assert_eq!(machine.install("1.0.0").refusal(), "already-installed");
}

#[test]
fn a_secret_is_made_once_and_never_shown() {
    let machine = Machine::with("1.0.0").unwrap();
    let mut secrets = Vec::new();
    for container in machine.engine.containers().unwrap() {
        for entry in container["Config"]["Env"].as_array().unwrap() {
            let (name, value) = entry.as_str().unwrap().split_once('=').unwrap();
            if name.ends_with("PASSWORD") && !value.is_empty() {
                secrets.push(value.to_owned());
            }
        }
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 1, "one password for all: {secrets:?}");
    let said = [
        machine.berth(["config", "get"]).text,
        machine.berth(["status"]).text,
        machine.berth(["history"]).text,
        machine.berthd.log(),
    ];
    assert!(said.iter().all(|text| !text.contains(&secrets[0])));
    machine.update("1.1.0").good().unwrap();
    machine.wait_healthy("1.1.0").unwrap();
}

#[test]
fn a_bundle_never_vouches_for_itself() {
    let machine = Machine::without_trust(Engine::shared().unwrap()).unwrap();
    assert_eq!(machine.install("1.0.0").refusal(), "trust-missing");
    let other = format!("sha256:{}", "ab".repeat(32));
    machine.berth(["trust", &other]).good().unwrap();
    assert_eq!(machine.install("1.0.0").refusal(), "trust-fingerprint");
    assert!(machine.engine.containers().unwrap().is_empty());
    assert!(machine.engine.volumes().unwrap().is_empty());
}
