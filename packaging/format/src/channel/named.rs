//! What a channel names, once it is fetched.
//!
//! A validly signed file is not enough: an older build of a version, signed by the same key, would
//! do (*mix-and-match*). Checks, in this order:
//!
//! 1. The channel lists it.
//! 2. Its bytes have the size and the digest that the channel names.
//! 3. The release key has signed them, under the root as it is now, and they parse and are sound
//!    ([`crate::bundle::believe`], [`crate::daemon::believe`]).
//! 4. Whether nobody may skip it is the same in both: the channel key cannot talk a stop away.

use semver::Version;

use super::Channel;
use crate::bundle::{self, BundleError};
use crate::code::Code;
use crate::daemon::{self, Daemon, DaemonError};
use crate::digest::Digest;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::root::Root;

/// Why a file is not the one that a channel names.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    #[error("the channel does not list {0}")]
    Unlisted(String),
    #[error("{name} has {found_size} bytes and the digest {found}")]
    Differs {
        name: String,
        expected: Digest,
        expected_size: u64,
        found: Digest,
        found_size: u64,
    },
    #[error("{name}: channel and release do not agree whether it may be skipped")]
    Stop { name: String },
    #[error(transparent)]
    Release(#[from] BundleError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
}

impl Channel {
    /// Believes and reads a release that this channel lists.
    pub fn release(
        &self,
        root: &Root,
        version: &Version,
        bytes: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<Release, NamedError> {
        let name = format!("release-{version}.json");
        // 1
        let entry = self.releases.get(version);
        let entry = entry.ok_or_else(|| NamedError::Unlisted(name.clone()))?;
        // 2
        must_be(&name, entry.digest, entry.size, bytes)?;
        // 3
        let release = bundle::believe(root, version, bytes, signatures)?;
        // 4
        if release.upgrade.stop != entry.stop {
            return Err(NamedError::Stop { name });
        }
        Ok(release)
    }

    /// Believes and reads the daemon that this channel names.
    pub fn daemon(
        &self,
        root: &Root,
        bytes: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<Daemon, NamedError> {
        let berth = self.berth.as_ref();
        let berth = berth.ok_or_else(|| NamedError::Unlisted("a daemon".into()))?;
        let name = daemon::file_name(&berth.version);
        must_be(&name, berth.digest, berth.size, bytes)?;
        Ok(daemon::believe(root, &berth.version, bytes, signatures)?)
    }
}

fn must_be(name: &str, digest: Digest, size: u64, bytes: &[u8]) -> Result<(), NamedError> {
    let (found, found_size) = (Digest::of(bytes), bytes.len() as u64);
    if (found, found_size) == (digest, size) {
        return Ok(());
    }
    Err(NamedError::Differs {
        name: name.to_owned(),
        expected: digest,
        expected_size: size,
        found,
        found_size,
    })
}

impl NamedError {
    /// The refusal of the file.
    pub fn refusal(&self) -> Refusal {
        let mismatch = |expected: String, found: String| {
            Refusal::new(Code::ChannelMismatch, Code::ChannelMismatch.means())
                .because(expected, found)
        };
        match self {
            Self::Unlisted(name) => Refusal::new(Code::NotFound, Code::NotFound.means())
                .because(format!("{name} in the channel"), "no such entry"),
            Self::Differs {
                name,
                expected,
                expected_size,
                ..
            } => mismatch(
                format!("{name} with {expected_size} bytes and the digest {expected}"),
                self.to_string(),
            ),
            Self::Stop { name } => mismatch(
                format!("{name} as the channel describes it"),
                self.to_string(),
            ),
            Self::Release(error) => error.refusal(),
            Self::Daemon(error) => error.refusal(),
        }
    }
}

impl From<NamedError> for Refusal {
    fn from(error: NamedError) -> Self {
        error.refusal()
    }
}
