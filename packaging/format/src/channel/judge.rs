//! Whether a channel is believed.
//!
//! Threat: the mirror, the line and every cache between belong to an attacker. He has all files
//! that were ever published, of this and of other products, and may hold fewer channel keys than
//! the threshold. With enough of them he can re-offer what the release key has signed, never
//! anything else, and only until the root names other keys.
//!
//! [`Seen::judge`] checks, in this order, and changes nothing by itself:
//!
//! 1. The root that names the keys is not expired. Time is the later one of the clock and of the
//!    latest signed time that was seen, so that a clock which is set back wins nothing; and since
//!    only signed times are kept, a clock that was once wrong poisons nothing.
//! 2. At most 1 MiB (*endless data*).
//! 3. Enough channel keys signed these raw bytes (*arbitrary install*) as a channel of this product
//!    and name (*wrong product, channel, role*). Only now are they parsed.
//! 4. Strict JSON in a format that this Berth reads, and sound ([`Channel::problem`]).
//! 5. Product, channel and serial inside are the ones that were signed for in the comment.
//! 6. The serial is not lower than the one that is kept (*rollback*).
//! 7. The same serial has the same bytes (*equivocation*).
//! 8. It is not expired (*freeze*). An admin may waive this, for one bundle.
//!
//! The serial that is kept counts only while enough of the keys that signed it are channel keys of
//! the root. So after a stolen key published the highest serial there is, the vendor names another
//! key, and 1 is good again (*fast-forward*); the signed time that came with it is dropped too. The
//! old files are of no use to the thief: none is signed by the new key.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Channel, FORMAT, MAX_BYTES};
use crate::code::Code;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::name::ChannelName;
use crate::refusal::Refusal;
use crate::root::{Role, Root, RootError};
use crate::signature::{SignatureError, Subject};

/// Why a channel is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("{0} bytes, at most {MAX_BYTES} are read")]
    TooLarge(u64),
    #[error("the channel: {0}")]
    Signature(#[from] SignatureError),
    #[error("not a channel file: {0}")]
    Parse(#[from] serde_json::Error),
    #[error("format {0}, this Berth reads {FORMAT}")]
    Format(u32),
    #[error("{0}")]
    Unsound(String),
    #[error("serial {found}, {kept} was seen before")]
    Rollback { kept: u64, found: u64 },
    #[error("serial {serial} was {kept} before and is {found} now")]
    Equivocation {
        serial: u64,
        kept: Digest,
        found: Digest,
    },
    #[error("expired at {expires}, it is {now}")]
    Expired { expires: Timestamp, now: Timestamp },
    /// A server said that nothing has changed since what this appliance does not have.
    #[error("nothing is kept of channel {0}")]
    NotKept(ChannelName),
}

/// Whether a channel may be past its expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// No.
    Enforced,
    /// An admin said so, for the one bundle that it comes from.
    Waived,
}

/// What is kept of the channels that were believed, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeMap<ChannelName, Kept>);

/// What is kept of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The highest that was believed.
    pub serial: u64,
    /// Of the bytes under this serial.
    pub digest: Digest,
    /// The keys that signed them.
    pub signers: BTreeSet<PublicKey>,
    /// The latest signed time that this channel has shown.
    pub signed: Timestamp,
    /// When these bytes expire.
    pub expires: Timestamp,
}

/// A channel that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub channel: Channel,
    /// To keep, before anything that it names is fetched.
    pub seen: Seen,
    /// The later one of the clock and of the latest signed time.
    pub now: Timestamp,
}

impl Kept {
    /// Whether this root still names enough of the keys that signed it.
    fn counts(&self, root: &Root) -> bool {
        let Some(keys) = root.roles.get(&Role::Channel) else {
            return false;
        };
        let still = keys.public().intersection(&self.signers).count();
        still >= keys.threshold.max(1) as usize
    }
}

impl Seen {
    /// What is kept of a channel.
    pub fn get(&self, channel: &ChannelName) -> Option<&Kept> {
        self.0.get(channel)
    }

    /// What still counts under this root: to be kept in the same write as the root itself.
    #[must_use]
    pub fn under(&self, root: &Root) -> Self {
        let kept = self.0.iter().filter(|(_, kept)| kept.counts(root));
        Self(
            kept.map(|(name, kept)| (name.clone(), kept.clone()))
                .collect(),
        )
    }

    /// The time to judge by: the later one of the clock and of the latest signed time.
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        self.0
            .values()
            .fold(clock, |now, kept| now.max(kept.signed))
    }

    /// Believes `bytes` as the channel of this name, or says which check failed; numbered above.
    pub fn judge(
        &self,
        root: &Root,
        name: &ChannelName,
        bytes: &[u8],
        signatures: &[Vec<u8>],
        clock: Timestamp,
        expiry: Expiry,
    ) -> Result<Accepted, ChannelError> {
        let mut seen = self.under(root);
        let now = seen.now(clock);
        // 1
        root.must_be_fresh(now)?;
        // 2
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ChannelError::TooLarge(bytes.len() as u64));
        }
        // 3
        let signatures: Vec<_> = signatures.iter().map(Vec::as_slice).collect();
        root.signers(
            Role::Channel,
            bytes,
            &signatures,
            |comment| match Subject::serial(comment, &root.product, name) {
                Some(_) => Ok(()),
                None => Err(SignatureError::Subject {
                    expected: format!("channel {name} of {}", root.product),
                    found: comment.chars().take(200).collect(),
                }),
            },
        )?;
        // 4
        let channel = Channel::parse(bytes)?;
        // 5
        if channel.product != root.product || channel.channel != *name {
            return Err(ChannelError::Unsound(format!(
                "it is channel {} of {}",
                channel.channel, channel.product
            )));
        }
        let subject = Subject::Channel {
            product: &root.product,
            channel: name,
            serial: channel.serial,
        };
        let signers = root.verify(Role::Channel, bytes, &signatures, &subject)?;
        let digest = Digest::of(bytes);
        let kept = seen.get(name);
        if let Some(kept) = kept {
            // 6
            if channel.serial < kept.serial {
                return Err(ChannelError::Rollback {
                    kept: kept.serial,
                    found: channel.serial,
                });
            }
            // 7
            if channel.serial == kept.serial && digest != kept.digest {
                return Err(ChannelError::Equivocation {
                    serial: kept.serial,
                    kept: kept.digest,
                    found: digest,
                });
            }
        }
        // 8
        if expiry == Expiry::Enforced && now >= channel.expires {
            return Err(ChannelError::Expired {
                expires: channel.expires,
                now,
            });
        }
        let signed = kept.map_or(channel.published, |kept| kept.signed.max(channel.published));
        let kept = Kept {
            serial: channel.serial,
            digest,
            signers,
            signed,
            expires: channel.expires,
        };
        seen.0.insert(name.clone(), kept);
        let now = seen.now(clock);
        Ok(Accepted { channel, seen, now })
    }

    /// After a server said that the channel has not changed: whether what is kept is still good.
    /// Without this a "304 Not Modified" for ever would be a freeze.
    pub fn still_fresh(
        &self,
        root: &Root,
        name: &ChannelName,
        clock: Timestamp,
    ) -> Result<(), ChannelError> {
        let seen = self.under(root);
        let now = seen.now(clock);
        root.must_be_fresh(now)?;
        let kept = seen.get(name);
        let kept = kept.ok_or_else(|| ChannelError::NotKept(name.clone()))?;
        if now >= kept.expires {
            return Err(ChannelError::Expired {
                expires: kept.expires,
                now,
            });
        }
        Ok(())
    }
}

impl ChannelError {
    /// The refusal of the channel.
    pub fn refusal(&self) -> Refusal {
        let as_code = |code: Code| Refusal::new(code, code.means());
        match self {
            Self::Root(error) => error.refusal(),
            Self::Signature(error) => error.refusal("the channel").next(
                "Nothing is installed from it; tell the vendor which server or mirror this is.",
            ),
            Self::TooLarge(size) => as_code(Code::BundleTooLarge)
                .because(
                    format!("at most {MAX_BYTES} bytes in channel.json"),
                    format!("{size} bytes"),
                )
                .next("Tell the vendor which server or mirror this is."),
            Self::Parse(_) | Self::Format(_) | Self::Unsound(_) => as_code(Code::ManifestInvalid)
                .because("a channel that this Berth reads", self.to_string()),
            Self::Rollback { kept, found } => as_code(Code::ChannelRollback).because(
                format!("serial {kept} or higher"),
                format!("serial {found}"),
            ),
            Self::Equivocation {
                serial,
                kept,
                found,
            } => as_code(Code::ChannelEquivocation).because(
                format!("serial {serial} with the digest {kept}"),
                found.to_string(),
            ),
            Self::Expired { expires, now } => Refusal::new(
                Code::TrustExpired,
                "the channel is past its expiry",
            )
            .because(format!("an expiry after {now}"), expires.to_string())
            .next("Check this machine's clock; else the server stands still: tell the vendor."),
            Self::NotKept(name) => as_code(Code::Internal)
                .because(format!("channel {name}"), "only that it has not changed"),
        }
    }
}

impl From<ChannelError> for Refusal {
    fn from(error: ChannelError) -> Self {
        error.refusal()
    }
}
