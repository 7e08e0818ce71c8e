//! Updates that begin by themselves, from a channel over a real web server.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::process::Command;
use std::time::Duration;

use berth_integration::channel::{self, WebServer};
use berth_integration::cutter::Cutter;
use berth_integration::{Client, Machine, run, wait_for};
use serde_json::Value;

/// The bad line's port.
const LINE: u16 = 8089;

/// How often the line is cut.
const CUTS: u64 = 200;

/// A window from and to so many minutes from now, UTC.
fn window(from: &str, to: &str) -> String {
    let clock = |at: &str| {
        let words = ["-u", "-d", at, "+%H:%M"];
        run(Command::new("date").args(words)).unwrap()
    };
    format!("{}-{}", clock(from).trim(), clock(to).trim())
}

fn policy(machine: &Machine) -> Value {
    machine.berth(["policy"]).good().unwrap()
}

fn wait_policy(machine: &Machine, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(what, Duration::from_mins(6), || {
        last = policy(machine);
        good(&last).then_some(last.clone())
    })
    .unwrap_or_else(|error| panic!("{error}: {last:#}\n{}", machine.berthd.log()))
}

#[test]
fn over_a_line_that_is_cut_200_times_it_updates_in_its_window_and_fetches_nothing_twice() {
    let mut machine = Machine::with("1.0.0").unwrap();
    machine.berthd.kill().unwrap();
    machine.berthd.forget_fetched().unwrap();
    machine.berthd.start().unwrap();
    let web = WebServer::start(&machine).unwrap();
    web.offer(&["1.0.0", "1.1.0", "1.2.0"]).unwrap();
    let line = Client::new(machine.engine.netns(), LINE);
    // 40 MB, so the last cut comes before the last byte.
    let cutter = Cutter::start(&line, LINE, channel::PORT, CUTS, 360_000).unwrap();

    let silent = machine.berth(["policy", "set", "auto"]);
    assert_eq!(silent.refusal(), "policy-silent", "{}", silent.text);
    let closed = window("12 hours", "13 hours");
    let words = ["policy", "set", "auto", "--silent", "--soak", "0h"];
    let words = words
        .into_iter()
        .chain(["--zone", "UTC", "--window", &closed]);
    machine.berth(words).good().unwrap();
    let url = web.url_through(LINE);
    let set = ["channel", "set", &url, "--allow-http"];
    machine.berth(set).good().unwrap();

    // Everything comes before the window opens; until then nothing begins.
    wait_policy(&machine, "the offer", |p| p["intent"]["version"] == "1.2.0");
    let downloads = machine.berthd.state_dir().join("downloads");
    wait_for("the downloads", Duration::from_mins(8), || {
        let names: Vec<String> = std::fs::read_dir(&downloads)
            .ok()?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let whole = !names.is_empty() && names.iter().all(|name| !name.contains('.'));
        (whole && cutter.left() == 0).then_some(())
    })
    .unwrap_or_else(|e| panic!("{e}: {} cuts left\n{}", cutter.left(), machine.berthd.log()));
    let status = policy(&machine);
    assert_eq!(status["intent"]["reason"], "window", "{status:#}");
    assert_eq!(status["refused"], Value::Null, "{status:#}");
    assert_eq!(machine.status().unwrap()["version"], "1.0.0");
    assert_eq!(machine.history().unwrap().len(), 1, "only the install");

    let open = window("1 hour ago", "2 hours");
    machine
        .berth(["policy", "set", "--window", &open])
        .good()
        .unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
    let (through, all) = (cutter.through(), web.asked_for());
    println!("{CUTS} cuts: {through} bytes came over the line for {all}");
    assert!(all > 30_000_000, "{all}");
    assert!(through * 100 < all * 105, "{through} for {all}");
    let hops = machine.history().unwrap()[0]["hops"].clone();
    assert_eq!(hops, 2, "through the stop");
    let after = policy(&machine);
    assert_eq!(after["intent"], Value::Null, "{after:#}");
}

#[test]
fn what_failed_here_or_was_left_by_hand_is_not_taken_again() {
    let machine = Machine::with("1.1.0").unwrap();
    let web = WebServer::start(&machine).unwrap();
    web.offer(&["1.1.0", "1.2.0"]).unwrap();
    let words = ["policy", "set", "auto", "--silent", "--soak", "0h"];
    let always = ["--window", "daily 00:00-24:00", "--every", "15m"];
    machine
        .berth(words.into_iter().chain(always))
        .good()
        .unwrap();
    let set = ["channel", "set", &web.url(), "--allow-http"];
    machine.berth(set).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();

    machine
        .berth(["rollback", "--confirm", "1.1.0"])
        .good()
        .unwrap();
    machine.wait_healthy("1.1.0").unwrap();
    let left = wait_policy(&machine, "1.2.0 held", |p| {
        p["held"][0]["version"] == "1.2.0"
    });
    let why = left["held"][0]["why"].as_str().unwrap();
    assert!(why.contains("an admin went back from it"), "{why}");
    assert_eq!(left["intent"], Value::Null, "{left:#}");

    // A newer one is another matter; its frontend never becomes healthy.
    web.offer(&["1.3.1"]).unwrap();
    machine.berth(["channel", "check"]).good().unwrap();
    let held = |p: &Value| {
        let held = p["held"].as_array().unwrap().iter();
        held.filter(|h| h["version"] == "1.3.1").count() == 1
    };
    let status = wait_policy(&machine, "1.3.1 quarantined", held);
    assert_eq!(status["intent"], Value::Null, "{status:#}");
    machine.wait_healthy("1.1.0").unwrap();
    let runs = machine.history().unwrap().len();
    machine.berth(["channel", "check"]).good().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(machine.history().unwrap().len(), runs, "it begins once");
}
