//! A machine that nothing reaches but what somebody carries there.
#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

use berth_integration::channel::Vendor;
use berth_integration::{Machine, World};

/// No route out, and no link but loopback and Docker's own.
fn must_be_cut_off(machine: &Machine) {
    let links = machine.links().unwrap();
    let is_own = |link: &String| {
        let name = link.split('@').next().unwrap_or_default();
        let docker = ["berth", "br-", "veth", "docker"];
        name == "lo" || docker.iter().any(|prefix| name.starts_with(prefix))
    };
    assert!(
        links.iter().all(is_own),
        "the machine has a network: {links:?}"
    );
    let routes = machine.routes().unwrap();
    let leads_out = |route: &String| route.starts_with("default") || route.contains(" via ");
    assert!(
        !routes.iter().any(leads_out),
        "there is a way out: {routes:?}"
    );
}

#[test]
fn it_is_updated_through_the_stop_by_bundles_that_say_how_old_they_are() {
    let machine = Machine::new().unwrap();
    machine.engine.forget_images().unwrap();
    must_be_cut_off(&machine);
    let vendor = Vendor::new(&machine).unwrap();
    let then = "2026-01-01T00:00:00Z";
    let words = ["publish", "--release", "1.0.0", "--now", then];
    vendor.publish(&words).unwrap();
    let old = vendor.bundle("old.berth", &["--now", then]).unwrap();
    let words = ["publish", "--release", "1.1.0", "--release", "1.2.0"];
    vendor.publish(&words).unwrap();
    let new = vendor.bundle("new.berth", &[]).unwrap();
    let words = [
        "withdraw",
        "--release",
        "1.2.0",
        "--reason",
        "It loses mail.",
    ];
    vendor.publish(&words).unwrap();
    let last = vendor.bundle("last.berth", &[]).unwrap();

    // Freeze: the channel in it expired long ago. The admin knows why.
    let url = "EXTERNAL_URL=http://localhost:8080";
    let mut install = vec!["install", &old, "--set", url, "--yes", "--accept-grants"];
    let before = World::of(&machine).unwrap();
    let answer = machine.berth(&install);
    assert_eq!(answer.refusal(), "bundle-expired", "{}", answer.text);
    assert_eq!(answer.refused["effect"], "nothing-changed");
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");
    install.push("--accept-expired-channel");
    machine.berth(&install).good().unwrap();
    machine.wait_healthy("1.0.0").unwrap();
    let history = machine.history().unwrap();
    let run = machine.berth(["history", &history[0]["id"].to_string()]);
    assert!(run.text.contains("which you have accepted"), "{}", run.text);
    machine
        .client
        .put("notes/keep.txt", "a heron stands still")
        .unwrap();

    let verified = machine.berth(["verify", &new]).good().unwrap();
    assert_eq!(verified["channel"]["serial"], 2);
    assert_eq!(verified["channel"]["expired"], false);
    must_be_cut_off(&machine);
    let update = ["update", &new, "--to", "1.2.0", "--yes", "--accept-grants"];
    machine.berth(update).good().unwrap();
    machine.wait_healthy("1.2.0").unwrap();
    must_be_cut_off(&machine);
    assert_eq!(machine.client.version().unwrap(), ("1.2.0".to_owned(), 2));
    assert_eq!(machine.client.search("heron").unwrap(), ["notes/keep.txt"]);

    // Replay of an old bundle: well signed, and older than what was seen.
    let before = World::of(&machine).unwrap();
    for words in [
        vec!["verify", &old, "--accept-expired-channel"],
        vec!["plan", &old, "--accept-expired-channel"],
        vec!["update", &old, "--accept-expired-channel", "--yes"],
    ] {
        let answer = machine.berth(&words);
        assert_eq!(answer.refusal(), "channel-rollback", "{}", answer.text);
        assert_eq!(answer.refused["effect"], "nothing-changed");
    }
    assert_eq!(before.changes(&World::of(&machine).unwrap()), "");

    // What was withdrawn is told, and what was the newest yesterday is refused.
    let verified = machine.berth(["verify", &last]).good().unwrap();
    let told = verified["channel"]["told"].to_string();
    assert!(told.contains("withdrawn 1.2.0: It loses mail."), "{told}");
    let answer = machine.berth(["verify", &new]);
    assert_eq!(answer.refusal(), "channel-rollback", "{}", answer.text);
    machine.wait_healthy("1.2.0").unwrap();
}
