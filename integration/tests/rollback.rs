//! Updates that go back.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use berth_integration::{Answer, Machine, difference};
use serde_json::Value;

/// A version that cannot work goes back by itself, with everything as it was.
fn goes_back(to: &str, code: &str, log_says: &str) {
    let machine = Machine::with("1.2.0").unwrap();
    let before = machine.running().unwrap();
    let answer = machine.update(to);
    assert_eq!(answer.code, 7, "{}", answer.text);
    assert_eq!(answer.refusal(), code, "{}", answer.text);
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.running().unwrap(), before, "the same containers");
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    machine.wait_indexed().unwrap();
    assert_eq!(machine.client.version().unwrap(), ("1.2.0".to_owned(), 2));

    let run = &machine.history().unwrap()[0];
    assert_eq!(run["ended"]["outcome"], "rolled-back");
    let failure = &run["failure"];
    let summary = failure["summary"].as_str().unwrap();
    assert!(!summary.contains('\n'), "one line: {summary}");
    let log = failure["log"].to_string();
    assert!(log.contains(log_says), "{failure:#}");
    assert_eq!(failure["effect"]["rolled-back-to"], "1.2.0");

    // Not again by itself, and not by mistake.
    assert_eq!(machine.update(to).refusal(), "quarantined");
    let leftovers = machine.engine.containers().unwrap().len();
    assert!(leftovers <= before.len() + 1, "{leftovers} containers");
    let snapshots = machine.engine.root().join("berth-snapshots");
    let left = walk(&snapshots);
    assert!(left.is_empty(), "{left:?}");
}

fn walk(root: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    let (dirs, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|p| p.is_dir());
    for dir in dirs {
        files.extend(walk(&dir));
    }
    files
}

#[test]
fn a_migration_that_fails_half_way_goes_back() {
    goes_back("1.3.0", "migration-failed", "vector");
}

#[test]
fn a_frontend_that_is_never_healthy_goes_back() {
    goes_back("1.3.1", "unhealthy", "search workers: 0 of 4 ready");
}

#[test]
fn an_indexer_that_crashes_again_and_again_goes_back() {
    goes_back("1.3.2", "unhealthy", "trigram segment 7");
}

#[test]
fn volumes_are_byte_for_byte_as_they_were() {
    let mut machine = Machine::with("1.2.0").unwrap();
    machine.berthd.kill().unwrap();
    machine
        .berthd
        .start_holding(&["snapshot", "revive"])
        .unwrap();
    let update = machine.berthd.begin(machine.update_words("1.3.0")).unwrap();
    machine.wait_phase("snapshot").unwrap();
    assert!(machine.running().unwrap().is_empty(), "all is stopped");
    let before = machine.volume_trees().unwrap();
    assert!(before.len() > 500, "a database has files: {}", before.len());
    machine.berthd.release("snapshot").unwrap();
    machine.wait_phase("revive").unwrap();
    let after = machine.volume_trees().unwrap();
    assert_eq!(difference(&before, &after), "");
    machine.berthd.release("revive").unwrap();
    assert_eq!(Answer::of(update).unwrap().refusal(), "migration-failed");
    machine.wait_healthy("1.2.0").unwrap();
}

#[test]
fn by_hand_it_wants_the_version_typed_and_says_what_is_lost() {
    let machine = Machine::with("1.2.0").unwrap();
    machine.update("1.4.0").good().unwrap();
    machine.wait_healthy("1.4.0").unwrap();
    assert_eq!(machine.client.version().unwrap(), ("1.4.0".to_owned(), 3));
    machine
        .client
        .put("notes/later.txt", "a kingfisher dives")
        .unwrap();

    for words in [vec!["rollback"], vec!["rollback", "--confirm", "1.1.0"]] {
        let answer = machine.berth(words);
        assert_eq!(answer.refusal(), "confirmation-wanted", "{}", answer.text);
        assert!(answer.text.contains("lost"), "{}", answer.text);
        assert!(answer.text.contains("1.2.0"), "{}", answer.text);
    }
    assert_eq!(machine.client.version().unwrap().0, "1.4.0");

    machine
        .berth(["rollback", "--confirm", "1.2.0"])
        .good()
        .unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.version().unwrap(), ("1.2.0".to_owned(), 2));
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    assert!(machine.client.search("kingfisher").unwrap().is_empty());
    let run: &Value = &machine.history().unwrap()[0];
    assert_eq!(run["kind"], "rollback");
    assert_eq!(run["ended"]["outcome"], "committed");
}
