//! Verifying a bundle whole, piece by piece, in bounded memory.
//!
//! [`open`] believes the list and the releases, and holds both against each other; then
//! [`Opened::walk`] reads every blob once and hands it to a [`Sink`] after it was checked against
//! the signed release. Nothing that is not listed, signed for and complete gets through:
//!
//! 1. The list is signed; members stand in its order and under the headers that it implies.
//! 2. Each release, and the daemon, is signed as this version of this product, parses strictly and
//!    is valid. The channel is read, and believed by [`Opened::believe_channel`].
//! 3. The blobs of the list are exactly those of the releases and of the daemon, with their sizes
//!    and digests.
//! 4. A config is for its platform and names the layers that the release names.
//! 5. Each frame of a layer has its signed digest before it is unpacked, and unpacks to its size;
//!    the whole tar has the diff id.
//! 6. Nothing follows the last member.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use super::carried::{Carried, CarriedDaemon, Signed};
use super::read::{BundleError, Head, Members, read_head};
use super::{Index, MemberKind};
use crate::daemon::{self, Daemon};
use crate::digest::Digest;
use crate::image::{self, Blob, Platform, PlatformImage};
use crate::layer::Layer;
use crate::release::{self, FileEntry, Release};
use crate::root::{Role, Root};
use crate::signature::Subject;
use crate::validate;

mod blobs;

pub use blobs::check_config;

/// The most bytes of all releases of a bundle together.
const MAX_RELEASES: u64 = 64 << 20;

/// Gets the verified pieces of a bundle. An error of any method ends the walk.
pub trait Sink {
    /// The config of an image, verbatim.
    fn config(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        let _ = (blob, bytes);
        Ok(())
    }

    /// A file that services mount.
    fn file(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        let _ = (blob, bytes);
        Ok(())
    }

    /// Whether this layer is unpacked into [`Sink::frame`]. If not, its stored bytes are still
    /// checked against the signed digests, which is all that a layer needs that is known already.
    fn wants(&mut self, diff_id: &Digest, layer: &Layer) -> io::Result<bool>;

    /// The tar of frame `index` of a wanted layer: 0, 1, … until the layer's size is reached.
    fn frame(&mut self, diff_id: &Digest, index: usize, tar: &[u8]) -> io::Result<()> {
        let _ = (diff_id, index, tar);
        Ok(())
    }

    /// All frames of a wanted layer were handed over, and the tar has the diff id.
    fn layer(&mut self, diff_id: &Digest) -> io::Result<()> {
        let _ = diff_id;
        Ok(())
    }

    /// Bytes of blobs that are checked, of all.
    fn progress(&mut self, done: u64, total: u64) -> io::Result<()> {
        let _ = (done, total);
        Ok(())
    }
}

/// A release as it was signed.
#[derive(Debug, Clone)]
pub struct SignedRelease {
    pub release: Release,
    /// The bytes that were signed.
    pub bytes: Vec<u8>,
    /// minisign's files, in their order.
    pub signatures: Vec<Vec<u8>>,
}

/// A bundle whose list and releases are believed, and whose blobs are still to be walked.
#[derive(Debug)]
pub struct Opened {
    index: Index,
    channel: Option<Carried>,
    daemon: Option<CarriedDaemon>,
    releases: Vec<SignedRelease>,
    members: Members,
}

/// Verifies a whole bundle, unpacking every layer; `progress` gets bytes done and total.
pub fn verify_whole(
    file: &mut (impl Read + Seek),
    root: &Root,
    progress: impl FnMut(u64, u64),
) -> Result<Vec<Release>, BundleError> {
    struct All<P>(P);
    impl<P: FnMut(u64, u64)> Sink for All<P> {
        fn wants(&mut self, _: &Digest, _: &Layer) -> io::Result<bool> {
            Ok(true)
        }

        fn progress(&mut self, done: u64, total: u64) -> io::Result<()> {
            (self.0)(done, total);
            Ok(())
        }
    }
    let head = read_head(file)?;
    let opened = open(file, &head, root)?;
    let releases = opened.walk(file, &mut All(progress))?;
    Ok(releases.into_iter().map(|r| r.release).collect())
}

/// Believes the list and the releases of a bundle if `root` says so.
pub fn open(
    file: &mut (impl Read + Seek),
    head: &Head,
    root: &Root,
) -> Result<Opened, BundleError> {
    let (index, mut members) = head.verify(root)?;
    if index.berth.is_some() && index.channel.is_none() {
        return Err(BundleError::Index(
            "it brings a daemon and no channel that names it".into(),
        ));
    }
    let mut signed = Signed::new(file, &index, &mut members);
    let channel = match &index.channel {
        Some(name) => Some(signed.channel(name)?),
        None => None,
    };
    let daemon = match &index.berth {
        Some(version) => Some(signed.daemon(version, root)?),
        None => None,
    };
    let mut releases = Vec::with_capacity(index.releases.len());
    let mut bytes_left = MAX_RELEASES;
    for version in &index.releases {
        let name = format!("release-{version}.json");
        let (bytes, signatures) = signed.take(&name, release::MAX_BYTES.min(bytes_left))?;
        bytes_left -= bytes.len() as u64;
        let release = believe(root, version, &bytes, &signatures)?;
        releases.push(SignedRelease {
            release,
            bytes,
            signatures,
        });
    }
    if releases.is_empty() || !index.releases.is_sorted_by(|a, b| a < b) {
        return Err(BundleError::Index(
            "its releases are none, or not in order, each once".into(),
        ));
    }
    let opened = Opened {
        index,
        channel,
        daemon,
        releases,
        members,
    };
    opened.compare()?;
    Ok(opened)
}

/// Believes and reads `release-VERSION.json`, which is not in a bundle perhaps.
pub fn believe(
    root: &Root,
    version: &semver::Version,
    bytes: &[u8],
    signatures: &[Vec<u8>],
) -> Result<Release, BundleError> {
    let name = || format!("release-{version}.json");
    let subject = Subject::Release {
        product: &root.product,
        version,
    };
    let signatures: Vec<_> = signatures.iter().map(Vec::as_slice).collect();
    root.verify(Role::Release, bytes, &signatures, &subject)
        .map_err(|source| BundleError::ReleaseSignature {
            name: name(),
            source,
        })?;
    let invalid = |problem: String| BundleError::Manifest {
        name: name(),
        problem,
    };
    let release: Release =
        serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    if release.product != root.product || release.version != *version {
        return Err(invalid(format!(
            "it is {} {}",
            release.product, release.version
        )));
    }
    match validate::check(&release).as_slice() {
        [] => Ok(release),
        problems => Err(invalid(problems.join("; "))),
    }
}

// The blobs that the releases sign for.
#[derive(Default)]
struct Expected<'a> {
    configs: BTreeMap<Digest, ExpectedConfig<'a>>,
    files: BTreeMap<Digest, u64>,
    // Of the daemon; nobody takes them from here yet.
    programs: BTreeMap<Digest, u64>,
    layers: BTreeMap<Digest, &'a Layer>,
}

// Its size, and the images that it is the config of.
type ExpectedConfig<'a> = (u64, Vec<(&'a Platform, &'a PlatformImage)>);

impl<'a> Expected<'a> {
    fn of(releases: &'a [SignedRelease], daemon: Option<&Daemon>) -> Result<Self, BundleError> {
        let mut expected = Self::default();
        for release in releases.iter().map(|r| &r.release) {
            let conflict =
                |what: &str, digest: &Digest| conflict(release.file_name(), what, digest);
            for image in release.images.values() {
                for (platform, image) in &image.platforms {
                    let Blob { digest, size } = image.config;
                    let (known, images) =
                        expected.configs.entry(digest).or_insert((size, Vec::new()));
                    if *known != size {
                        return Err(conflict("config", &digest));
                    }
                    images.push((platform, image));
                }
            }
            for entry in release.files.values().flat_map(|t| t.entries.values()) {
                if let FileEntry::File { digest, size, .. } = entry
                    && *expected.files.entry(*digest).or_insert(*size) != *size
                {
                    return Err(conflict("file", digest));
                }
            }
            for (diff_id, layer) in &release.layers {
                if *expected.layers.entry(*diff_id).or_insert(layer) != layer {
                    return Err(conflict("layer", diff_id));
                }
            }
        }
        for blob in daemon.iter().flat_map(|daemon| daemon.files.values()) {
            let size = expected.files.get(&blob.digest).copied();
            let size = size.unwrap_or(blob.size);
            let size = *expected.programs.entry(blob.digest).or_insert(size);
            if size != blob.size {
                let name = daemon.map_or_else(String::new, |d| daemon::file_name(&d.version));
                return Err(conflict(name, "file", &blob.digest));
            }
        }
        Ok(expected)
    }

    // Takes what a blob of the list must be; `None` where no release names it.
    fn take(&mut self, kind: &MemberKind) -> Option<Blob> {
        match kind {
            MemberKind::Config(digest) => self.configs.remove(digest).map(|(size, _)| Blob {
                digest: *digest,
                size,
            }),
            MemberKind::File(digest) => {
                let program = self.programs.remove(digest);
                self.files.remove(digest).or(program).map(|size| Blob {
                    digest: *digest,
                    size,
                })
            }
            MemberKind::Layer(diff_id) => self.layers.remove(diff_id).map(|l| l.stored),
            _ => None,
        }
    }

    fn first(&self) -> Option<String> {
        let config = self.configs.keys().next().map(image::config_file_name);
        let file = self.files.keys().chain(self.programs.keys()).next();
        let file = file.map(release::blob_file_name);
        let layer = self.layers.keys().next().map(Layer::file_name);
        config.or(file).or(layer)
    }
}

fn conflict(name: String, what: &str, digest: &Digest) -> BundleError {
    BundleError::Manifest {
        name,
        problem: format!(
            "{what} {} is described in another way elsewhere",
            digest.short()
        ),
    }
}

impl Opened {
    /// The signed list.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The releases, oldest first.
    pub fn releases(&self) -> &[SignedRelease] {
        &self.releases
    }

    /// The channel's file, which is not believed yet: [`Opened::believe_channel`] says.
    pub fn channel(&self) -> Option<&Carried> {
        self.channel.as_ref()
    }

    /// The daemon, as the release key has signed it.
    pub fn daemon(&self) -> Option<&CarriedDaemon> {
        self.daemon.as_ref()
    }

    fn expected(&self) -> Result<Expected<'_>, BundleError> {
        let daemon = self.daemon.as_ref().map(|d| &d.daemon);
        Expected::of(&self.releases, daemon)
    }

    // Holds the list against the releases, before a blob is read.
    fn compare(&self) -> Result<(), BundleError> {
        let mut expected = self.expected()?;
        for member in &self.index.members {
            // A name that no bundle has was refused by `Head::verify`.
            let Some(kind) = MemberKind::of(&member.name) else {
                return Err(BundleError::Member(member.name.clone()));
            };
            match kind {
                MemberKind::Root(_) | MemberKind::RootSignature(..) => {}
                MemberKind::Channel | MemberKind::ChannelSignature(_) => {
                    if self.index.channel.is_none() {
                        return Err(BundleError::Extra(member.name.clone()));
                    }
                }
                MemberKind::Daemon(version) | MemberKind::DaemonSignature(version, _) => {
                    if self.index.berth.as_ref() != Some(&version) {
                        return Err(BundleError::Extra(member.name.clone()));
                    }
                }
                MemberKind::Release(version) | MemberKind::ReleaseSignature(version, _) => {
                    if !self.index.releases.contains(&version) {
                        return Err(BundleError::Extra(member.name.clone()));
                    }
                }
                blob => match expected.take(&blob) {
                    None => return Err(BundleError::Extra(member.name.clone())),
                    Some(blob) if blob.size != member.size || blob.digest != member.digest => {
                        return Err(BundleError::Mismatch(member.name.clone()));
                    }
                    Some(_) => {}
                },
            }
        }
        expected
            .first()
            .map_or(Ok(()), |name| Err(BundleError::Missing(name)))
    }

    /// Reads every blob and the end of the file. What it gives back is believed as a whole.
    pub fn walk(
        self,
        file: &mut (impl Read + Seek),
        sink: &mut impl Sink,
    ) -> Result<Vec<SignedRelease>, BundleError> {
        let total = self
            .index
            .members
            .iter()
            .filter(|m| is_blob(&m.name))
            .map(|m| m.size)
            // A list may say anything; whether it can be is seen member by member.
            .fold(0, u64::saturating_add);
        let mut members = self.members.clone();
        let expected = self.expected()?;
        blobs::walk(file, sink, &mut members, &expected, total)?;
        drop(expected);
        Ok(self.releases)
    }
}

fn is_blob(name: &str) -> bool {
    matches!(
        MemberKind::of(name),
        Some(MemberKind::Config(_) | MemberKind::File(_) | MemberKind::Layer(_))
    )
}
