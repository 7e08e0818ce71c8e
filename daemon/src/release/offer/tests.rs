//! Bundles with a channel inside, handed to an appliance that remembers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use berth_format::bundle::{Content, FORMAT, Index, Member, write};
use berth_format::canonical;
use berth_format::channel::Entry;
use berth_format::root::Keys;
use minisign::KeyPair;

use super::*;
use crate::store::ChannelSettings;

/// A vendor with a key for each role, and the folder for his bundles.
struct Vendor {
    dir: tempfile::TempDir,
    root: KeyPair,
    release: KeyPair,
    channel: KeyPair,
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const NOW: &str = "2026-03-10T00:00:00Z";
const LATE: &str = "2026-03-20T00:00:00Z";

fn sign(pair: &KeyPair, bytes: &[u8], subject: &Subject<'_>) -> Vec<u8> {
    let comment = subject.to_string();
    let signed = minisign::sign(None, &pair.sk, Cursor::new(bytes), Some(&comment), None);
    signed.unwrap().into_string().into_bytes()
}

fn release(version: &str) -> Release {
    serde_json::from_value(serde_json::json!({
        "format": 1, "product": "lantern", "title": "Lantern", "version": version,
        "upgrade": {"from": "*"}, "requires": {"engine": "*"}, "data": "may-change",
        "services": {}, "images": {}, "layers": {},
    }))
    .unwrap()
}

impl Vendor {
    fn new() -> Self {
        let pair = || KeyPair::generate_unencrypted_keypair().unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            root: pair(),
            release: pair(),
            channel: pair(),
        }
    }

    fn root_bytes(&self) -> Vec<u8> {
        let keys = |pair: &KeyPair| Keys {
            threshold: 1,
            keys: vec![pair.pk.to_base64()],
        };
        canonical(&Root {
            format: berth_format::root::FORMAT,
            product: "lantern".parse().unwrap(),
            version: 1,
            expires: time("2036-01-01T00:00:00Z"),
            roles: [
                (Role::Root, keys(&self.root)),
                (Role::Release, keys(&self.release)),
                (Role::Channel, keys(&self.channel)),
            ]
            .into(),
        })
    }

    /// A channel that offers these, published on the 5th of March 2026 for a fortnight.
    fn channel(name: &str, serial: u64, versions: &[&str]) -> Channel {
        let published = time("2026-03-05T12:00:00Z");
        let entry = |version: &&str| {
            let bytes = release(version).to_bytes();
            let entry = Entry {
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                published,
                stop: false,
                security: false,
                rollout: None,
                withdrawn: None,
                superseded_by: None,
            };
            (version.parse().unwrap(), entry)
        };
        Channel {
            format: berth_format::channel::FORMAT,
            product: "lantern".parse().unwrap(),
            channel: name.parse().unwrap(),
            serial,
            published,
            expires: published + berth_format::channel::LIFETIME,
            releases: versions.iter().map(entry).collect(),
            berth: None,
        }
    }

    /// A bundle of one release, with this channel.
    fn bundle(&self, version: &str, channel: Option<&Channel>) -> File {
        let product = "lantern".parse().unwrap();
        let root = self.root_bytes();
        let subject = Subject::Root {
            product: &product,
            version: 1,
        };
        let signature = sign(&self.root, &root, &subject);
        let mut members = vec![
            ("1.root.json".to_owned(), root),
            ("1.root.json.minisig".to_owned(), signature),
        ];
        if let Some(channel) = channel {
            let subject = Subject::Channel {
                product: &product,
                channel: &channel.channel,
                serial: channel.serial,
            };
            let signature = sign(&self.channel, &channel.to_bytes(), &subject);
            members.push(("channel.json".into(), channel.to_bytes()));
            members.push(("channel.json.minisig".into(), signature));
        }
        let release = release(version);
        let subject = Subject::Release {
            product: &product,
            version: &release.version,
        };
        let signature = sign(&self.release, &release.to_bytes(), &subject);
        members.push((release.file_name(), release.to_bytes()));
        members.push((format!("{}.minisig", release.file_name()), signature));
        let member = |(name, bytes): &(String, Vec<u8>)| Member {
            name: name.clone(),
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        let index = Index {
            format: FORMAT,
            product: product.clone(),
            releases: vec![release.version],
            channel: channel.map(|c| c.channel.clone()),
            berth: None,
            members: members.iter().map(member).collect(),
        };
        let signed = canonical(&index);
        let subject = Subject::Bundle { product: &product };
        let signature = sign(&self.release, &signed, &subject);
        let contents: Vec<_> = members
            .into_iter()
            .map(|(_, b)| Content::Bytes(b))
            .collect();
        let mut bytes = Vec::new();
        write(&mut bytes, &index, &signed, &signature, &contents).unwrap();
        let path = self.dir.path().join("x.berth");
        fs::write(&path, bytes).unwrap();
        File::open(path).unwrap()
    }

    /// An appliance that confirmed this vendor's fingerprint.
    fn appliance(&self, dir: &Path) -> Store {
        let store = Store::open(dir).unwrap();
        let trust = Trust {
            fingerprint: Some(Digest::of(&self.root_bytes())),
            ..Trust::default()
        };
        store.set_trust(&trust).unwrap();
        store
    }
}

fn take(store: &Store, file: &File) -> Result<Offer, Refusal> {
    read(file, store, Terms::default(), time(NOW))
}

fn code(result: Result<Offer, Refusal>) -> Code {
    match result {
        Ok(_) => panic!("it is taken"),
        Err(refusal) => refusal.code,
    }
}

fn follow(store: &Store, name: &str) {
    let settings = ChannelSettings {
        name: name.parse().unwrap(),
        mirrors: vec!["https://dl.example/".into()],
        proxy: None,
        ca_file: None,
        token_file: None,
        user: None,
        bandwidth: None,
        allow_http: false,
        allow_private: false,
    };
    store.set_following(Some(&settings)).unwrap();
}

fn serial(store: &Store, name: &str) -> Option<u64> {
    let seen = store.trust().unwrap().seen;
    seen.get(&name.parse().unwrap()).map(|kept| kept.serial)
}

#[test]
fn replay_of_an_old_bundle_is_refused_also_after_a_restart_and_with_a_waiver() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let old = Vendor::channel("stable", 7, &["1.0.0"]);
    let new = Vendor::channel("stable", 8, &["1.0.0", "1.1.0"]);
    take(&store, &vendor.bundle("1.0.0", Some(&old))).unwrap();
    take(&store, &vendor.bundle("1.1.0", Some(&new))).unwrap();
    assert_eq!(serial(&store, "stable"), Some(8));
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let replayed = vendor.bundle("1.0.0", Some(&old));
    assert_eq!(code(take(&store, &replayed)), Code::ChannelRollback);
    let waived = Terms {
        accept_expired_channel: true,
        ..Terms::default()
    };
    let result = read(&replayed, &store, waived, time(NOW));
    assert_eq!(code(result), Code::ChannelRollback);
    assert_eq!(serial(&store, "stable"), Some(8));
    // For a rollback by hand it brings the images of what ran here, and nothing else.
    let back = Terms {
        back: true,
        ..Terms::default()
    };
    let offer = read(&replayed, &store, back, time(NOW)).unwrap();
    assert!(offer.must_be_for(PlanKind::Rollback).is_ok());
    for kind in [PlanKind::Update, PlanKind::Install, PlanKind::Reconfigure] {
        assert!(offer.must_be_for(kind).is_err());
    }
}

#[test]
fn replay_of_a_bundle_that_stayed_open_while_a_newer_one_came() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let old = Vendor::channel("stable", 7, &["1.0.0"]);
    let offer = take(&store, &vendor.bundle("1.0.0", Some(&old))).unwrap();
    assert!(offer.must_still_hold(&store, time(NOW)).is_ok());
    let new = Vendor::channel("stable", 8, &["1.1.0"]);
    take(&store, &vendor.bundle("1.1.0", Some(&new))).unwrap();
    let refusal = offer.must_still_hold(&store, time(NOW)).unwrap_err();
    assert_eq!(refusal.code, Code::ChannelRollback);
}

#[test]
fn freeze_an_expired_bundle_is_waived_for_this_one_bundle_only() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let channel = Vendor::channel("stable", 7, &["1.0.0"]);
    let bundle = vendor.bundle("1.0.0", Some(&channel));
    let with = |accept_expired_channel| {
        let terms = Terms {
            accept_expired_channel,
            ..Terms::default()
        };
        read(&bundle, &store, terms, time(LATE))
    };
    assert_eq!(code(with(false)), Code::BundleExpired);
    assert_eq!(serial(&store, "stable"), None);
    let offer = with(true).unwrap();
    assert_eq!(serial(&store, "stable"), Some(7));
    assert!(offer.must_still_hold(&store, time(LATE)).is_ok());
    assert!(offer.warning(time(LATE)).unwrap().contains("2026-03-19"));
    assert_eq!(offer.warning(time(NOW)), None);
    // The next one is asked about again.
    assert_eq!(code(with(false)), Code::BundleExpired);
    // One that was good when it was opened expires while it is open.
    let offer = take(&store, &bundle).unwrap();
    let refusal = offer.must_still_hold(&store, time(LATE)).unwrap_err();
    assert_eq!(refusal.code, Code::BundleExpired);
}

#[test]
fn wrong_channel_a_bundle_of_another_than_the_one_that_is_followed() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let beta = Vendor::channel("beta", 7, &["1.0.0"]);
    let bundle = vendor.bundle("1.0.0", Some(&beta));
    follow(&store, "stable");
    assert_eq!(code(take(&store, &bundle)), Code::WrongChannel);
    assert_eq!(serial(&store, "beta"), None);
    follow(&store, "beta");
    take(&store, &bundle).unwrap();
    let kept = store.following().unwrap().unwrap();
    assert_eq!(kept.channel.unwrap().into_bytes(), beta.to_bytes());
    assert_eq!(store.carried().unwrap(), None);
}

#[test]
fn equivocation_a_bundle_and_the_channel_that_is_followed_say_two_things() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    follow(&store, "stable");
    let one = Vendor::channel("stable", 7, &["1.0.0"]);
    take(&store, &vendor.bundle("1.0.0", Some(&one))).unwrap();
    let other = Vendor::channel("stable", 7, &["1.0.0", "1.1.0"]);
    let result = take(&store, &vendor.bundle("1.1.0", Some(&other)));
    assert_eq!(code(result), Code::ChannelEquivocation);
}

#[test]
fn mix_and_match_a_release_that_the_channel_does_not_name() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let channel = Vendor::channel("stable", 7, &["1.0.0"]);
    let result = take(&store, &vendor.bundle("1.1.0", Some(&channel)));
    assert_eq!(code(result), Code::NotFound);
    // Nothing of it was believed.
    assert_eq!(serial(&store, "stable"), None);
    let mut channel = Vendor::channel("stable", 7, &["1.0.0"]);
    for entry in channel.releases.values_mut() {
        entry.digest = Digest::of(b"another build");
    }
    let result = take(&store, &vendor.bundle("1.0.0", Some(&channel)));
    assert_eq!(code(result), Code::ChannelMismatch);
}

#[test]
fn a_bundle_without_a_channel_is_taken_and_what_was_seen_stays() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let channel = Vendor::channel("stable", 7, &["1.0.0"]);
    take(&store, &vendor.bundle("1.0.0", Some(&channel))).unwrap();
    let offer = take(&store, &vendor.bundle("1.1.0", None)).unwrap();
    assert!(offer.channel.is_none() && offer.warning(time(LATE)).is_none());
    assert_eq!(serial(&store, "stable"), Some(7));
    let carried = store.carried().unwrap().unwrap();
    assert_eq!(carried.channel.into_bytes(), channel.to_bytes());
}

#[test]
fn a_newer_channel_in_a_bundle_takes_away_what_it_has_withdrawn() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    follow(&store, "stable");
    for version in ["1.0.0", "1.1.0"] {
        let release = release(version);
        store.put_offered(&release, &release.to_bytes()).unwrap();
    }
    let mut channel = Vendor::channel("stable", 7, &["1.0.0", "1.1.0"]);
    let version = "1.0.0".parse().unwrap();
    let entry = channel.releases.get_mut(&version).unwrap();
    entry.withdrawn = Some("It loses mail.".into());
    take(&store, &vendor.bundle("1.1.0", Some(&channel))).unwrap();
    let left: BTreeMap<_, _> = store
        .offered()
        .unwrap()
        .into_iter()
        .map(|(r, b)| (r.version, b))
        .collect();
    assert_eq!(
        left.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["1.1.0"]
    );
}

#[test]
fn whoever_is_trusted_anew_is_not_reached_by_what_was_open() {
    let (vendor, dir) = (Vendor::new(), tempfile::tempdir().unwrap());
    let store = vendor.appliance(dir.path());
    let offer = take(&store, &vendor.bundle("1.0.0", None)).unwrap();
    let other = Trust {
        fingerprint: Some(Digest::of(b"another")),
        ..Trust::default()
    };
    store.set_trust(&other).unwrap();
    assert!(offer.must_still_hold(&store, time(NOW)).is_err());
}
