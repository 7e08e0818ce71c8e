//! Updates that go well.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use berth_integration::Machine;

#[test]
fn two_versions_behind_goes_through_the_stop_between() {
    let machine = Machine::with("1.0.0").unwrap();
    let before = machine.running().unwrap();
    let all = machine.published.all().display().to_string();

    let plan = machine
        .berth(["plan", &all, "--to", "1.2.0"])
        .good()
        .unwrap();
    let hops: Vec<_> = plan["plan"]["hops"].as_array().unwrap().iter().collect();
    let way: Vec<_> = hops.iter().map(|hop| hop["to"].as_str().unwrap()).collect();
    assert_eq!(way, ["1.1.0", "1.2.0"]);
    assert_eq!(machine.running().unwrap(), before, "a plan changes nothing");

    machine.update("1.2.0").good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(
        machine.client.version().unwrap(),
        ("1.2.0".to_owned(), 2),
        "the migration of 1.1.0 ran"
    );
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    machine.wait_indexed().unwrap();

    let after = machine.running().unwrap();
    for service in ["db", "cache", "gateway"] {
        assert_eq!(before[service], after[service], "{service} did not change");
    }
    for service in ["frontend", "indexer"] {
        assert_ne!(before[service], after[service], "{service} changed");
    }
    let history = machine.history().unwrap();
    assert_eq!(history[0]["from"], "1.0.0");
    assert_eq!(history[0]["to"], "1.2.0");
    assert_eq!(history[0]["ended"]["outcome"], "committed");
}

#[test]
fn a_release_that_leaves_data_alone_restarts_nothing_else() {
    let machine = Machine::with("1.1.0").unwrap();
    let before = machine.running().unwrap();
    let started = |service| machine.started(service).unwrap();
    let others = ["db", "cache", "gateway", "indexer"];
    let times = others.map(started);
    machine.update("1.2.0").good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let after = machine.running().unwrap();
    assert_eq!(others.map(started), times);
    for service in others {
        assert_eq!(before[service], after[service], "{service}");
    }
    assert_ne!(before["frontend"], after["frontend"]);
}

#[test]
fn the_front_door_says_what_goes_on_while_the_product_is_away() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    machine.berthd.start_holding(&["migrate"]).unwrap();
    let update = machine.berthd.begin(machine.update_words("1.4.0")).unwrap();
    machine.wait_phase("migrate").unwrap();
    let answer = machine.client.get("/search?q=heron").unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.head.contains("retry-after: 5"), "{answer:?}");
    assert!(
        answer.body.contains("Lantern is away") && answer.body.contains("updated to 1.4.0"),
        "{answer:?}"
    );
    machine.berthd.release("migrate").unwrap();
    update.wait_with_output().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn a_plan_that_the_world_moved_away_from_is_refused() {
    let machine = Machine::with("1.1.0").unwrap();
    let all = machine.published.all().display().to_string();
    let plan = machine
        .berth(["plan", &all, "--to", "1.2.0"])
        .good()
        .unwrap();
    let digest = plan["digest"].as_str().unwrap();
    machine
        .berth(["config", "set", "EXTERNAL_URL=http://elsewhere.example"])
        .good()
        .unwrap();
    let words = ["update", &all, "--to", "1.2.0", "--yes", "--plan", digest];
    let before = machine.running().unwrap();
    assert_eq!(machine.berth(words).refusal(), "plan-moved");
    assert_eq!(machine.running().unwrap(), before);
}

#[test]
fn a_new_shape_renamed_removed_and_new_parts() {
    let machine = Machine::with("1.4.0").unwrap();
    machine.update("2.0.0").good().unwrap();
    machine.wait_healthy("2.0.0").unwrap();
    let services: Vec<String> = machine.running().unwrap().into_keys().collect();
    assert_eq!(services, ["crawler", "db", "frontend", "gateway"]);
    let containers = machine.engine.containers().unwrap();
    for gone in ["indexer", "cache"] {
        let left = |c: &&serde_json::Value| c["Config"]["Labels"]["berth.name"] == gone;
        assert!(!containers.iter().any(|c| left(&c)), "{gone} is left over");
    }
    let volumes = machine.engine.volumes().unwrap();
    assert!(volumes.iter().any(|v| v == "lantern_crawl"), "{volumes:?}");
    assert_eq!(machine.client.version().unwrap(), ("2.0.0".to_owned(), 4));
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    machine.wait_indexed().unwrap();

    // And all the way back, with the data of then.
    machine
        .client
        .put("notes/later.txt", "a kingfisher dives")
        .unwrap();
    machine
        .berth(["rollback", "--confirm", "1.4.0"])
        .good()
        .unwrap();
    machine.wait_healthy("1.4.0").unwrap();
    let volumes = machine.engine.volumes().unwrap();
    assert!(!volumes.iter().any(|v| v == "lantern_crawl"), "{volumes:?}");
    let services: Vec<String> = machine.running().unwrap().into_keys().collect();
    assert_eq!(services, ["cache", "db", "frontend", "gateway", "indexer"]);
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    assert!(machine.client.search("kingfisher").unwrap().is_empty());
}
