//! A vendor with many keys: roots, channels and releases as he signs them, or as an attacker would.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test uses another part of it")]

use std::io::Cursor;

use berth_format::channel::{Accepted, Channel, ChannelError, Entry, Expiry, Kept, Seen};
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;
use berth_format::{ChannelName, Code, Digest, Product};
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

/// Key 0 signs roots and releases, 1 channels; 2 is nobody's yet.
pub struct World {
    pub ring: Ring,
    pub root: Root,
}
impl World {
    pub fn new() -> Self {
        let ring = Ring::new(4);
        let root = Self::root(&ring, 1, &[1]);
        Self { ring, root }
    }

    pub fn root(ring: &Ring, version: u32, channel: &[usize]) -> Root {
        let mut root = root(ring, version, 1, &[0]);
        root.roles.insert(Role::Channel, ring.keys(1, channel));
        root
    }

    /// The vendor names other channel keys.
    pub fn rotate(&mut self, keys: &[usize]) {
        self.root = Self::root(&self.ring, self.root.version + 1, keys);
    }

    pub fn judge(&self, seen: &Seen, channel: &Channel) -> Result<Accepted, ChannelError> {
        self.judge_by(1, seen, channel, now())
    }

    pub fn judge_by(
        &self,
        key: usize,
        seen: &Seen,
        channel: &Channel,
        clock: Timestamp,
    ) -> Result<Accepted, ChannelError> {
        let signatures = self.ring.channel_signatures(&[key], channel);
        self.raw(seen, &channel.to_bytes(), &signatures, clock)
    }

    pub fn raw(
        &self,
        seen: &Seen,
        bytes: &[u8],
        signatures: &[Vec<u8>],
        clock: Timestamp,
    ) -> Result<Accepted, ChannelError> {
        seen.judge(
            &self.root,
            &stable(),
            bytes,
            signatures,
            clock,
            Expiry::Enforced,
        )
    }
}
pub fn now() -> Timestamp {
    time("2026-03-10T00:00:00Z")
}
pub fn kept(seen: &Seen) -> &Kept {
    seen.get(&stable()).unwrap()
}
pub fn code(result: Result<Accepted, ChannelError>) -> Code {
    result.unwrap_err().refusal().code
}
