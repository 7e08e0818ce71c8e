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
    let trees = ["repos", "state"].map(|v| machine.quiet_tree(v).unwrap());
    machine.engine.kill().unwrap();
    machine.wait_state("engine-gone").unwrap();
    let answer = machine.update("1.4.0");
    assert_eq!(answer.refusal(), "engine-gone", "{}", answer.text);
    assert_eq!(answer.refused["effect"], "nothing-changed");
    machine.engine.up().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.running().unwrap(), before);
    assert_eq!(
        ["repos", "state"].map(|v| machine.quiet_tree(v).unwrap()),
        trees
    );
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

#[test]
fn what_is_not_of_berths_making_is_left_alone() {
    let machine = Machine::with("1.0.0").unwrap();
    // As a Compose project of the same name would call its second replica.
    let image = "berth.local/lantern/frontend:1.0.0";
    let foreign = ["create", "--name", "lantern-frontend-2", image];
    let id = machine.engine.docker(foreign).unwrap();
    let before = machine.running().unwrap();
    let answer = machine.update("1.1.0");
    assert_eq!(answer.refusal(), "prepare-failed", "{}", answer.text);
    assert!(
        answer.text.contains("lantern-frontend-2"),
        "{}",
        answer.text
    );
    let found = ["inspect", "-f", "{{.Id}}", "lantern-frontend-2"];
    assert_eq!(machine.engine.docker(found).unwrap().trim(), id.trim());
    assert_eq!(machine.running().unwrap(), before);
    machine.engine.docker(["rm", "lantern-frontend-2"]).unwrap();
    machine.update("1.1.0").good().unwrap();
}

#[test]
fn what_a_prune_took_is_made_again_and_what_has_ended_is_not() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    for container in machine.engine.containers().unwrap() {
        let id = container["Id"].as_str().unwrap();
        machine.engine.docker(["rm", "-f", id]).unwrap();
    }
    machine
        .engine
        .docker(["network", "prune", "--force"])
        .unwrap();
    assert!(machine.engine.networks().unwrap().is_empty());
    machine.berthd.start().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    let containers = machine.engine.containers().unwrap();
    let names: Vec<_> = containers
        .iter()
        .filter_map(|c| c["Config"]["Labels"]["berth.name"].as_str())
        .collect();
    assert!(
        !names.contains(&"sample"),
        "it had done its work: {names:?}"
    );
}

#[test]
fn a_volume_that_is_gone_is_not_replaced_by_an_empty_one() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    for service in ["indexer", "sample"] {
        let containers = machine.engine.containers().unwrap();
        let of = |c: &&serde_json::Value| c["Config"]["Labels"]["berth.name"] == service;
        let id = containers.iter().find(of).unwrap()["Id"].as_str().unwrap();
        machine.engine.docker(["rm", "-f", id]).unwrap();
    }
    machine
        .engine
        .docker(["volume", "rm", "lantern_repos"])
        .unwrap();
    machine.berthd.start().unwrap();
    machine.wait_state("degraded").unwrap();
    wait_for("the reason is said", Duration::from_secs(20), || {
        let log = machine.berthd.log();
        log.contains("volume lantern_repos").then_some(())
    })
    .unwrap();
    let volumes = machine.engine.volumes().unwrap();
    assert!(!volumes.iter().any(|v| v == "lantern_repos"), "{volumes:?}");
    assert!(!machine.running().unwrap().contains_key("indexer"));
}

#[test]
fn a_docker_that_goes_away_while_a_release_starts_is_no_fault_of_the_release() {
    let machine = Machine::with("1.2.0").unwrap();
    let update = machine.berthd.begin(machine.update_words("1.4.0")).unwrap();
    machine.wait_phase("start").unwrap();
    machine.engine.kill().unwrap();
    machine.engine.up().unwrap();
    update.wait_with_output().unwrap();
    let version = machine.status().unwrap()["version"].clone();
    machine.wait_healthy(version.as_str().unwrap()).unwrap();
    if version == "1.2.0" {
        // Not quarantined: it is gone to without a word more.
        machine.update("1.4.0").good().unwrap();
        machine.wait_healthy("1.4.0").unwrap();
    }
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn a_log_says_which_stream_a_line_came_from_and_that_docker_is_away() {
    let machine = Machine::with("1.0.0").unwrap();
    let answer = machine.berth(["logs", "db", "-n", "5"]);
    assert_eq!(answer.code, 0, "{}", answer.text);
    assert_eq!(answer.value["stream"], "stderr", "{}", answer.text);
    assert!(answer.value["at"].is_string(), "{}", answer.text);
    machine.engine.kill().unwrap();
    let answer = machine.berth(["logs", "db"]);
    assert_eq!(answer.refusal(), "engine-gone", "{}", answer.text);
    machine.engine.up().unwrap();
}

#[test]
fn an_update_for_which_there_is_no_room_changes_nothing() {
    let engine = Engine::own("filled", Some(("ext4", 3000))).unwrap();
    let machine = Machine::without_trust(engine).unwrap();
    let fingerprint = machine.published.fingerprint();
    machine.berth(["trust", &fingerprint]).good().unwrap();
    machine.install("1.2.0").good().unwrap();
    let filler = machine.engine.fill(200 << 20).unwrap();
    let before = World::of(&machine).unwrap();
    let answer = machine.update("1.4.0");
    assert_eq!(answer.refusal(), "disk-space", "{}", answer.text);
    assert_eq!(answer.refused["effect"], "nothing-changed");
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    std::fs::remove_file(filler).unwrap();
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
}

#[test]
fn a_port_that_is_taken_stops_no_product_that_would_move_there() {
    let machine = Machine::with("1.2.0").unwrap();
    let taken = machine.client.occupy_port(9090).unwrap();
    machine
        .berth(["config", "set", "HTTP_PORT=9090"])
        .good()
        .unwrap();
    let before = World::of(&machine).unwrap();
    let answer = machine.berth(["reconfigure", "--yes"]);
    assert_eq!(answer.refusal(), "port-in-use", "{}", answer.text);
    assert!(answer.text.contains("9090"), "{}", answer.text);
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    drop(taken);
    machine.berth(["reconfigure", "--yes"]).good().unwrap();
}

#[test]
fn a_service_that_hangs_is_found_unhealthy_and_restarted() {
    let machine = Machine::with("1.2.0").unwrap();
    let containers = machine.engine.containers().unwrap();
    let frontend = containers
        .iter()
        .find(|c| c["Config"]["Labels"]["berth.name"] == "frontend");
    let pid = frontend.unwrap()["State"]["Pid"].to_string();
    let started = machine.started("frontend").unwrap();
    // It answers nobody, and does not end by itself.
    let stopped = std::process::Command::new("kill")
        .args(["-STOP", &pid])
        .status()
        .unwrap();
    assert!(stopped.success());
    wait_for("it is started anew", Duration::from_secs(150), || {
        let now = machine.started("frontend").ok()?;
        (now != started).then_some(())
    })
    .unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let events = machine.berth(["events"]);
    assert!(
        events.text.contains("unhealthy: restarted"),
        "{}",
        events.text
    );
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn lantern_is_healthy_only_while_its_database_and_its_cache_answer() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    for service in ["db", "cache"] {
        let id = &machine.running().unwrap()[service];
        machine.engine.docker(["stop", id]).unwrap();
        wait_for("it says so", Duration::from_secs(30), || {
            // Also by silence: it waits for the one that is away.
            let answer = machine.client.get("/healthz");
            (!answer.is_ok_and(|a| a.status == 200)).then_some(())
        })
        .unwrap_or_else(|e| panic!("without {service}: {e}"));
        machine.engine.docker(["start", id]).unwrap();
        wait_for("it is well again", Duration::from_secs(30), || {
            let answer = machine.client.get("/healthz").ok()?;
            (answer.status == 200).then_some(())
        })
        .unwrap_or_else(|e| panic!("with {service} again: {e}"));
    }
}
