//! `channel.json`: which releases a channel offers, each by digest and size.
//!
//! A channel is a folder of static files: `<channel>/channel.json` beside the releases and blobs.
//! What is in the file says [`Channel`]; whether it is believed says [`Seen::judge`]; whether a
//! fetched file is the one that it names says [`Channel::release`]. A reader
//! fetches `channel.json`, then its signature under a name that holds the digest of these very
//! bytes ([`signed_name`]), so that it never gets one publication's file and another's signature.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::daemon;
use crate::digest::Digest;
use crate::name::{ChannelName, Product};
use crate::release;
use crate::rollout::Rollout;

mod judge;
mod named;

pub use judge::{Accepted, ChannelError, Expiry, Kept, Seen};
pub use named::NamedError;

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes of a channel file.
pub const MAX_BYTES: u64 = 1 << 20;

/// The name of the file in the folder of its channel.
pub const FILE: &str = "channel.json";

/// How long a channel is good when nobody says otherwise.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The most characters of the reason for a withdrawal.
pub const MAX_REASON: usize = 1000;

/// The name under which exactly these bytes of a channel are published for good; its signatures
/// are named after it.
pub fn signed_name(bytes: &Digest) -> String {
    format!("channel.{}.json", bytes.hex())
}

/// What a channel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose releases these are.
    pub product: Product,
    /// Which channel it is.
    pub channel: ChannelName,
    /// Grows with each publication, from 1.
    pub serial: u64,
    /// When it was signed.
    pub published: Timestamp,
    /// From this second on it is not believed: a mirror that stands still is noticed.
    pub expires: Timestamp,
    /// The releases, oldest first.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub releases: BTreeMap<Version, Entry>,
    /// Berth itself, if this channel updates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub berth: Option<Berth>,
}

/// A release in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Of `release-VERSION.json`.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// When this channel first offered it.
    pub published: Timestamp,
    /// Nobody may skip it; the same as in the release itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// It mends a security hole: offered to everybody at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
    /// Which share of the appliances it is offered to, and when. `None`: to all, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Why nobody should install it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// What to install in its place: listed, newer, and a stop if this is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<Version>,
}

/// The daemon that appliances should run: named here, signed for by the release key
/// ([`crate::daemon`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Berth {
    /// Of the daemon.
    pub version: Version,
    /// Of `berth-VERSION.json`.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
}

/// What a channel says of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is offered.
    Listed,
    /// Nobody should run it; `instead` is what to install, if there is something.
    Withdrawn {
        reason: Option<&'a str>,
        instead: Option<&'a Version>,
    },
    /// The channel does not know it (any more).
    Unlisted,
}

impl Channel {
    /// The bytes that are signed and published; the same for equal channels.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = crate::canonical(self);
        bytes.push(b'\n');
        bytes
    }

    /// Reads a channel whose bytes are already believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChannelError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ChannelError::TooLarge(bytes.len() as u64));
        }
        let channel: Self = serde_json::from_slice(bytes)?;
        if channel.format != FORMAT {
            return Err(ChannelError::Format(channel.format));
        }
        match channel.problem() {
            Some(problem) => Err(ChannelError::Unsound(problem)),
            None => Ok(channel),
        }
    }

    /// The first thing in it that cannot be so.
    pub fn problem(&self) -> Option<String> {
        if self.serial == 0 {
            return Some("serial 0, the first is 1".into());
        }
        if self.expires <= self.published {
            return Some("it expires before it is published".into());
        }
        let releases = self.releases.iter();
        let release = releases.filter_map(|(version, entry)| {
            let problem = self.problem_of(version, entry)?;
            Some(format!("release {version}: {problem}"))
        });
        let is_possible = |size: u64| size > 0 && size <= daemon::MAX_BYTES;
        let berth = self.berth.as_ref().filter(|berth| !is_possible(berth.size));
        release
            .chain(berth.map(|berth| format!("berth: {} bytes", berth.size)))
            .next()
    }

    fn problem_of(&self, version: &Version, entry: &Entry) -> Option<String> {
        if entry.size == 0 || entry.size > release::MAX_BYTES {
            return Some(format!("{} bytes", entry.size));
        }
        if entry.published > self.published {
            return Some("it is published after the channel".into());
        }
        if let Some(problem) = entry.rollout.as_ref().and_then(Rollout::problem) {
            return Some(problem);
        }
        if let Some(reason) = &entry.withdrawn
            && (reason.trim().is_empty()
                || reason.chars().count() > MAX_REASON
                || reason.chars().any(char::is_control))
        {
            return Some(format!(
                "its reason must be one line of at most {MAX_REASON} characters"
            ));
        }
        let by = entry.superseded_by.as_ref()?;
        match self.releases.get(by) {
            None => Some(format!("superseded by {by}, which is not listed")),
            Some(_) if by <= version => Some(format!("superseded by {by}, which is not newer")),
            Some(other) if other.stop != entry.stop => Some(format!(
                "superseded by {by}, of which only one is a stop that nobody may skip"
            )),
            Some(_) => None,
        }
    }

    /// What to install in place of a version that is superseded, however often that was itself.
    pub fn successor(&self, version: &Version) -> Option<&Version> {
        let mut last = None;
        let mut entry = self.releases.get(version);
        // Each one is newer than the one before it, so this ends.
        while let Some(by) = entry.and_then(|entry| entry.superseded_by.as_ref()) {
            last = Some(by);
            entry = self.releases.get(by);
        }
        last.filter(|by| {
            let entry = self.releases.get(*by);
            entry.is_some_and(|entry| entry.withdrawn.is_none())
        })
    }

    /// What this channel says of a version that is installed, or that somebody asks for.
    pub fn standing(&self, version: &Version) -> Standing<'_> {
        match self.releases.get(version) {
            None => Standing::Unlisted,
            Some(entry) if entry.withdrawn.is_none() && entry.superseded_by.is_none() => {
                Standing::Listed
            }
            Some(entry) => Standing::Withdrawn {
                reason: entry.withdrawn.as_deref(),
                instead: self.successor(version),
            },
        }
    }
}
