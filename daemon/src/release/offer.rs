//! A bundle that somebody hands over: who signed it, and which releases it brings.
//!
//! Checks, in order:
//! 1. The head (list, signature, roots) is read into bounded memory.
//! 2. The root is the one that this appliance pinned: by what it keeps, else by the fingerprint
//!    that the admin confirmed or the package laid down. A bundle never vouches for itself.
//! 3. The root signs itself; the list is signed by a release key of that root.
//! 4. Each release is signed by a release key, as that product and version, and is sound; the
//!    list names exactly the blobs that they sign for ([`bundle::open`]).

use std::fs::File;
use std::os::fd::AsRawFd;

use berth_format::bundle::{self, Head, RootFile, read_head};
use berth_format::channel::Seen;
use berth_format::root::{End, Role, Root, RootError};
use berth_format::signature::Subject;
use berth_format::{Code, Digest, Product, Refusal, Release};

use crate::store::Trust;

/// A bundle whose head and releases are verified; its blobs are not yet.
pub struct Offer {
    pub file: File,
    pub root: Root,
    pub product: Product,
    /// Oldest first, each with its signed bytes.
    pub releases: Vec<(Release, Vec<u8>)>,
    /// Bytes of the file.
    pub size: u64,
    /// What to keep of whom it trusts, where this bundle brought the confirmed root.
    pub trust: Option<Trust>,
}

/// Reads and verifies the head of a bundle.
pub fn read(file: &File, trust: &Trust, now: jiff::Timestamp) -> Result<Offer, Refusal> {
    let mut file = reopen(file).map_err(crate::api::internal)?;
    let size = file.metadata().map_err(crate::api::internal)?.len();
    let head = read_head(&mut file).map_err(|e| e.refusal())?;
    let (root, kept) = believe(&head, trust)?;
    let (root, kept) = follow(root, kept, &head, trust);
    if root.is_expired(trust.seen.now(now)) {
        return Err(
            Refusal::new(Code::TrustExpired, "the root of trust is past its expiry")
                .because(format!("an expiry after {now}"), root.expires.to_string()),
        );
    }
    let opened = bundle::open(&mut file, &head, &root).map_err(|e| e.refusal())?;
    let releases = opened
        .releases()
        .iter()
        .map(|r| (r.release.clone(), r.bytes.clone()))
        .collect();
    Ok(Offer {
        file,
        product: root.product.clone(),
        root,
        releases,
        size,
        trust: kept,
    })
}

impl Offer {
    /// The same file, at its beginning.
    pub fn reopen(&self) -> std::io::Result<File> {
        reopen(&self.file)
    }
}

fn believe(head: &Head, trust: &Trust) -> Result<(Root, Option<Trust>), Refusal> {
    if let Some(root) = &trust.root {
        return Ok((Root::parse(root.as_bytes()).map_err(|e| e.refusal())?, None));
    }
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
    Ok((confirmed(file)?, Some(pin(file)?)))
}

/// Later roots in the bundle, each signed by the one before it, are believed as those of a channel
/// are; one that is not ends the walk, and what is signed under the last good one still counts.
fn follow(root: Root, kept: Option<Trust>, head: &Head, trust: &Trust) -> (Root, Option<Trust>) {
    let mut newest = kept;
    let keep = |root: &Root, file: &RootFile| {
        newest = Some(Trust {
            root: Some(String::from_utf8_lossy(&file.bytes).into_owned()),
            seen: trust.seen.under(root),
            fingerprint: newest.as_ref().map_or(trust.fingerprint, |t| t.fingerprint),
        });
        Ok::<_, std::convert::Infallible>(())
    };
    let (root, end) = root.follow(head.roots(), keep);
    if let End::Refused(error) = end {
        log::warn!("a later root in the bundle is not believed: {error}");
    }
    (root, newest)
}

/// What to keep when a root is trusted: confirmed by its fingerprint, or laid down by a package.
pub fn pin(file: &RootFile) -> Result<Trust, Refusal> {
    confirmed(file)?;
    let text = String::from_utf8(file.bytes.clone()).map_err(crate::api::internal)?;
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

/// The same file with a position of its own: that of a descriptor which was handed over is shared
/// with whoever handed it over.
fn reopen(file: &File) -> std::io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
