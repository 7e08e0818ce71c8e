//! The channel and the daemon that a bundle carries, as the vendor put them in, and as an attacker.

#![allow(clippy::unwrap_used, reason = "every helper here is a part of a test")]

mod vendor;

use std::io::Cursor;

use berth_format::bundle::{MemberKind, open, read_head};
use berth_format::channel::{Accepted, Channel, Entry, Expiry, Seen};
use berth_format::daemon::Daemon;
use berth_format::image::Platform;
use berth_format::release::blob_file_name;
use berth_format::{ChannelName, Code, Digest, Refusal};
use jiff::Timestamp;
use vendor::{Parts, Raw, Record, Vendor, blob, find, product, write};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    time("2026-03-10T00:00:00Z")
}

fn name(text: &str) -> ChannelName {
    text.parse().unwrap()
}

/// A channel that offers the releases of these parts and names their daemon.
fn channel(parts: &Parts, serial: u64) -> Channel {
    let published = time("2026-03-05T12:00:00Z");
    let entry = |bytes: &[u8]| Entry {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        published,
        stop: false,
        security: false,
        rollout: None,
        withdrawn: None,
        superseded_by: None,
    };
    let releases = parts.releases.iter();
    Channel {
        format: 1,
        product: product(),
        channel: name("stable"),
        serial,
        published,
        expires: published + berth_format::channel::LIFETIME,
        releases: releases
            .map(|r| (r.version.clone(), entry(&r.to_bytes())))
            .collect(),
        berth: parts.daemon.as_ref().map(|daemon| {
            let bytes = daemon.to_bytes();
            berth_format::channel::Berth {
                version: daemon.version.clone(),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
            }
        }),
    }
}

fn daemon(parts: &mut Parts, program: &[u8]) {
    parts.files.insert(Digest::of(program), program.to_vec());
    parts.daemon = Some(Daemon {
        format: 1,
        product: product(),
        version: "0.2.0".parse().unwrap(),
        files: [(Platform::linux("amd64"), blob(program))].into(),
    });
}

/// Release 1.0.0 and a daemon, both with this word in them, and the channel that names them.
fn parts(word: &str, serial: u64) -> Parts {
    let mut parts = Parts::default();
    parts.add("1.0.0", &[b"the base layer", b"the program"]);
    word.clone_into(&mut parts.releases[0].title);
    daemon(&mut parts, format!("berthd {word}").as_bytes());
    parts.channel = Some(channel(&parts, serial));
    parts
}

/// What an appliance does: all of it, or why not.
fn judge(vendor: &Vendor, bytes: &[u8], seen: &Seen) -> Result<Option<Accepted>, Refusal> {
    judge_by(vendor, bytes, seen, None, now(), Expiry::Enforced)
}

fn judge_by(
    vendor: &Vendor,
    bytes: &[u8],
    seen: &Seen,
    followed: Option<&str>,
    clock: Timestamp,
    expiry: Expiry,
) -> Result<Option<Accepted>, Refusal> {
    let mut file = Cursor::new(bytes);
    let head = read_head(&mut file)?;
    let opened = open(&mut file, &head, &vendor.root)?;
    let followed = followed.map(name);
    let accepted = opened.believe_channel(&vendor.root, seen, followed.as_ref(), clock, expiry)?;
    opened.walk(&mut file, &mut Record::default())?;
    Ok(accepted)
}

fn code(result: Result<Option<Accepted>, Refusal>) -> Code {
    result.unwrap_err().code
}

#[test]
fn the_channel_and_the_daemon_come_along_and_the_program_is_checked() {
    let vendor = Vendor::new();
    let parts = parts("good", 7);
    let bytes = vendor.bundle(&parts);
    let accepted = judge(&vendor, &bytes, &Seen::default()).unwrap().unwrap();
    assert_eq!(accepted.channel, parts.channel.clone().unwrap());
    assert_eq!(accepted.seen.get(&name("stable")).unwrap().serial, 7);
    let mut file = Cursor::new(&bytes);
    let head = read_head(&mut file).unwrap();
    let opened = open(&mut file, &head, &vendor.root).unwrap();
    assert_eq!(opened.index().channel, Some(name("stable")));
    let carried = opened.daemon().unwrap().daemon.clone();
    assert_eq!(Some(carried), parts.daemon);
    // A program is checked and handed to nobody: a sink gets what releases name.
    let got = vendor.record(&bytes, Record::default()).unwrap();
    assert_eq!(got.done, got.total);
    assert!(!got.blobs.contains_key(&Digest::of(b"berthd good")));
    // A program that a release ships too goes there.
    let mut both = Parts::small();
    let file = both.files.values().next().unwrap().clone();
    daemon(&mut both, &file);
    both.channel = Some(channel(&both, 1));
    let got = vendor.record(&vendor.bundle(&both), Record::default());
    assert!(got.unwrap().blobs.contains_key(&Digest::of(&file)));

    // A bundle without a channel is one still.
    let bytes = vendor.bundle(&Parts::small());
    assert_eq!(judge(&vendor, &bytes, &accepted.seen).unwrap(), None);
}

#[test]
fn replay_of_an_old_bundle_is_a_rollback() {
    let vendor = Vendor::new();
    let (old, new) = (parts("old", 7), parts("new", 8));
    let new = judge(&vendor, &vendor.bundle(&new), &Seen::default());
    let seen = new.unwrap().unwrap().seen;
    let old = vendor.bundle(&old);
    assert_eq!(code(judge(&vendor, &old, &seen)), Code::ChannelRollback);
    // Whoever may waive the expiry does not waive this.
    let waived = judge_by(&vendor, &old, &seen, None, now(), Expiry::Waived);
    assert_eq!(code(waived), Code::ChannelRollback);
}

#[test]
fn freeze_an_expired_channel_wants_a_word_of_the_admin() {
    let vendor = Vendor::new();
    let bytes = vendor.bundle(&parts("good", 7));
    let seen = Seen::default();
    let late = time("2026-03-19T12:00:00Z");
    let at = |clock, expiry| judge_by(&vendor, &bytes, &seen, None, clock, expiry);
    assert!(at(late - jiff::SignedDuration::from_secs(1), Expiry::Enforced).is_ok());
    assert_eq!(code(at(late, Expiry::Enforced)), Code::BundleExpired);
    assert!(at(late, Expiry::Waived).is_ok());
    // A root that is expired is waived by nobody.
    let mut vendor = vendor;
    vendor.root.expires = late;
    let bytes = vendor.bundle(&parts("good", 7));
    let waived = judge_by(&vendor, &bytes, &seen, None, late, Expiry::Waived);
    assert_eq!(code(waived), Code::TrustExpired);
}

#[test]
fn wrong_channel_another_than_the_one_that_is_followed() {
    let vendor = Vendor::new();
    let bytes = vendor.bundle(&parts("good", 7));
    let with = |followed| {
        let seen = Seen::default();
        judge_by(
            &vendor,
            &bytes,
            &seen,
            Some(followed),
            now(),
            Expiry::Enforced,
        )
    };
    assert!(with("stable").is_ok());
    assert_eq!(code(with("beta")), Code::WrongChannel);
    // The list says one channel, the file another.
    let mut parts = parts("good", 7);
    let members = vendor.members(&parts);
    parts.channel.as_mut().unwrap().channel = name("beta");
    let bytes = vendor.write(&vendor.index(&parts, &members), &members);
    let result = judge(&vendor, &bytes, &Seen::default());
    assert_eq!(code(result), Code::SignatureMismatch);
}

#[test]
fn equivocation_by_a_bundle_one_serial_two_contents() {
    let vendor = Vendor::new();
    let (one, other) = (parts("one", 7), parts("other", 7));
    let accepted = judge(&vendor, &vendor.bundle(&one), &Seen::default());
    let seen = accepted.unwrap().unwrap().seen;
    let result = judge(&vendor, &vendor.bundle(&other), &seen);
    assert_eq!(code(result), Code::ChannelEquivocation);
    assert!(judge(&vendor, &vendor.bundle(&one), &seen).is_ok());
}

#[test]
fn arbitrary_install_a_channel_of_another_key_or_none() {
    let (vendor, thief) = (Vendor::new(), Vendor::new());
    let parts = parts("good", 7);
    let mut members = vendor.members(&parts);
    let at = place(&members, "channel.json.minisig");
    members[at].1 = thief.sign_channel(parts.channel.as_ref().unwrap());
    let bytes = vendor.write(&vendor.index(&parts, &members), &members);
    let result = judge(&vendor, &bytes, &Seen::default());
    assert_eq!(code(result), Code::SignatureInvalid);
    members.remove(at);
    let bytes = vendor.write(&vendor.index(&parts, &members), &members);
    let result = judge(&vendor, &bytes, &Seen::default());
    assert_eq!(code(result), Code::BundleMember);
    // The daemon is the release key's to sign.
    let mut members = vendor.members(&parts);
    let at = place(&members, "berth-0.2.0.json.minisig");
    members[at].1 = thief.sign_daemon(parts.daemon.as_ref().unwrap());
    let bytes = vendor.write(&vendor.index(&parts, &members), &members);
    assert_eq!(vendor.code(&bytes), Code::SignatureInvalid);
}

fn place(members: &[Raw], name: &str) -> usize {
    members.iter().position(|(n, _)| n == name).unwrap()
}

#[test]
fn mix_and_match_the_parts_of_two_bundles() {
    let vendor = Vendor::new();
    let all: Vec<_> = ["one", "two", "three"]
        .iter()
        .zip(1..)
        .map(|(word, serial)| {
            let parts = parts(word, serial);
            let members = vendor.members(&parts);
            (parts, members)
        })
        .collect();
    let pieces: [&[&str]; 6] = [
        &["channel.json", "channel.json.minisig"],
        &["channel.json"],
        &["channel.json.minisig"],
        &["berth-0.2.0.json", "berth-0.2.0.json.minisig"],
        &["release-1.0.0.json", "release-1.0.0.json.minisig"],
        &["release-1.0.0.json"],
    ];
    for (a, (mine, good)) in all.iter().enumerate() {
        for (b, (theirs, other)) in all.iter().enumerate() {
            for piece in pieces {
                let mut members = good.clone();
                for name in piece {
                    members[place(good, name)]
                        .1
                        .clone_from(&other[place(other, name)].1);
                }
                if piece[0].starts_with("berth") {
                    // With its program, so that only the channel can tell.
                    let program = other.iter().find(|m| is_program(m)).unwrap();
                    let at = good.iter().position(is_program).unwrap();
                    members[at].clone_from(program);
                }
                // Under a list that is signed again, as a thief of the release key would.
                let bytes = vendor.write(&vendor.index(mine, &members), &members);
                let result = judge(&vendor, &bytes, &Seen::default());
                assert_eq!(result.is_ok(), a == b, "{a} {b} {piece:?}: {result:?}");
                // And under the list that is there.
                let index = vendor.index(mine, good);
                let signed = berth_format::canonical(&index);
                let bytes = write(&signed, &vendor.sign_list(&signed), &members);
                let result = judge(&vendor, &bytes, &Seen::default());
                assert_eq!(result.is_ok(), a == b, "{a} {b} {piece:?}");
            }
            // All that is signed, of the other: that is the other bundle, whole.
            let bytes = vendor.bundle(theirs);
            assert!(judge(&vendor, &bytes, &Seen::default()).is_ok());
        }
    }
}

fn is_program(member: &Raw) -> bool {
    member.1.starts_with(b"berthd ")
}

#[test]
fn a_flipped_byte_of_the_channel_or_the_daemon_is_refused() {
    let vendor = Vendor::new();
    let parts = parts("good", 7);
    let good = vendor.bundle(&parts);
    let program = blob_file_name(&Digest::of(b"berthd good"));
    for member in [
        "channel.json",
        "channel.json.minisig",
        "berth-0.2.0.json",
        "berth-0.2.0.json.minisig",
        &program,
    ] {
        let mut bytes = good.clone();
        for at in find(&good, member) {
            bytes[at] ^= 1 << (at % 8);
            let result = judge(&vendor, &bytes, &Seen::default());
            assert_eq!(code(result), Code::BundleDamaged, "{member} {at}");
            bytes[at] = good[at];
        }
    }
    // And in members under a list that is signed again: only the signatures are left to tell.
    let members = vendor.members(&parts);
    for name in ["channel.json", "berth-0.2.0.json"] {
        let n = place(&members, name);
        for at in 0..members[n].1.len() {
            let mut members = members.clone();
            members[n].1[at] ^= 1;
            let bytes = vendor.write(&vendor.index(&parts, &members), &members);
            let result = judge(&vendor, &bytes, &Seen::default());
            assert_eq!(code(result), Code::SignatureInvalid, "{name} {at}");
        }
    }
}

#[test]
fn members_of_the_channel_missing_extra_or_out_of_order_are_refused() {
    let vendor = Vendor::new();
    let parts = parts("good", 7);
    let good = vendor.members(&parts);
    let check = |what: &str, members: &[Raw], parts: &Parts| {
        let bytes = vendor.write(&vendor.index(parts, members), members);
        let result = judge(&vendor, &bytes, &Seen::default());
        assert_eq!(code(result), Code::BundleMember, "{what}");
    };
    for n in 2..good.len() {
        let mut members = good.clone();
        let (name, _) = members.remove(n);
        check(&format!("without {name}"), &members, &parts);
    }
    let mut members = good.clone();
    let (channel, daemon) = (
        place(&good, "channel.json"),
        place(&good, "berth-0.2.0.json"),
    );
    members.swap(channel, daemon);
    members.swap(channel + 1, daemon + 1);
    check("the daemon first", &members, &parts);
    let mut members = good.clone();
    members.insert(
        channel + 2,
        ("channel.json.3.minisig".into(), b"x".to_vec()),
    );
    check("a third signature and no second", &members, &parts);
    // Not announced by the list.
    let silent = Parts {
        channel: None,
        daemon: None,
        ..parts.clone()
    };
    let without: Vec<_> = good.iter().filter(|m| !is_program(m)).cloned().collect();
    check("unannounced", &without, &silent);
    // Announced, and another one.
    let mut other = parts.clone();
    other.daemon.as_mut().unwrap().version = "0.3.0".parse().unwrap();
    check("another daemon", &good, &other);
    // A daemon that no channel names.
    let alone = Parts {
        channel: None,
        ..parts.clone()
    };
    let result = judge(&vendor, &vendor.bundle(&alone), &Seen::default());
    assert_eq!(code(result), Code::ManifestInvalid);
    assert!(MemberKind::of("channel.json").is_some());
}

#[test]
fn endless_data_in_the_channel_or_the_daemon_is_not_read() {
    let vendor = Vendor::new();
    let parts = parts("good", 7);
    let good = vendor.members(&parts);
    for (name, most) in [("channel.json", 1 << 20), ("berth-0.2.0.json", 64 << 10)] {
        let mut members = good.clone();
        let at = place(&good, name);
        members[at].1.resize(most + 1, b' ');
        let bytes = vendor.write(&vendor.index(&parts, &members), &members);
        let result = judge(&vendor, &bytes, &Seen::default());
        assert_eq!(code(result), Code::BundleTooLarge, "{name}");
    }
}
