//! An appliance follows a channel over a real web server, which may be anybody's.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::fs;

use berth_integration::channel::WebServer;
use berth_integration::{Engine, Machine, World};

/// 1.0.0 runs and has data; the channel offers 1.1.0 and 1.2.0. Nobody asks but the test.
fn following() -> (Machine, WebServer) {
    let machine = Machine::with("1.0.0").unwrap();
    machine.berth(["policy", "set", "manual"]).good().unwrap();
    let web = WebServer::start(&machine).unwrap();
    web.offer(&["1.0.0", "1.1.0", "1.2.0"]).unwrap();
    let url = web.url();
    machine
        .berth(["channel", "set", &url, "--allow-http"])
        .good()
        .unwrap();
    (machine, web)
}

#[test]
fn it_follows_to_the_newest_release_through_the_stop_between() {
    let (machine, mut web) = following();
    let status = machine.berth(["channel", "check"]).good().unwrap();
    assert_eq!(status["serial"], 1);
    assert_eq!(status["offer"], "1.2.0");
    let fetched = |web: &WebServer, what: &str| web.log().iter().any(|l| l.contains(what));
    assert!(!fetched(&web, "/layers/"), "a check downloads no layer");

    machine.berth(["update", "--yes"]).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.version().unwrap(), ("1.2.0".to_owned(), 2));
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    assert!(fetched(&web, "/layers/"));
    let downloads = machine.berthd.state_dir().join("downloads");
    assert!(!downloads.exists(), "what Docker has is not kept twice");

    // An unchanged channel costs one 304 and the question for a newer root.
    let before = web.log().len();
    machine.berth(["channel", "check"]).good().unwrap();
    let log = web.log();
    let new: Vec<_> = log[before..]
        .iter()
        .filter(|l| !l.contains("2.root.json"))
        .collect();
    assert!(new.len() == 1 && new[0].contains(" 304 "), "{new:#?}");

    // What was withdrawn is said, and not installed.
    let words = [
        "withdraw",
        "--release",
        "1.2.0",
        "--reason",
        "It loses mail.",
    ];
    web.publish(&words).unwrap();
    let status = machine.berth(["channel", "check"]).good().unwrap();
    let told = status["installed"].as_str().unwrap();
    assert!(told.contains("withdrawn 1.2.0: It loses mail."), "{told}");

    // A server that is away is an error, and the product runs on.
    web.down().unwrap();
    let answer = machine.berth(["channel", "check"]);
    assert_eq!(answer.refusal(), "mirror-unreachable", "{}", answer.text);
    machine.wait_healthy("1.2.0").unwrap();
}

#[test]
fn a_hostile_server_changes_nothing() {
    let (machine, web) = following();
    let (stable, old) = (web.file("stable"), machine.dir.path().join("old"));
    web.copy(&stable, &old).unwrap();
    web.publish(&["refresh"]).unwrap();
    machine.berth(["channel", "check"]).good().unwrap();
    let good = machine.dir.path().join("good");
    web.copy(&stable, &good).unwrap();
    let before = World::of(&machine).unwrap();
    let refused = |what: &str, code: &str| {
        let answer = machine.berth(["channel", "check"]);
        assert_eq!(answer.refusal(), code, "{what}: {}", answer.text);
        assert_eq!(answer.refused["effect"], "nothing-changed", "{what}");
        let changes = before.changes(&World::of(&machine).unwrap());
        assert_eq!(changes, "", "{what}");
    };
    // Rollback: the channel of yesterday, well signed.
    web.copy(&old, &stable).unwrap();
    web.touch(2001).unwrap();
    refused("rollback", "channel-rollback");
    web.copy(&good, &stable).unwrap();
    web.touch(2002).unwrap();
    machine.berth(["channel", "check"]).good().unwrap();

    // Arbitrary install: a byte of the channel, of its signature, of a release, of a layer.
    let flip = |path: &std::path::Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    flip(&web.file("stable/channel.json"), 40);
    web.touch(2003).unwrap();
    // No signature is named after these bytes.
    refused("a flipped channel", "download-missing");
    web.copy(&good, &stable).unwrap();
    web.touch(2004).unwrap();

    let layers = web.file("layers");
    let safe = machine.dir.path().join("layers");
    web.copy(&layers, &safe).unwrap();
    for entry in fs::read_dir(&layers).unwrap() {
        flip(&entry.unwrap().path(), 20);
    }
    let answer = machine.berth(["update", "--yes"]);
    assert_eq!(answer.refusal(), "download-damaged", "{}", answer.text);
    let before = machine.running().unwrap();
    web.copy(&safe, &layers).unwrap();
    machine.berth(["update", "--yes"]).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_ne!(machine.running().unwrap(), before);
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn the_first_install_comes_from_the_channel_when_the_fingerprint_is_confirmed() {
    let machine = Machine::without_trust(Engine::shared().unwrap()).unwrap();
    machine.engine.forget_images().unwrap();
    let web = WebServer::start(&machine).unwrap();
    web.offer(&["1.0.0", "1.1.0", "1.2.0"]).unwrap();
    let url = web.url();
    let set = ["channel", "set", &url, "--allow-http"];

    // Before anybody is trusted, and when it is somebody else.
    let install = [
        "install",
        "--to",
        "1.0.0",
        "--set",
        "EXTERNAL_URL=http://localhost:8080",
        "--yes",
        "--accept-grants",
    ];
    assert_eq!(machine.berth(install).refusal(), "channel-missing");
    machine.berth(set).good().unwrap();
    assert_eq!(machine.berth(install).refusal(), "trust-missing");
    let other = format!("sha256:{}", "ab".repeat(32));
    machine.berth(["trust", &other]).good().unwrap();
    assert_eq!(machine.berth(install).refusal(), "trust-fingerprint");
    let fingerprint = machine.published.fingerprint();
    let words = ["trust", &fingerprint, "--replace"];
    machine.berth(words).good().unwrap();

    // Its form is asked, as that of a bundle is.
    let bare = ["install", "--to", "1.0.0", "--yes"];
    assert_eq!(machine.berth(bare).refusal(), "config-missing");
    let unknown = ["install", "--to", "9.9.9", "--yes"];
    assert_eq!(machine.berth(unknown).refusal(), "not-found");
    assert!(machine.engine.containers().unwrap().is_empty());

    let run = machine.berth(install).good().unwrap();
    assert_eq!(run["ended"]["outcome"], "committed", "{run:#}");
    machine.wait_healthy("1.0.0").unwrap();
    let trust = machine.berth(["trust"]).good().unwrap();
    assert_eq!(trust["product"], "lantern");
    machine
        .client
        .put("notes/keep.txt", "a heron stands still")
        .unwrap();
    let again = machine.berth(["install", "--yes"]);
    assert_eq!(again.refusal(), "already-installed", "{}", again.text);
    machine.berth(["update", "--yes"]).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn settings_that_no_check_could_use_are_refused_when_they_are_set() {
    let machine = Machine::new().unwrap();
    let url = "http://127.0.0.1:8088/";
    machine
        .berth(["channel", "set", url, "--allow-http"])
        .good()
        .unwrap();
    let https = "https://dl.example/";
    let open = machine.dir.path().join("token");
    fs::write(&open, "a token that everybody reads").unwrap();
    let open = open.display().to_string();
    let cases: &[&[&str]] = &[
        &[url],
        &["dl.example"],
        &["https://"],
        &["https://user:secret@dl.example/"],
        &[https, "--ca-file", "/nowhere.pem"],
        &[https, "--ca-file", &open],
        &[https, "--token-file", "/nowhere"],
        &[https, "--token-file", &open],
        &[https, "--proxy", "ftp://proxy.example"],
    ];
    for case in cases {
        let answer = machine.berth(["channel", "set"].iter().chain(*case));
        assert_eq!(
            answer.refusal(),
            "download-settings",
            "{case:?}: {}",
            answer.text
        );
        assert!(!answer.text.contains("secret"), "{}", answer.text);
        let kept = machine.berth(["channel", "show"]).good().unwrap();
        assert_eq!(kept["settings"]["mirrors"][0], url, "{case:?}");
    }
}
