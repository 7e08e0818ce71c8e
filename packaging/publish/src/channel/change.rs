//! What may be done to the list of a channel. A release, once offered, never changes.

use berth_format::Digest;
use berth_format::channel::{Channel, Entry};
use berth_format::rollout::{Rollout, Share};
use jiff::Timestamp;
use semver::Version;

/// Why a change makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("channel {channel} does not offer {version}")]
    Unlisted { channel: String, version: Version },
    #[error("channel {channel} offers another {version}")]
    Differs { channel: String, version: Version },
    #[error("channel {channel} has withdrawn {version}")]
    Withdrawn { channel: String, version: Version },
    #[error("{0}")]
    Unsound(String),
}

/// A release, and how it is to be offered.
#[derive(Debug, Clone)]
pub struct Offer {
    pub version: Version,
    /// It mends a security hole.
    pub security: bool,
    /// To a growing share of appliances: hours since it began, permille. Empty: to all at once.
    pub shares: Vec<Share>,
    /// When the rollout begins, if not when it is published.
    pub begins: Option<Timestamp>,
}

/// Offers a release, or offers it in another way.
pub(super) fn offer(
    channel: &mut Channel,
    offer: &Offer,
    mut entry: Entry,
) -> Result<(), ChangeError> {
    let old = channel.releases.get(&offer.version);
    if old.is_some() {
        must_be_offered(channel, &offer.version, &entry.digest)?;
    }
    if let Some(old) = old {
        entry.published = old.published;
    }
    if !offer.shares.is_empty() {
        // A rollout that is under way is not begun anew.
        let began = old
            .and_then(|old| old.rollout.as_ref())
            .map(|old| old.begins);
        entry.rollout = Some(Rollout {
            begins: offer.begins.or(began).unwrap_or(channel.published),
            shares: offer.shares.clone(),
        });
    }
    channel.releases.insert(offer.version.clone(), entry);
    Ok(())
}

/// Refuses a version that a channel does not offer with this digest.
pub(crate) fn must_be_offered(
    channel: &Channel,
    version: &Version,
    digest: &Digest,
) -> Result<(), ChangeError> {
    let place = || (channel.channel.to_string(), version.clone());
    match channel.releases.get(version) {
        None => {
            let (channel, version) = place();
            Err(ChangeError::Unlisted { channel, version })
        }
        Some(entry) if entry.withdrawn.is_some() || entry.superseded_by.is_some() => {
            let (channel, version) = place();
            Err(ChangeError::Withdrawn { channel, version })
        }
        Some(entry) if entry.digest != *digest => {
            let (channel, version) = place();
            Err(ChangeError::Differs { channel, version })
        }
        Some(_) => Ok(()),
    }
}

/// Says why nobody should run a release, and what to run instead.
pub(super) fn withdraw(
    channel: &mut Channel,
    version: &Version,
    reason: &str,
    superseded_by: Option<&Version>,
) -> Result<(), ChangeError> {
    let name = channel.channel.to_string();
    let entry = channel.releases.get_mut(version);
    let entry = entry.ok_or_else(|| ChangeError::Unlisted {
        channel: name,
        version: version.clone(),
    })?;
    entry.withdrawn = Some(reason.to_owned());
    if superseded_by.is_some() {
        entry.superseded_by = superseded_by.cloned();
    }
    Ok(())
}
