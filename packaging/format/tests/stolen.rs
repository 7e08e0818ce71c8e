//! What a thief of a key can do, and the files that a channel names.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod signer;

use berth_format::channel::{Channel, Seen};
use berth_format::daemon::{self, Daemon};
use berth_format::image::{Blob, Platform};
use berth_format::root::Role;
use berth_format::signature::Subject;
use berth_format::{Code, Digest, Release};

use signer::{World, channel, product};

/// A release as it is signed; `title` tells two builds of a version apart.
fn release(version: &str, title: &str, stop: bool) -> Release {
    serde_json::from_value(serde_json::json!({
        "format": 1, "product": "lantern", "title": title, "version": version,
        "upgrade": {"from": "*", "stop": stop}, "requires": {"engine": "*"},
        "data": "may-change", "services": {}, "images": {}, "layers": {},
    }))
    .unwrap()
}

fn sign_release(world: &World, key: usize, release: &Release) -> Vec<Vec<u8>> {
    let subject = Subject::Release {
        product: &release.product,
        version: &release.version,
    };
    world.ring.sign(&[key], &release.to_bytes(), &subject)
}

fn list(channel: &mut Channel, release: &Release) {
    let bytes = release.to_bytes();
    let mut entry = signer::channel(1, 5, &["1.0.0"])
        .releases
        .into_values()
        .next()
        .unwrap();
    (entry.digest, entry.size) = (Digest::of(&bytes), bytes.len() as u64);
    entry.stop = release.upgrade.stop;
    channel.releases.insert(release.version.clone(), entry);
}

#[test]
fn mix_and_match_all_pairs_of_three_releases() {
    let world = World::new();
    let all: Vec<_> = ["1.0.0", "1.1.0", "1.2.0"]
        .map(|version| release(version, "Lantern", false))
        .into();
    let mut channel = channel(7, 5, &[]);
    for release in &all {
        list(&mut channel, release);
    }
    for (a, named) in all.iter().enumerate() {
        for (b, bytes) in all.iter().enumerate() {
            for (c, signed) in all.iter().enumerate() {
                let signatures = sign_release(&world, 0, signed);
                let bytes = bytes.to_bytes();
                let result = channel.release(&world.root, &named.version, &bytes, &signatures);
                assert_eq!(result.is_ok(), a == b && b == c, "{a} {b} {c}");
            }
        }
    }
}

#[test]
fn a_release_that_is_not_the_one_the_channel_named_is_refused() {
    let world = World::new();
    let (ours, other) = (
        release("1.0.0", "Lantern", true),
        release("1.0.0", "Another build", true),
    );
    let mut channel = channel(7, 5, &[]);
    list(&mut channel, &ours);
    let judge = |channel: &Channel, release: &Release| {
        let signatures = sign_release(&world, 0, release);
        let bytes = release.to_bytes();
        channel
            .release(&world.root, &release.version, &bytes, &signatures)
            .map_err(|error| error.refusal().code)
    };
    assert_eq!(judge(&channel, &ours).as_ref(), Ok(&ours));
    // Validly signed, other bytes.
    assert_eq!(judge(&channel, &other), Err(Code::ChannelMismatch));
    let unlisted = release("1.1.0", "Lantern", false);
    assert_eq!(judge(&channel, &unlisted), Err(Code::NotFound));
    // The channel key does not talk a stop away.
    let entry = channel.releases.values_mut().next().unwrap();
    entry.stop = false;
    assert_eq!(judge(&channel, &ours), Err(Code::ChannelMismatch));
}

#[test]
fn stolen_channel_key_offers_only_what_the_release_key_has_signed() {
    let world = World::new();
    let theirs = release("9.0.0", "Lantern, with a back door", false);
    let mut stolen = channel(9, 6, &[]);
    list(&mut stolen, &theirs);
    // The channel itself is believed.
    let accepted = world.judge(&Seen::default(), &stolen).unwrap();
    for key in [1, 2, 3] {
        let signatures = sign_release(&world, key, &theirs);
        let bytes = theirs.to_bytes();
        let error = accepted
            .channel
            .release(&world.root, &theirs.version, &bytes, &signatures)
            .unwrap_err();
        assert_eq!(error.refusal().code, Code::SignatureInvalid, "key {key}");
    }
}

#[test]
fn stolen_release_key_ends_with_the_rotation_of_the_release_key() {
    let mut world = World::new();
    let kept = release("1.0.0", "Lantern", false);
    let theirs = release("9.0.0", "Lantern, with a back door", false);
    let mut channel = channel(7, 5, &[]);
    list(&mut channel, &kept);
    list(&mut channel, &theirs);
    let judge = |world: &World, key: usize, release: &Release| {
        let signatures = sign_release(world, key, release);
        let bytes = release.to_bytes();
        channel
            .release(&world.root, &release.version, &bytes, &signatures)
            .map_err(|error| error.refusal().code)
    };
    assert!(judge(&world, 0, &theirs).is_ok());
    let keys = world.ring.keys(1, &[2]);
    world.root.roles.insert(Role::Release, keys);
    // A kept release is verified again after a rotation, and wants the vendor's new signature.
    assert_eq!(judge(&world, 0, &theirs), Err(Code::SignatureInvalid));
    assert_eq!(judge(&world, 0, &kept), Err(Code::SignatureInvalid));
    assert!(judge(&world, 2, &kept).is_ok());
}

#[test]
fn a_channel_key_signs_neither_roots_nor_releases() {
    let world = World::new();
    let version = "1.0.0".parse().unwrap();
    let product = product();
    let subject = Subject::Release {
        product: &product,
        version: &version,
    };
    let signatures = world.ring.sign(&[1], b"{}", &subject);
    let error = berth_format::bundle::believe(&world.root, &version, b"{}", &signatures);
    assert_eq!(error.unwrap_err().refusal().code, Code::SignatureInvalid);
    let next = World::root(&world.ring, 2, &[1]);
    let bytes = berth_format::canonical(&next);
    let signatures = world.ring.root_signatures(&[1], &next, &bytes);
    assert!(world.root.next(&bytes, &signatures).is_err());
}

#[test]
fn stolen_channel_key_brings_no_daemon() {
    let world = World::new();
    let good = Daemon {
        format: 1,
        product: product(),
        version: "0.2.0".parse().unwrap(),
        files: [(
            Platform::linux("amd64"),
            Blob {
                digest: Digest::of(b"a program"),
                size: 9,
            },
        )]
        .into(),
    };
    let believe = |key: usize, signed_as: &str, daemon: &Daemon| {
        let bytes = daemon.to_bytes();
        let version = signed_as.parse().unwrap();
        let name = product();
        let subject = Subject::Daemon {
            product: &name,
            version: &version,
        };
        let signatures = world.ring.sign(&[key], &bytes, &subject);
        daemon::believe(&world.root, &good.version, &bytes, &signatures)
            .map_err(|error| error.refusal().code)
    };
    assert_eq!(believe(0, "0.2.0", &good).as_ref(), Ok(&good));
    assert_eq!(believe(1, "0.2.0", &good), Err(Code::SignatureInvalid));
    assert_eq!(believe(0, "0.3.0", &good), Err(Code::SignatureMismatch));
    let with = |change: fn(&mut Daemon)| {
        let mut bad = good.clone();
        change(&mut bad);
        believe(0, "0.2.0", &bad)
    };
    for change in [
        (|d: &mut Daemon| d.version = "0.3.0".parse().unwrap()) as fn(&mut Daemon),
        |d| d.product = "other".parse().unwrap(),
        |d| d.format = 2,
        |d| d.files.clear(),
        |d| d.files.values_mut().for_each(|file| file.size = 0),
    ] {
        assert_eq!(with(change), Err(Code::ManifestInvalid));
    }
    // A release is no daemon, though the same key signs both.
    let name = product();
    let subject = Subject::Release {
        product: &name,
        version: &good.version,
    };
    let signatures = world.ring.sign(&[0], &good.to_bytes(), &subject);
    let error = daemon::believe(&world.root, &good.version, &good.to_bytes(), &signatures);
    assert_eq!(error.unwrap_err().refusal().code, Code::SignatureMismatch);
}
