//! A whole appliance against a web server that is the attacker's, and against bad lines.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use std::time::{Duration, Instant};

use berth_integration::channel::WebServer;
use berth_integration::hostile::{Hostile, Mood};
use berth_integration::{Client, Machine, World};

/// The attacker's port.
const PORT: u16 = 8087;

/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:8071/";

/// A refused question may take so long: every try of it has a deadline.
const PATIENCE: Duration = Duration::from_mins(3);

/// 1.0.0 runs; both servers have 1.1.0 and 1.2.0. Nothing happens by itself.
fn attacked() -> (Machine, WebServer, Hostile) {
    let machine = Machine::with("1.0.0").unwrap();
    machine.berth(["policy", "set", "manual"]).good().unwrap();
    let web = WebServer::start(&machine).unwrap();
    web.offer(&["1.0.0", "1.1.0", "1.2.0"]).unwrap();
    let line = Client::new(machine.engine.netns(), PORT);
    let hostile = Hostile::start(&line, PORT, &web.file("")).unwrap();
    (machine, web, hostile)
}

fn follow(machine: &Machine, mirrors: &[&str], options: &[&str]) {
    let words = ["channel", "set"].iter().chain(mirrors).chain(options);
    let words = words.chain(&["--allow-http"]);
    machine.berth(words).good().unwrap();
}

#[test]
fn whatever_a_server_does_to_a_channel_nothing_changes() {
    use Mood::{Cut, Endless, Garbage, Long, Redirect, Round, Short, Swapped, Twice, Unmodified};
    let (machine, _web, hostile) = attacked();
    follow(&machine, &[&hostile.url()], &[]);
    let before = World::of(&machine).unwrap();
    let mut wrong = Vec::new();
    for (file, mood, code) in [
        ("stable/channel.json", Cut, "download-cut"),
        // No signature is named after what came.
        ("stable/channel.json", Short, "download-missing"),
        ("stable/channel.json", Twice, "download-missing"),
        ("stable/channel.json", Swapped, "download-missing"),
        ("stable/channel.json", Long, "download-cut"),
        ("stable/channel.json", Endless, "download-damaged"),
        ("stable/channel.json", Redirect, "mirror-redirect"),
        ("stable/channel.json", Round, "mirror-redirect"),
        ("stable/channel.json", Unmodified, "mirror-refused"),
        ("stable/channel.json", Garbage, "download-damaged"),
        (".minisig", Endless, "download-damaged"),
        (".minisig", Short, "signature-invalid"),
        ("release-1.2.0.json", Swapped, "channel-mismatch"),
        ("release-1.2.0.json", Twice, "channel-mismatch"),
        ("release-1.2.0.json", Endless, "download-damaged"),
    ] {
        hostile.treat(file, mood);
        let begin = Instant::now();
        let answer = machine.berth(["channel", "check"]);
        let took = begin.elapsed();
        println!("{file} {mood:?}: {} after {took:?}", answer.refusal());
        if answer.refusal() != code {
            wrong.push(format!("{file} {mood:?}: {code}, found {}", answer.text));
        }
        assert_eq!(
            answer.refused["effect"], "nothing-changed",
            "{file} {mood:?}"
        );
        assert!(took < PATIENCE, "{file} {mood:?}: {took:?}");
        let changes = before.changes(&World::of(&machine).unwrap());
        assert_eq!(changes, "", "{file} {mood:?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    hostile.treat("", Mood::Honest);
    let status = machine.berth(["channel", "check"]).good().unwrap();
    assert_eq!(status["offer"], "1.2.0");

    // Layers: each is asked for while the product runs, and the update ends before it stops.
    let running = machine.running().unwrap();
    for (mood, code) in [
        (Short, "download-damaged"),
        (Endless, "download-damaged"),
        (Redirect, "mirror-redirect"),
        (Swapped, "download-damaged"),
    ] {
        hostile.treat("layers/", mood);
        let answer = machine.berth(["update", "--yes"]);
        println!("layers {mood:?}: {}", answer.refusal());
        assert_eq!(answer.refusal(), code, "layers {mood:?}: {}", answer.text);
        assert_eq!(machine.running().unwrap(), running, "layers {mood:?}");
    }
    hostile.treat("", Mood::Honest);
    machine.berth(["update", "--yes"]).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);
}

#[test]
fn slow_retrieval_is_given_up_for_the_next_mirror() {
    let (machine, web, hostile) = attacked();
    follow(&machine, &[&hostile.url(), &web.url()], &[]);
    machine.berth(["channel", "check"]).good().unwrap();
    hostile.treat("layers/", Mood::Drip);
    let begin = Instant::now();
    machine.berth(["update", "--yes"]).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    let took = begin.elapsed();
    println!("{took:?} with a mirror that sends a byte a second");
    assert!(
        took > Duration::from_mins(1),
        "the drip was waited for: {took:?}"
    );
    assert!(web.log().iter().any(|line| line.contains("/layers/")));
}

#[test]
fn mirrors_are_asked_in_order_and_a_bandwidth_is_kept() {
    let (mut machine, web, hostile) = attacked();
    machine.berthd.kill().unwrap();
    machine.berthd.forget_fetched().unwrap();
    machine.berthd.start().unwrap();
    hostile.treat("layers/", Mood::Redirect);
    let mirrors = [DEAD, &hostile.url(), &web.url()];
    let rate = 2_000_000;
    follow(&machine, &mirrors, &["--bandwidth", &rate.to_string()]);
    machine.berth(["channel", "check"]).good().unwrap();
    let begin = Instant::now();
    machine.berth(["update", "--yes"]).good().unwrap();
    let took = begin.elapsed();
    machine.wait_healthy("1.2.0").unwrap();
    let bytes = web.asked_for();
    println!("{bytes} bytes and the update took {took:?}");
    assert!(bytes > 30_000_000, "{bytes}");
    let least = Duration::from_secs(bytes / rate * 9 / 10);
    assert!(
        took > least,
        "{took:?} for {bytes}, at most {rate} a second"
    );
}
