//! Bytes become a story: channels are offered, channel keys are rotated, clocks go forth and back,
//! the appliance restarts. Each verdict is held against a plain model of the numbered checks.
//!
//! - Believed is what the model believes, and nothing else.
//! - What is kept only grows, but for what a rotation takes away.
//! - What is kept survives a restart.

use std::collections::BTreeSet;

use berth_format::channel::{Channel, ChannelError, Expiry, Seen};
use berth_format::root::{Role, Root};
use berth_format::signature::Subject;
use berth_format::{ChannelName, Digest};
use jiff::{SignedDuration, Timestamp};

use crate::bytes::Bytes;
use crate::keys;

const CHANNEL_KEYS: [usize; 4] = [2, 3, 4, 5];

/// The model of what is kept of a channel.
#[derive(Clone)]
struct Kept {
    serial: u64,
    digest: Digest,
    signers: BTreeSet<usize>,
    signed: Timestamp,
}

struct World {
    root: Root,
    /// The channel keys of the root, and how many must sign.
    keys: Vec<usize>,
    threshold: usize,
    seen: Seen,
    /// By channel: stable, beta.
    kept: [Option<Kept>; 2],
    names: [ChannelName; 2],
}

pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World {
        root: keys::root(1),
        keys: vec![2],
        threshold: 1,
        seen: Seen::default(),
        kept: [None, None],
        names: ["stable", "beta"].map(|name| name.parse().unwrap()),
    };
    for _ in 0..12 {
        if bytes.0.is_empty() {
            break;
        }
        match bytes.below(8) {
            0 => world.rotate(&mut bytes),
            1 => world.restart(),
            2 => world.not_modified(&mut bytes),
            _ => world.offer(&mut bytes),
        }
    }
}

/// Days of March 2026 and after it.
fn day(n: u8) -> Timestamp {
    let first: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    first + SignedDuration::from_hours(12 * i64::from(n))
}

impl World {
    fn rotate(&mut self, bytes: &mut Bytes<'_>) {
        self.keys = bytes.some(CHANNEL_KEYS);
        if self.keys.is_empty() {
            self.root.roles.remove(&Role::Channel);
        } else {
            self.threshold = 1 + usize::from(bytes.byte()) % self.keys.len();
            let threshold = u32::try_from(self.threshold).unwrap();
            let role = keys::role(threshold, &self.keys);
            self.root.roles.insert(Role::Channel, role);
        }
        self.root.version += 1;
        self.root.expires = day(bytes.byte().max(40));
        self.seen = self.seen.under(&self.root);
        for at in [0, 1] {
            if self.kept[at]
                .as_ref()
                .is_some_and(|kept| !self.counts(kept))
            {
                self.kept[at] = None;
            }
            let is_kept = self.seen.get(&self.names[at]).is_some();
            assert_eq!(is_kept, self.kept[at].is_some());
        }
    }

    fn counts(&self, kept: &Kept) -> bool {
        let still = self.keys.iter().filter(|key| kept.signers.contains(key));
        !self.keys.is_empty() && still.count() >= self.threshold
    }

    fn restart(&mut self) {
        let text = serde_json::to_string(&self.seen).unwrap();
        let again: Seen = serde_json::from_str(&text).unwrap();
        assert_eq!(again, self.seen);
        self.seen = again;
    }

    fn now(&self, clock: Timestamp) -> Timestamp {
        let signed = self.kept.iter().flatten().map(|kept| kept.signed);
        signed.fold(clock, Timestamp::max)
    }

    fn not_modified(&mut self, bytes: &mut Bytes<'_>) {
        let (at, clock) = (usize::from(bytes.below(2)), day(bytes.byte()));
        let now = self.now(clock);
        assert_eq!(self.seen.now(clock), now);
        let fresh = self.seen.still_fresh(&self.root, &self.names[at], clock);
        let expires = self.seen.get(&self.names[at]).map(|kept| kept.expires);
        let is_fresh = now < self.root.expires && expires.is_some_and(|expires| now < expires);
        assert_eq!(fresh.is_ok(), is_fresh);
    }

    fn offer(&mut self, bytes: &mut Bytes<'_>) {
        let at = usize::from(bytes.below(2));
        let (serial, published, clock) = (bytes.byte(), bytes.byte(), day(bytes.byte()));
        let signers = bytes.some([2, 3, 4, 5, 0, 1]);
        let oddity = bytes.byte();
        let serial = if serial == 255 {
            u64::MAX
        } else {
            serial.into()
        };
        let mut channel = Channel {
            format: 1,
            product: keys::product(),
            channel: self.names[at].clone(),
            serial,
            published: day(published),
            expires: day(published) + SignedDuration::from_hours(12 * i64::from(oddity % 32)),
            releases: [].into(),
            berth: None,
        };
        let mut is_good = serial > 0 && channel.expires > channel.published;
        match oddity / 32 {
            1 => channel.product = "other".parse().unwrap(),
            2 => channel.channel = self.names[1 - at].clone(),
            3 => channel.format = 2,
            _ => {}
        }
        is_good &= !(1..=3).contains(&(oddity / 32));
        let content = channel.to_bytes();
        let (product, other) = (keys::product(), "other".parse().unwrap());
        let subject = Subject::Channel {
            product: if oddity / 32 == 4 { &other } else { &product },
            channel: &self.names[at],
            serial: serial.wrapping_add(u64::from(oddity / 32 == 5)),
        };
        is_good &= !(4..=5).contains(&(oddity / 32));
        let signatures: Vec<_> = signers
            .iter()
            .map(|key| keys::sign(*key, &content, &subject))
            .collect();
        let expiry = match oddity / 32 {
            6 => Expiry::Waived,
            _ => Expiry::Enforced,
        };

        let digest = Digest::of(&content);
        let now = self.now(clock);
        let counted: BTreeSet<usize> = signers
            .into_iter()
            .filter(|key| self.keys.contains(key))
            .collect();
        let is_signed = !self.keys.is_empty() && counted.len() >= self.threshold;
        let before = self.kept[at].clone();
        let is_later = before.as_ref().is_none_or(|kept| {
            serial > kept.serial || (serial == kept.serial && digest == kept.digest)
        });
        let is_fresh = expiry == Expiry::Waived || now < channel.expires;
        let is_believed = now < self.root.expires && is_signed && is_good && is_later && is_fresh;

        let verdict = self.seen.judge(
            &self.root,
            &self.names[at],
            &content,
            &signatures,
            clock,
            expiry,
        );
        match verdict {
            Ok(accepted) => {
                assert!(is_believed);
                assert_eq!(accepted.channel, channel);
                let signed = before.map_or(channel.published, |kept| {
                    assert!(serial >= kept.serial);
                    kept.signed.max(channel.published)
                });
                self.kept[at] = Some(Kept {
                    serial,
                    digest,
                    signers: counted,
                    signed,
                });
                self.seen = accepted.seen;
                assert_eq!(accepted.now, self.now(clock));
                let kept = self.seen.get(&self.names[at]).unwrap();
                assert_eq!((kept.serial, kept.digest), (serial, digest));
                assert_eq!((kept.signed, kept.expires), (signed, channel.expires));
            }
            Err(error) => {
                assert!(!is_believed, "{error}");
                let _ = error.refusal();
                // An attack is called by its name, where nothing else is wrong.
                if is_signed && is_good && !is_later && now < self.root.expires {
                    let is_named = matches!(
                        error,
                        ChannelError::Rollback { .. } | ChannelError::Equivocation { .. }
                    );
                    assert!(is_named, "{error}");
                }
            }
        }
    }
}
