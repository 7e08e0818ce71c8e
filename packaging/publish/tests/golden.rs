//! What earlier publishers wrote, as data: a change of the format must not leave it unread.
//!
//! Each folder below `tests/golden/` is one publisher's: roots, a channel, releases, a daemon, and a
//! bundle of all. Folders are added and never changed; [`write_what_this_publisher_makes`] makes one:
//! `GOLDEN=second cargo test -p berth-publish --test golden -- --ignored`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod shop;

use std::fs;
use std::path::{Path, PathBuf};

use berth_format::bundle::verify_whole;
use berth_format::channel::{Accepted, Channel, Expiry, FILE, Seen, Standing, signed_name};
use berth_format::root::{self, Root};
use berth_format::signature::{MAX_FILES, file_name};
use berth_format::{Digest, daemon, layer};

use shop::{DAY_1, DAY_2, DAY_3, Shop, contents};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn signatures(dir: &Path, name: &str) -> Vec<Vec<u8>> {
    (1..=MAX_FILES)
        .map_while(|n| fs::read(dir.join(file_name(name, n))).ok())
        .collect()
}

/// From the first root to the newest.
fn newest_root(dir: &Path) -> Root {
    let name = root::file_name(1);
    let bytes = fs::read(dir.join(&name)).unwrap();
    let mut root = Root::first(&bytes, &signatures(dir, &name)).unwrap();
    for version in 2.. {
        let name = root::file_name(version);
        let Ok(bytes) = fs::read(dir.join(&name)) else {
            break;
        };
        root = root.next(&bytes, &signatures(dir, &name)).unwrap();
    }
    root
}

fn channel(dir: &Path, root: &Root) -> Accepted {
    let folder = dir.join("stable");
    let bytes = fs::read(folder.join(FILE)).unwrap();
    let signatures = signatures(&folder, &signed_name(&Digest::of(&bytes)));
    let (name, now) = ("stable".parse().unwrap(), DAY_3.parse().unwrap());
    let seen = Seen::default();
    seen.judge(root, &name, &bytes, &signatures, now, Expiry::Enforced)
        .unwrap()
}

fn releases(dir: &Path, root: &Root, channel: &Channel) {
    for version in channel.releases.keys() {
        let name = format!("release-{version}.json");
        let bytes = fs::read(dir.join(&name)).unwrap();
        let signatures = signatures(dir, &name);
        let release = channel.release(root, version, &bytes, &signatures).unwrap();
        // What is written of it today is still the same.
        assert!(
            release.to_bytes() == bytes,
            "{name} would be written in another way"
        );
        for (diff_id, layer) in &release.layers {
            let stored = fs::read(dir.join(layer::Layer::file_name(diff_id))).unwrap();
            let (mut unpacker, mut tar) = (layer::Unpacker::new().unwrap(), Vec::new());
            layer.unpack(0, &stored, &mut unpacker, &mut tar).unwrap();
            assert_eq!(Digest::of(&tar), *diff_id);
        }
    }
}

#[test]
fn what_the_first_publisher_wrote_is_still_believed() {
    let dir = golden("first");
    let root = newest_root(&dir);
    assert_eq!((root.product.as_str(), root.version), ("shop", 2));
    let channel = channel(&dir, &root).channel;
    assert_eq!((channel.serial, channel.releases.len()), (3, 2));
    let old = channel.standing(&"1.0.0".parse().unwrap());
    assert!(matches!(
        old,
        Standing::Withdrawn {
            reason: Some(_),
            instead: Some(_)
        }
    ));
    releases(&dir, &root, &channel);

    let name = daemon::file_name(&channel.berth.as_ref().unwrap().version);
    let bytes = fs::read(dir.join(&name)).unwrap();
    channel
        .daemon(&root, &bytes, &signatures(&dir, &name))
        .unwrap();

    let mut bundle = fs::File::open(dir.join("shop.berth")).unwrap();
    let read = verify_whole(&mut bundle, &root, |_, _| {}).unwrap();
    assert_eq!(read.len(), 2);
}

#[test]
#[ignore = "writes a new folder of test data"]
fn write_what_this_publisher_makes() {
    let out = golden(&std::env::var("GOLDEN").unwrap());
    let shop = Shop::with_keys();
    shop.build("1.0.0", "");
    let more = "config: [{name: MODE, type: choice, choices: [a, b], default: a, label: Mode}]\n\
                upgrade: {from: '>=1.0.0'}\nrequires: {memory: 1GiB}\nnotes: |\n  New.\n";
    shop.build("1.1.0", more);
    let both = [
        "--channel",
        "stable",
        "--release",
        "1.0.0",
        "--release",
        "1.1.0",
    ];
    shop.good(&Shop::channel("publish", DAY_1, &both));
    let withdraw = [
        "--channel",
        "stable",
        "--release",
        "1.0.0",
        "--reason",
        "It loses mail.",
        "--superseded-by",
        "1.1.0",
    ];
    shop.good(&Shop::channel("withdraw", DAY_2, &withdraw));
    shop.good(&["root", "rotate", "keys", "--now", DAY_2]);
    shop.good(&["root", "sign", "keys/2.root.json", "--key", "keys/root.key"]);
    shop.put("berthd", "a program\n");
    shop.good(&[
        "daemon",
        "out",
        "--daemon-version",
        "0.2.0",
        "--file",
        "linux/amd64=berthd",
        "--key",
        "keys",
    ]);
    let daemon = ["--channel", "stable", "--daemon-version", "0.2.0"];
    shop.good(&Shop::channel("daemon", DAY_3, &daemon));
    shop.good(&["bundle", "out", "--key", "keys", "--out", "shop.berth"]);
    for (name, bytes) in contents(&shop.path("out")) {
        fs::create_dir_all(out.join(&name).parent().unwrap()).unwrap();
        fs::write(out.join(name), bytes).unwrap();
    }
    fs::write(out.join("shop.berth"), shop.read("shop.berth")).unwrap();
}

/// Two readers could take one of two equal keys each: nobody may write that.
#[test]
fn no_object_of_a_release_takes_a_key_twice() {
    let bytes = fs::read(golden("first").join("release-1.1.0.json")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let mut tried = 0;
    for (at, _) in text.match_indices("{\"") {
        let from = &text[at + 1..];
        let mut words = serde_json::Deserializer::from_str(from).into_iter::<String>();
        let Some(Ok(key)) = words.next() else {
            continue;
        };
        let rest = &from[words.byte_offset() + 1..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
        if !matches!(values.next(), Some(Ok(_))) {
            continue;
        }
        let value = &rest[..values.byte_offset()];
        let twice = format!("{}\"{key}\":{value},{from}", &text[..=at]);
        let parsed = serde_json::from_str::<berth_format::Release>(&twice);
        assert!(parsed.is_err(), "{key} stands twice:\n{twice}");
        tried += 1;
    }
    assert!(tried > 20, "{tried} objects");
}
