//! A bundle that somebody hands over: who signed it, how old it is, and which releases it brings.
//!
//! Checks, in order:
//! 1. The head (list, signature, roots) is read into bounded memory.
//! 2. The root is the one that this appliance pinned: by what it keeps, else by the fingerprint
//!    that the admin confirmed or the package laid down. A bundle never vouches for itself.
//! 3. The root signs itself, later ones follow each other, and the newest is kept with the serials
//!    that still count under it; the list is signed by a release key of that root.
//! 4. Each release is signed by a release key, as that product and version, and is sound; the
//!    list names exactly the blobs that they sign for ([`bundle::open`]).
//! 5. The channel that it carries goes through the checks of one that is followed
//!    ([`bundle::Opened::believe_channel`]), and its serial is kept before anything else is done.
//!    A bundle without one is as good as its releases; see `docs/decisions/0012`.
//!
//! A bundle stays open while others are, and a plan is made later: [`Offer::must_still_hold`]
//! judges it anew by what is believed then.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::AsRawFd;

use berth_format::bundle::{self, Carried, Head, RootFile, read_head};
use berth_format::channel::{Channel, Expiry, Seen};
use berth_format::root::{End, Role, Root, RootError};
use berth_format::signature::Subject;
use berth_format::{Code, Digest, Product, Refusal, Release};
use jiff::Timestamp;
use semver::Version;

use super::follow;
use crate::api::{Terms, internal};
use crate::store::{self, Believed, Store, Trust};
use crate::update::plan::PlanKind;

#[cfg(test)]
mod tests;

/// A bundle whose head and releases are verified; its blobs are not yet.
pub struct Offer {
    pub file: File,
    pub root: Root,
    pub product: Product,
    /// Oldest first, each with its signed bytes.
    pub releases: Vec<(Release, Vec<u8>)>,
    /// Bytes of the file.
    pub size: u64,
    /// What it says of its vendor's channel.
    pub channel: Option<OfferedChannel>,
    /// The Berth that it carries.
    pub berth: Option<Version>,
    pub terms: Terms,
}

/// The channel of a bundle, believed once.
pub struct OfferedChannel {
    pub channel: Channel,
    carried: Carried,
}

/// Reads and verifies the head of a bundle, and keeps what it makes this appliance believe.
pub fn read(file: &File, store: &Store, terms: Terms, now: Timestamp) -> Result<Offer, Refusal> {
    let mut file = reopen(file).map_err(internal)?;
    let size = file.metadata().map_err(internal)?.len();
    // 1
    let head = read_head(&mut file).map_err(|e| e.refusal())?;
    // 2, 3
    let trust = store.believe(|believed| {
        believed.trust = newest(&head, &believed.trust)?;
        Ok::<_, Failure>(believed.trust.clone())
    })?;
    let root = root(&trust)?;
    let time = trust.seen.now(now);
    root.must_be_fresh(time).map_err(|e| e.refusal())?;
    // 4
    let opened = bundle::open(&mut file, &head, &root).map_err(|e| e.refusal())?;
    // 5
    let expiry = expiry(terms);
    let accepted = store.believe(|believed| {
        if believed.trust.root != trust.root {
            return Err(moved().into());
        }
        // It only brings back images of what ran here before, by digest.
        if terms.back {
            return Ok(None);
        }
        let (seen, followed) = (&believed.trust.seen, followed(believed));
        let accepted = opened
            .believe_channel(&root, seen, followed, now, expiry)
            .map_err(|e| e.refusal())?;
        if let (Some(accepted), Some(carried)) = (&accepted, opened.channel()) {
            believed.trust.seen = accepted.seen.clone();
            keep(believed, carried, now);
        }
        Ok::<_, Failure>(accepted)
    })?;
    let channel = accepted
        .map(|accepted| accepted.channel)
        .zip(opened.channel().cloned())
        .map(|(channel, carried)| OfferedChannel { channel, carried });
    if let Some(OfferedChannel { channel, .. }) = &channel {
        told(channel, time);
        let installed = store.installed().map_err(internal)?.map(|i| i.version);
        follow::retain(store, channel, installed.as_ref()).map_err(internal)?;
    }
    let releases = opened.releases().iter();
    Ok(Offer {
        product: root.product.clone(),
        root,
        releases: releases
            .map(|r| (r.release.clone(), r.bytes.clone()))
            .collect(),
        size,
        berth: opened.daemon().map(|d| d.daemon.version.clone()),
        channel,
        terms,
        file,
    })
}

impl Offer {
    /// The same file, at its beginning.
    pub fn reopen(&self) -> std::io::Result<File> {
        reopen(&self.file)
    }

    /// Refuses it where something was believed since that says otherwise: a later root, or a
    /// channel with a higher serial.
    pub fn must_still_hold(&self, store: &Store, now: Timestamp) -> Result<(), Refusal> {
        store.believe(|believed| {
            if root(&believed.trust)? != self.root {
                return Err(moved().into());
            }
            if let Some(offered) = &self.channel {
                let (seen, followed) = (&believed.trust.seen, followed(believed));
                let carried = &offered.carried;
                carried
                    .judge(&self.root, seen, followed, now, expiry(self.terms))
                    .map_err(|e| e.refusal())?;
            }
            Ok::<_, Failure>(())
        })?;
        Ok(())
    }

    /// Refuses it for anything but a rollback, if it was only opened for one.
    pub fn must_be_for(&self, kind: PlanKind) -> Result<(), Refusal> {
        if self.terms.back && kind != PlanKind::Rollback {
            let summary = "this bundle was opened for a rollback";
            return Err(Refusal::new(Code::Usage, summary).next("Hand the bundle over again."));
        }
        Ok(())
    }

    /// What the admin is told before he goes on with a bundle whose channel has expired.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let channel = &self.channel.as_ref()?.channel;
        (now >= channel.expires).then(|| {
            format!(
                "The channel in this bundle expired on {}, which you have accepted: nobody says \
                 that there is nothing newer, or that nothing of it was withdrawn.",
                channel.expires
            )
        })
    }
}

fn expiry(terms: Terms) -> Expiry {
    if terms.accept_expired_channel {
        Expiry::Waived
    } else {
        Expiry::Enforced
    }
}

fn followed(believed: &Believed) -> Option<&berth_format::ChannelName> {
    believed.following.as_ref().map(|f| &f.settings.name)
}

/// Keeps what the channel of a bundle says, where the next question looks for it.
fn keep(believed: &mut Believed, carried: &Carried, now: Timestamp) {
    // Strict JSON is UTF-8.
    let channel = String::from_utf8_lossy(&carried.bytes).into_owned();
    let Some(following) = &mut believed.following else {
        believed.carried = Some(store::Carried {
            name: carried.name.clone(),
            channel,
        });
        return;
    };
    if following.channel.as_ref() != Some(&channel) {
        following.channel = Some(channel);
        // What the server called other bytes says nothing of these.
        following.tag = None;
    }
    following.checked = Some(now);
}

fn told(channel: &Channel, now: Timestamp) {
    let (name, serial) = (&channel.channel, channel.serial);
    if now >= channel.expires {
        let expires = channel.expires;
        log::warn!(
            "a bundle is taken although its channel {name}, serial {serial}, expired at {expires}: \
             the admin says so"
        );
    } else {
        log::info!("a bundle brings channel {name}, serial {serial}");
    }
}

fn moved() -> Refusal {
    Refusal::new(
        Code::PlanMoved,
        "whom this machine trusts has changed since this bundle was opened",
    )
    .next("Hand the bundle over again.")
}

fn root(trust: &Trust) -> Result<Root, Refusal> {
    let text = trust.root.as_deref().unwrap_or_default();
    Root::parse(text.as_bytes()).map_err(|e| e.refusal())
}

/// The newest root that this bundle leads to, and the serials that still count under it.
fn newest(head: &Head, trust: &Trust) -> Result<Trust, Refusal> {
    let mut newest = match &trust.root {
        Some(_) => trust.clone(),
        None => first(head, trust)?,
    };
    // Later roots in the bundle, each signed by the one before it, are believed as those of a
    // channel are; one that is not ends the walk, and what is signed under the last good one counts.
    let (root, end) = root(&newest)?.follow(head.roots(), |root, file| {
        newest.root = Some(String::from_utf8_lossy(&file.bytes).into_owned());
        newest.seen = newest.seen.under(root);
        Ok::<_, Infallible>(())
    });
    if let End::Refused(error) = end {
        let version = root.version;
        log::warn!("root {version} stays: a later one in the bundle is not believed: {error}");
    }
    Ok(newest)
}

fn first(head: &Head, trust: &Trust) -> Result<Trust, Refusal> {
    let first = head.roots().iter().find(|root| root.version == 1);
    let offered = first.map(|root| Digest::of(&root.bytes));
    let Some(fingerprint) = trust.fingerprint else {
        let refusal = Refusal::new(Code::TrustMissing, "this appliance trusts nobody yet");
        return Err(match offered {
            Some(offered) => {
                refusal.found(format!("a bundle whose root has the fingerprint {offered}"))
            }
            None => refusal.found("a bundle without a root of trust"),
        });
    };
    let Some(file) = first.filter(|_| offered == Some(fingerprint)) else {
        return Err(Refusal::new(
            Code::TrustFingerprint,
            "the bundle comes from another root of trust",
        )
        .because(
            fingerprint.to_string(),
            offered.map_or_else(|| "none".to_owned(), |o| o.to_string()),
        ));
    };
    pin(file)
}

/// What to keep when a root is trusted: confirmed by its fingerprint, or laid down by a package.
pub fn pin(file: &RootFile) -> Result<Trust, Refusal> {
    confirmed(file)?;
    let text = String::from_utf8(file.bytes.clone()).map_err(internal)?;
    Ok(Trust {
        fingerprint: Some(Digest::of(&file.bytes)),
        root: Some(text),
        seen: Seen::default(),
    })
}

/// A first root must sign itself, whoever confirmed it.
fn confirmed(file: &RootFile) -> Result<Root, Refusal> {
    let root = Root::parse(&file.bytes).map_err(|e| e.refusal())?;
    let subject = Subject::Root {
        product: &root.product,
        version: 1,
    };
    let signatures: Vec<&[u8]> = file.signatures.iter().map(Vec::as_slice).collect();
    root.verify(Role::Root, &file.bytes, &signatures, &subject)
        .map_err(|e| RootError::Signature(e).refusal())?;
    if root.version == 1 {
        Ok(root)
    } else {
        Err(Refusal::new(Code::SignatureMismatch, "not the first root"))
    }
}

/// A refusal, or the store's own failure, on the way out of a transaction.
struct Failure(Refusal);

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        Self(internal(error))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}

/// The same file with a position of its own: that of a descriptor which was handed over is shared
/// with whoever handed it over.
fn reopen(file: &File) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
