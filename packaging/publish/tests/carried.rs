//! Bundles with the channel inside, as a release engineer writes them.

#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

mod shop;

use std::fs;
use std::io::Cursor;

use berth_format::Digest;
use berth_format::bundle::{open, read_head};
use berth_format::channel::{Channel, Expiry, Seen};
use berth_format::root::Root;
use serde_json::Value;

use shop::{DAY_1, DAY_2, DAY_3, Shop, publish};

/// `bundle out --channel stable --now NOW --out FILE …`.
fn bundle<'a>(now: &'a str, to: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let words = ["bundle", "out", "--channel", "stable", "--key", "keys"];
    let mut all = words.to_vec();
    all.extend(["--now", now, "--out", to]);
    all.extend(rest);
    all
}

/// The releases, and the channel as an appliance believes it.
fn opened(shop: &Shop, file: &str) -> (Vec<String>, Channel, Vec<String>) {
    let mut file = Cursor::new(shop.read(file));
    let head = read_head(&mut file).unwrap();
    let root = &head.roots()[0];
    let root = Root::first(&root.bytes, &root.signatures).unwrap();
    let opened = open(&mut file, &head, &root).unwrap();
    let clock = DAY_3.parse().unwrap();
    let accepted = opened.believe_channel(&root, &Seen::default(), None, clock, Expiry::Enforced);
    let versions = opened
        .releases()
        .iter()
        .map(|r| r.release.version.to_string());
    let members = opened.index().members.iter().map(|m| m.name.clone());
    (
        versions.collect(),
        accepted.unwrap().unwrap().channel,
        members.collect(),
    )
}

#[test]
fn the_channel_and_its_berth_go_into_the_bundle_in_their_place() {
    let shop = Shop::with_keys();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        shop.build(version, "");
    }
    let two = ["--release", "1.0.0", "--release", "1.1.0"];
    shop.good(&publish(DAY_1, &two));
    shop.put("berthd", "a program");
    let file = "linux/amd64=berthd";
    let words = ["daemon", "out", "--daemon-version", "0.2.0", "--file", file];
    let words: Vec<_> = words.into_iter().chain(["--key", "keys"]).collect();
    shop.good(&words);
    let offer = ["--channel", "stable", "--daemon-version", "0.2.0"];
    shop.good(&Shop::channel("daemon", DAY_2, &offer));

    // What the channel offers, and not all that is in the folder.
    shop.good(&bundle(DAY_2, "a.berth", &[]));
    let (versions, channel, members) = opened(&shop, "a.berth");
    assert_eq!(versions, ["1.0.0", "1.1.0"]);
    assert_eq!(channel.serial, 2);
    assert_eq!(channel.to_bytes(), shop.read("out/stable/channel.json"));
    let program = format!("files/{}", Digest::of(b"a program").hex());
    let expected = [
        "1.root.json",
        "1.root.json.minisig",
        "channel.json",
        "channel.json.minisig",
        "berth-0.2.0.json",
        "berth-0.2.0.json.minisig",
        "release-1.0.0.json",
    ];
    assert_eq!(members[..expected.len()], expected);
    assert!(members.contains(&program), "{members:?}");
    shop.good(&bundle(DAY_2, "b.berth", &[]));
    assert!(shop.read("a.berth") == shop.read("b.berth"));
    shop.good(&bundle(DAY_2, "one.berth", &["--release", "1.1.0"]));
    assert_eq!(opened(&shop, "one.berth").0, ["1.1.0"]);

    // It is shown and checked.
    let shown = shop.good(&["inspect", "a.berth"]).out;
    assert!(shown.contains("channel stable: serial 2"), "{shown}");
    assert!(shown.contains("carries Berth 0.2.0"), "{shown}");
    let json = shop.good(&["inspect", "a.berth", "--json"]).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["channel"]["berth"], "0.2.0");
    let verify = ["verify", "a.berth", "--root", "keys/1.root.json"];
    // It is long past its expiry by this machine's clock.
    shop.refused(&verify, "bundle-expired");
    let words: Vec<_> = verify
        .into_iter()
        .chain(["--accept-expired-channel"])
        .collect();
    let said = shop.good(&words).out;
    assert!(said.contains("channel stable: serial 2"), "{said}");
    let alone = ["bundle", "out", "--key", "keys", "--out", "alone.berth"];
    shop.good(&alone);
    shop.good(&["verify", "alone.berth", "--root", "keys/1.root.json"]);
}

#[test]
fn a_channel_that_no_appliance_would_take_goes_into_no_bundle() {
    let shop = Shop::with_keys();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        shop.build(version, "");
    }
    shop.refused(&bundle(DAY_1, "x.berth", &[]), "not-found");
    let two = ["--release", "1.0.0", "--release", "1.1.0"];
    shop.good(&publish(DAY_1, &two));
    let withdraw = ["--channel", "stable", "--release", "1.0.0"];
    let withdraw: Vec<_> = withdraw
        .into_iter()
        .chain(["--reason", "It loses mail."])
        .collect();
    shop.good(&Shop::channel("withdraw", DAY_2, &withdraw));
    let refused = |now, rest: &[&str], code| {
        shop.refused(&bundle(now, "x.berth", rest), code);
        assert!(!shop.path("x.berth").exists());
    };
    refused("2026-03-16T12:00:00Z", &[], "bundle-expired");
    refused(DAY_2, &["--release", "1.2.0"], "not-found");
    refused(DAY_2, &["--release", "1.0.0"], "release-withdrawn");
    shop.good(&bundle(DAY_2, "good.berth", &[]));
    assert_eq!(opened(&shop, "good.berth").0, ["1.1.0"]);
    // Damaged on the vendor's disk.
    let path = shop.path("out/stable/channel.json");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    refused(DAY_2, &[], "signature-invalid");
}
