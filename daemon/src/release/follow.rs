//! Follows a channel: newer roots, then the channel, then the releases that it names.
//!
//! Threat: whoever holds the server, the line, or a cache between answers as he likes; he may also
//! hold the channel key. What is believed is decided in [`berth_format::root`] and
//! [`berth_format::channel`], whose checks are numbered there. Here is what is asked, in which
//! order, and that each thing is kept before the next is asked for:
//!
//! 1. Roots, one after the other, each kept with the serials that still count under it, also an
//!    expired one. At most 1,024.
//! 2. The channel. Its serial is kept before anything that it names is fetched. A server that says
//!    "not modified" is believed only while what is kept is not expired.
//! 3. Releases: of the size and digest that the channel names, signed by the release key, and of
//!    that product and version. Only those that are newer than what is installed.
//!
//! A publication in the middle of this can make a signature not fit: then all of it is done once
//! more before it is called wrong.

use std::future::Future;

use berth_format::channel::{self, Channel, ChannelError, Entry, Expiry, NamedError};
use berth_format::root::{self, Chain, Role, Root, RootError};
use berth_format::signature::{self, MAX_FILES};
use berth_format::{ChannelName, Code, Digest, Refusal};
use jiff::Timestamp;
use semver::Version;

use super::download::{Answer, Client, DownloadError, Small, Tag};
use crate::store::{Following, Store, StoreError, Trust};

#[cfg(test)]
mod tests;

/// The most releases whose descriptions are fetched: the newest.
const MOST: usize = 100;

/// What fetches small files. A test puts a folder in its place.
pub trait Web: Sync {
    fn small(
        &self,
        name: &str,
        kind: Small,
        known: Option<&Tag>,
    ) -> impl Future<Output = Result<Answer, DownloadError>> + Send;
}

impl Web for Client {
    async fn small(
        &self,
        name: &str,
        kind: Small,
        known: Option<&Tag>,
    ) -> Result<Answer, DownloadError> {
        self.fetch(name, kind, known).await
    }
}

/// Why a channel cannot be followed. What was believed before stays.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("no channel is followed")]
    NoChannel,
    #[error("this appliance trusts nobody yet")]
    NoTrust,
    #[error("the server's first root is {found}, {expected} was confirmed")]
    Fingerprint { expected: Digest, found: Digest },
    #[error("what this appliance trusts or follows was changed meanwhile")]
    Moved,
    #[error("the server has no {0}")]
    Missing(String),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Named(#[from] NamedError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FollowError {
    /// As a person reads it.
    pub fn refusal(&self) -> Refusal {
        let as_code = |code: Code| Refusal::new(code, code.means());
        match self {
            Self::NoChannel => as_code(Code::ChannelMissing),
            Self::NoTrust => as_code(Code::TrustMissing),
            Self::Fingerprint { expected, found } => {
                as_code(Code::TrustFingerprint).because(expected.to_string(), found.to_string())
            }
            Self::Moved => Refusal::new(Code::PlanMoved, self.to_string()).next("Try again."),
            Self::Missing(name) => as_code(Code::DownloadMissing)
                .because(name.clone(), "the server says that there is none"),
            Self::Download(error) => error.refusal(),
            Self::Root(error) => error.refusal(),
            Self::Channel(error) => error.refusal(),
            Self::Named(error) => error.refusal(),
            Self::Store(error) => crate::api::internal(error),
        }
    }

    /// Whether a publication in the middle can be the reason.
    fn may_be_a_publication(&self) -> bool {
        matches!(
            self,
            Self::Channel(ChannelError::Signature(_)) | Self::Missing(_) | Self::Named(_)
        )
    }
}

/// Looks what the channel offers, and keeps it. `installed`: older releases are not asked for.
pub async fn check<W: Web>(
    web: &W,
    store: &Store,
    installed: Option<&Version>,
    clock: Timestamp,
) -> Result<Channel, FollowError> {
    match once(web, store, installed, clock).await {
        Err(error) if error.may_be_a_publication() => {
            log::info!("{error}; all of it is asked for once more");
            once(web, store, installed, clock).await
        }
        result => result,
    }
}

async fn once<W: Web>(
    web: &W,
    store: &Store,
    installed: Option<&Version>,
    clock: Timestamp,
) -> Result<Channel, FollowError> {
    let root = roots(web, store).await?;
    let channel = channel(web, store, &root, clock).await?;
    releases(web, store, &root, &channel, installed).await?;
    Ok(channel)
}

/// The newest root, each on the way to it kept.
async fn roots<W: Web>(web: &W, store: &Store) -> Result<Root, FollowError> {
    let trust = store.trust()?;
    let first = match &trust.root {
        Some(text) => Root::parse(text.as_bytes())?,
        None => first_root(web, store, &trust).await?,
    };
    let mut chain = Chain::new(first);
    loop {
        let name = root::file_name(chain.wanted()?);
        let Answer::Fresh { bytes, .. } = web.small(&name, Small::Root, None).await? else {
            return Ok(chain.into_root());
        };
        let signatures = signatures(web, &name, MAX_FILES).await?;
        let root = chain.step(&bytes, &signatures)?;
        keep_root(store, trust.fingerprint, &bytes, root)?;
        log::info!("root {} of {} is trusted", root.version, root.product);
    }
}

async fn first_root<W: Web>(web: &W, store: &Store, trust: &Trust) -> Result<Root, FollowError> {
    let expected = trust.fingerprint.ok_or(FollowError::NoTrust)?;
    let name = root::file_name(1);
    let Answer::Fresh { bytes, .. } = web.small(&name, Small::Root, None).await? else {
        return Err(FollowError::Missing(name));
    };
    let found = Digest::of(&bytes);
    if found != expected {
        return Err(FollowError::Fingerprint { expected, found });
    }
    let signatures = signatures(web, &name, MAX_FILES).await?;
    let root = Root::first(&bytes, &signatures)?;
    keep_root(store, trust.fingerprint, &bytes, &root)?;
    Ok(root)
}

fn keep_root(
    store: &Store,
    fingerprint: Option<Digest>,
    bytes: &[u8],
    root: &Root,
) -> Result<(), FollowError> {
    store.believe(|believed| {
        let trust = &mut believed.trust;
        if trust.fingerprint != fingerprint {
            return Err(FollowError::Moved);
        }
        let kept = trust
            .root
            .as_deref()
            .map(|text| Root::parse(text.as_bytes()));
        // A bundle may have brought a later one meanwhile.
        if kept
            .transpose()?
            .is_none_or(|kept| kept.version < root.version)
        {
            // Strict JSON is UTF-8.
            trust.root = Some(String::from_utf8_lossy(bytes).into_owned());
            trust.seen = trust.seen.under(root);
        }
        Ok(())
    })
}

/// Signatures of a file, as far as there are any; no more than can be needed.
async fn signatures<W: Web>(web: &W, name: &str, most: usize) -> Result<Vec<Vec<u8>>, FollowError> {
    let mut all = Vec::new();
    for n in 1..=most.min(MAX_FILES) {
        let name = signature::file_name(name, n);
        match web.small(&name, Small::Signature, None).await? {
            Answer::Fresh { bytes, .. } => all.push(bytes),
            Answer::Missing | Answer::NotModified if n == 1 => {
                return Err(FollowError::Missing(name));
            }
            Answer::Missing | Answer::NotModified => break,
        }
    }
    Ok(all)
}

/// So many signatures are asked for: one where one suffices, else all that there are.
fn most(root: &Root, role: Role) -> usize {
    match root.threshold(role) {
        Some(1) | None => 1,
        Some(_) => MAX_FILES,
    }
}

async fn channel<W: Web>(
    web: &W,
    store: &Store,
    root: &Root,
    clock: Timestamp,
) -> Result<Channel, FollowError> {
    let following = store.following()?.ok_or(FollowError::NoChannel)?;
    let trust = store.trust()?;
    let name = following.settings.name.clone();
    let path = format!("{name}/{}", channel::FILE);
    let known = kept(&following, &trust, root, &name).and(following.tag.as_ref());
    let (bytes, tag) = match (web.small(&path, Small::Channel, known).await?, known) {
        (Answer::NotModified, Some(_)) => {
            return store.believe(|believed| {
                let following = same(&following, &mut believed.following)?;
                believed.trust.seen.still_fresh(root, &name, clock)?;
                following.checked = Some(clock);
                kept(following, &believed.trust, root, &name)
                    .ok_or_else(|| ChannelError::NotKept(name.clone()).into())
            });
        }
        // "Not modified" answers no question that was asked here.
        (Answer::Missing | Answer::NotModified, _) => return Err(FollowError::Missing(path)),
        (Answer::Fresh { bytes, tag }, _) => (bytes, tag),
    };
    let signed = format!("{name}/{}", channel::signed_name(&Digest::of(&bytes)));
    let signatures = signatures(web, &signed, most(root, Role::Channel)).await?;
    store.believe(|believed| {
        if believed.trust.fingerprint != trust.fingerprint {
            return Err(FollowError::Moved);
        }
        let following = same(&following, &mut believed.following)?;
        let seen = &believed.trust.seen;
        let accepted = seen.judge(root, &name, &bytes, &signatures, clock, Expiry::Enforced)?;
        following.channel = Some(String::from_utf8_lossy(&bytes).into_owned());
        following.tag = tag;
        following.checked = Some(clock);
        believed.trust.seen = accepted.seen;
        Ok(accepted.channel)
    })
}

/// The channel that was asked, if it still is the one that is followed.
fn same<'a>(
    asked: &Following,
    now: &'a mut Option<Following>,
) -> Result<&'a mut Following, FollowError> {
    let now = now.as_mut().filter(|now| now.settings == asked.settings);
    now.ok_or(FollowError::Moved)
}

/// The channel as it is kept, if these very bytes still count.
pub fn kept(
    following: &Following,
    trust: &Trust,
    root: &Root,
    name: &ChannelName,
) -> Option<Channel> {
    counts(following.channel.as_deref()?, trust, root, name)
}

/// The channel that these bytes are, if they are the last that were believed under this name.
pub fn counts(text: &str, trust: &Trust, root: &Root, name: &ChannelName) -> Option<Channel> {
    let under = trust.seen.under(root);
    let counts = under.get(name)?.digest == Digest::of(text.as_bytes());
    Channel::parse(text.as_bytes()).ok().filter(|_| counts)
}

/// Whether a release of the channel is one to go to.
fn is_wanted(version: &Version, entry: &Entry, installed: Option<&Version>) -> bool {
    entry.withdrawn.is_none()
        && entry.superseded_by.is_none()
        && installed.is_none_or(|installed| version > installed)
}

/// Forgets the releases that the channel does not offer any more.
pub fn retain(
    store: &Store,
    channel: &Channel,
    installed: Option<&Version>,
) -> Result<(), StoreError> {
    store.retain_offered(|version, digest| {
        let entry = channel.releases.get(version);
        entry.is_some_and(|e| e.digest == *digest && is_wanted(version, e, installed))
    })
}

async fn releases<W: Web>(
    web: &W,
    store: &Store,
    root: &Root,
    channel: &Channel,
    installed: Option<&Version>,
) -> Result<(), FollowError> {
    retain(store, channel, installed)?;
    let here: Vec<Version> = store
        .offered()?
        .into_iter()
        .map(|(release, _)| release.version)
        .collect();
    let newest = channel.releases.iter().rev().take(MOST);
    for (version, _) in newest.filter(|(version, entry)| is_wanted(version, entry, installed)) {
        if here.contains(version) {
            continue;
        }
        let name = format!("release-{version}.json");
        let Answer::Fresh { bytes, .. } = web.small(&name, Small::Release, None).await? else {
            return Err(FollowError::Missing(name));
        };
        let signatures = signatures(web, &name, most(root, Role::Release)).await?;
        let release = channel.release(root, version, &bytes, &signatures)?;
        store.put_offered(&release, &bytes)?;
    }
    Ok(())
}
