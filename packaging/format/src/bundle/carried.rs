//! What a bundle carries besides releases: its vendor's channel, and the daemon that this names.
//!
//! Threat: a bundle is as well signed as on its first day for as long as the keys live. Whoever
//! hands over an old one, or one of another channel, has nothing to forge. So the channel in it goes
//! through the checks of a channel that is followed ([`Opened::believe_channel`]), in this order:
//!
//! 1. It is the channel that this appliance follows, if it follows one (*wrong channel*).
//! 2. All of [`Seen::judge`]: signature, product, name, serial (*replay of an old bundle*,
//!    *equivocation*) and expiry (*freeze*), which alone an admin may waive for this one bundle.
//! 3. Each release of the bundle is one that the channel lists, with its digest and size, and the
//!    daemon is the one that it names (*mix-and-match*).
//!
//! The list of the bundle, which a release key has signed, says which channel it is.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use jiff::Timestamp;
use semver::Version;

use super::read::{BundleError, Members};
use super::walk::Opened;
use super::{Index, signature};
use crate::channel::{self, Accepted, ChannelError, Expiry, NamedError, Seen};
use crate::code::Code;
use crate::daemon::{self, Daemon};
use crate::name::ChannelName;
use crate::refusal::Refusal;
use crate::root::Root;

/// The channel's file as it lies in the bundle, not believed.
#[derive(Debug, Clone)]
pub struct Carried {
    /// As the list says.
    pub name: ChannelName,
    pub bytes: Vec<u8>,
    /// minisign's files, in their order.
    pub signatures: Vec<Vec<u8>>,
}

/// The daemon as it was signed.
#[derive(Debug, Clone)]
pub struct CarriedDaemon {
    pub daemon: Daemon,
    /// The bytes that were signed.
    pub bytes: Vec<u8>,
    /// minisign's files, in their order.
    pub signatures: Vec<Vec<u8>>,
}

/// Why the channel of a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum CarriedError {
    #[error("the bundle is of channel {found}, {followed} is followed")]
    Other {
        followed: ChannelName,
        found: ChannelName,
    },
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Named(#[from] NamedError),
}

impl Carried {
    /// Checks 1 and 2: also for a channel that was believed before and may be old by now.
    pub fn judge(
        &self,
        root: &Root,
        seen: &Seen,
        followed: Option<&ChannelName>,
        clock: Timestamp,
        expiry: Expiry,
    ) -> Result<Accepted, CarriedError> {
        // 1
        if let Some(followed) = followed.filter(|followed| **followed != self.name) {
            return Err(CarriedError::Other {
                followed: followed.clone(),
                found: self.name.clone(),
            });
        }
        // 2
        let Self {
            name,
            bytes,
            signatures,
        } = self;
        Ok(seen.judge(root, name, bytes, signatures, clock, expiry)?)
    }
}

impl Opened {
    /// Believes the channel that the bundle carries, or says which check failed; numbered above.
    /// `None`: it carries none.
    pub fn believe_channel(
        &self,
        root: &Root,
        seen: &Seen,
        followed: Option<&ChannelName>,
        clock: Timestamp,
        expiry: Expiry,
    ) -> Result<Option<Accepted>, CarriedError> {
        let Some(carried) = self.channel() else {
            return Ok(None);
        };
        // 1, 2
        let accepted = carried.judge(root, seen, followed, clock, expiry)?;
        // 3
        let channel = &accepted.channel;
        for signed in self.releases() {
            let version = &signed.release.version;
            channel.release(root, version, &signed.bytes, &signed.signatures)?;
        }
        if let Some(signed) = self.daemon() {
            channel.daemon(root, &signed.bytes, &signed.signatures)?;
        }
        Ok(Some(accepted))
    }
}

impl CarriedError {
    /// The refusal of the bundle.
    pub fn refusal(&self) -> Refusal {
        let as_code = |code: Code| Refusal::new(code, code.means());
        match self {
            Self::Other { followed, found } => as_code(Code::WrongChannel)
                .because(format!("channel {followed}"), format!("channel {found}")),
            Self::Channel(ChannelError::Expired { expires, now }) => as_code(Code::BundleExpired)
                .because(format!("an expiry after {now}"), expires.to_string()),
            Self::Channel(error @ ChannelError::Rollback { .. }) => error
                .refusal()
                .next("This is an old bundle: get the newest one from the vendor."),
            Self::Channel(error @ ChannelError::Signature(_)) => error
                .refusal()
                .next("Install nothing from it; tell the vendor where this bundle came from."),
            Self::Channel(error) => error.refusal(),
            Self::Named(error) => error
                .refusal()
                .next("Install nothing from it; tell the vendor where this bundle came from."),
        }
    }
}

impl From<CarriedError> for Refusal {
    fn from(error: CarriedError) -> Self {
        error.refusal()
    }
}

/// Reads the signed files that stand before the blobs, each with as many signatures as are listed.
pub(super) struct Signed<'a, F> {
    file: &'a mut F,
    members: &'a mut Members,
    // How many signatures the list has of a file.
    counts: BTreeMap<&'a str, usize>,
}

impl<'a, F: Read + Seek> Signed<'a, F> {
    pub(super) fn new(file: &'a mut F, index: &'a Index, members: &'a mut Members) -> Self {
        let mut counts = BTreeMap::new();
        for member in &index.members {
            if let Some((name, _)) = signature::read_file_name(&member.name) {
                *counts.entry(name).or_insert(0) += 1;
            }
        }
        Self {
            file,
            members,
            counts,
        }
    }

    /// A file of at most `max` bytes, and its signatures.
    pub(super) fn take(
        &mut self,
        name: &str,
        max: u64,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), BundleError> {
        let bytes = self.one(name, max)?;
        let mut signatures = Vec::new();
        // One that is not listed is missed by its name.
        for n in 1..=self.counts.get(name).copied().unwrap_or(1) {
            let name = signature::file_name(name, n);
            signatures.push(self.one(&name, signature::MAX_BYTES as u64)?);
        }
        Ok((bytes, signatures))
    }

    fn one(&mut self, name: &str, max: u64) -> Result<Vec<u8>, BundleError> {
        match self.members.next(self.file)? {
            Some((member, _)) if member.name == name => Members::bytes(self.file, &member, max),
            Some((member, _)) => Err(BundleError::Member(member.name)),
            None => Err(BundleError::Missing(name.to_owned())),
        }
    }

    pub(super) fn channel(&mut self, name: &ChannelName) -> Result<Carried, BundleError> {
        let (bytes, signatures) = self.take(channel::FILE, channel::MAX_BYTES)?;
        Ok(Carried {
            name: name.clone(),
            bytes,
            signatures,
        })
    }

    pub(super) fn daemon(
        &mut self,
        version: &Version,
        root: &Root,
    ) -> Result<CarriedDaemon, BundleError> {
        let (bytes, signatures) = self.take(&daemon::file_name(version), daemon::MAX_BYTES)?;
        Ok(CarriedDaemon {
            daemon: daemon::believe(root, version, &bytes, &signatures)?,
            bytes,
            signatures,
        })
    }
}
