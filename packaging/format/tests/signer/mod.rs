//! A vendor with many keys: roots, channels and releases as he signs them, or as an attacker would.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test uses another part of it")]

use std::io::Cursor;

use berth_format::channel::{Channel, Entry};
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;
use berth_format::{ChannelName, Digest, Product};
use jiff::Timestamp;
use minisign::KeyPair;

/// Keys by number, so that a table can name them.
pub struct Ring(Vec<KeyPair>);

impl Ring {
    pub fn new(count: usize) -> Self {
        let pair = |_| KeyPair::generate_unencrypted_keypair().unwrap();
        Self((0..count).map(pair).collect())
    }

    pub fn text(&self, key: usize) -> String {
        self.0[key].pk.to_base64()
    }

    pub fn keys(&self, threshold: u32, keys: &[usize]) -> Keys {
        Keys {
            threshold,
            keys: keys.iter().map(|key| self.text(*key)).collect(),
        }
    }

    /// Whatever it is, signed as whatever it says.
    pub fn sign_as(&self, key: usize, bytes: &[u8], comment: &str) -> Vec<u8> {
        let pair = &self.0[key];
        minisign::sign(None, &pair.sk, Cursor::new(bytes), Some(comment), None)
            .unwrap()
            .into_string()
            .into_bytes()
    }

    pub fn sign(&self, keys: &[usize], bytes: &[u8], subject: &Subject<'_>) -> Vec<Vec<u8>> {
        let comment = subject.to_string();
        let sign = |key: &usize| self.sign_as(*key, bytes, &comment);
        keys.iter().map(sign).collect()
    }

    pub fn root_signatures(&self, keys: &[usize], root: &Root, bytes: &[u8]) -> Vec<Vec<u8>> {
        let subject = Subject::Root {
            product: &root.product,
            version: root.version,
        };
        self.sign(keys, bytes, &subject)
    }

    pub fn channel_signatures(&self, keys: &[usize], channel: &Channel) -> Vec<Vec<u8>> {
        let subject = Subject::Channel {
            product: &channel.product,
            channel: &channel.channel,
            serial: channel.serial,
        };
        self.sign(keys, &channel.to_bytes(), &subject)
    }
}

pub fn product() -> Product {
    "lantern".parse().unwrap()
}

pub fn stable() -> ChannelName {
    "stable".parse().unwrap()
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A root whose root keys are these; key 0 signs releases.
pub fn root(ring: &Ring, version: u32, threshold: u32, keys: &[usize]) -> Root {
    Root {
        format: 1,
        product: product(),
        version,
        expires: time("2036-01-01T00:00:00Z"),
        roles: [
            (Role::Root, ring.keys(threshold, keys)),
            (Role::Release, ring.keys(1, &[0])),
        ]
        .into(),
    }
}

/// A channel with these releases, published on this day of March 2026 and good for a fortnight.
pub fn channel(serial: u64, day: u32, versions: &[&str]) -> Channel {
    let published = time(&format!("2026-03-{day:02}T12:00:00Z"));
    let entry = |version: &&str| {
        let digest = Digest::of(version.as_bytes());
        let entry = Entry {
            digest,
            size: 1000,
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
        format: 1,
        product: product(),
        channel: stable(),
        serial,
        published,
        expires: published + berth_format::channel::LIFETIME,
        releases: versions.iter().map(entry).collect(),
        berth: None,
    }
}
