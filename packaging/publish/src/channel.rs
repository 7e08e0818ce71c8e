//! Channels: what appliances are offered, as a folder of static files on any web server.
//!
//! The folder is the one that releases are built into. A change to a channel is written so that a
//! reader who comes half way gets the old or the new one, whole:
//!
//! 1. What the channel names is there and is what was signed, byte for byte.
//! 2. The roots of trust, each after its signatures.
//! 3. The new channel under the name of its digest, after its signatures under that name.
//! 4. `channel.json`, by one rename. The signatures of the old one stay for those who have read it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_format::bundle::{BundleError, believe};
use berth_format::channel::{self, Berth, Channel, Entry, Expiry, FILE, FORMAT, Seen, signed_name};
use berth_format::root::Role;
use berth_format::signature::SignatureError;
use berth_format::{ChannelName, Digest, Refusal, Release, daemon, root};
use jiff::{SignedDuration, Timestamp};
use semver::Version;

use crate::keys::{self, KeyError};
use crate::out::{Out, OutError};
use crate::progress::Progress;
use crate::signed;
use crate::signer::Signer;

mod blobs;
mod change;
mod write;

pub(crate) use change::must_be_offered;
pub use change::{ChangeError, Offer};

/// Why a channel cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    #[error("no release {version} in {}", dir.display())]
    NoRelease { version: Version, dir: PathBuf },
    #[error(transparent)]
    Release(#[from] BundleError),
    #[error("{} is there already and differs", .0.display())]
    Exists(PathBuf),
    #[error("{}: {problem}", path.display())]
    Blob { path: PathBuf, problem: String },
    #[error("no channel {channel} in {}", dir.display())]
    NoChannel { channel: ChannelName, dir: PathBuf },
    #[error("{} is not signed by a channel key of any root of trust", .0.display())]
    Stranger(PathBuf),
    #[error("serial {given}, the last one is {last}")]
    Serial { given: u64, last: u64 },
    /// What was written is not what an appliance would take.
    #[error("{0}")]
    Refused(Box<Refusal>),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Out(#[from] OutError),
}

/// When a channel is signed, and what for.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub now: Timestamp,
    /// How long it is good.
    pub lifetime: SignedDuration,
}

/// The folder, while it is changed by this process alone.
#[derive(Debug)]
pub struct Publisher {
    out: Out,
    signer: Signer,
    times: Times,
    progress: Progress,
}

/// What has become of a channel.
#[derive(Debug)]
pub struct Published {
    pub channel: Channel,
    pub path: PathBuf,
    /// Whether anything has changed.
    pub is_new: bool,
}

impl Publisher {
    /// Takes the folder.
    pub fn open(
        dir: &Path,
        signer: Signer,
        times: Times,
        progress: Progress,
    ) -> Result<Self, PublishError> {
        let out = take(dir)?;
        Ok(Self {
            out,
            signer,
            times,
            progress,
        })
    }

    /// A release of the folder with its digest and size, after everything that it names was read.
    pub fn release(&self, version: &Version) -> Result<(Release, Digest, u64), PublishError> {
        let dir = self.out.dir();
        let (bytes, signatures) = self.read(&format!("release-{version}.json"), version)?;
        let release = believe(&self.signer.root, version, &bytes, &signatures)?;
        blobs::check(dir, &release, self.progress)?;
        Ok((release, Digest::of(&bytes), bytes.len() as u64))
    }

    // A signed file of the folder, not believed yet.
    fn read(&self, name: &str, version: &Version) -> Result<SignedFile, PublishError> {
        let dir = self.out.dir();
        let path = dir.join(name);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PublishError::NoRelease {
                version: version.clone(),
                dir: dir.to_owned(),
            },
            _ => at(&path)(error),
        })?;
        let signatures =
            signed::read_signatures(dir, name).map_err(|(path, error)| at(&path)(error))?;
        Ok((bytes, signatures))
    }

    /// A channel of the folder as it stands, which may have expired.
    pub fn current(&self, name: &ChannelName) -> Result<Option<Channel>, PublishError> {
        let path = self.out.path(&format!("{name}/{FILE}"));
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(at(&path))?,
        };
        let dir = self.out.path(name.as_str());
        let signatures = signed::read_signatures(&dir, &signed_name(&Digest::of(&bytes)))
            .map_err(|(path, error)| at(&path)(error))?;
        // After a rotation it is still signed by the key of an older root.
        for file in self.signer.roots.iter().rev() {
            let Ok(mut root) = root::Root::parse(&file.bytes) else {
                continue;
            };
            root.expires = Timestamp::MAX;
            let clock = Timestamp::MIN;
            let judged =
                Seen::default().judge(&root, name, &bytes, &signatures, clock, Expiry::Waived);
            match judged {
                Ok(accepted) => return Ok(Some(accepted.channel)),
                Err(channel::ChannelError::Signature(SignatureError::Subject { .. })) => break,
                Err(channel::ChannelError::Signature(_)) => {}
                Err(error) => return Err(PublishError::Refused(Box::new(error.refusal()))),
            }
        }
        Err(PublishError::Stranger(path))
    }

    /// Offers releases.
    pub fn publish(
        &self,
        name: &ChannelName,
        serial: Option<u64>,
        offers: &[Offer],
    ) -> Result<Published, PublishError> {
        self.change(name, serial, true, |channel| {
            for offer in offers {
                let (release, digest, size) = self.release(&offer.version)?;
                let entry = Entry {
                    digest,
                    size,
                    published: channel.published,
                    stop: release.upgrade.stop,
                    security: offer.security,
                    rollout: None,
                    withdrawn: None,
                    superseded_by: None,
                };
                change::offer(channel, offer, entry)?;
            }
            Ok(())
        })
    }

    /// Offers what another channel offers already.
    pub fn promote(
        &self,
        from: &ChannelName,
        to: &ChannelName,
        serial: Option<u64>,
        offers: &[Offer],
    ) -> Result<Published, PublishError> {
        let tried = self.must_have(from)?;
        for offer in offers {
            let (_, digest, _) = self.release(&offer.version)?;
            change::must_be_offered(&tried, &offer.version, &digest)?;
        }
        let is_security = |offer: &Offer| {
            let entry = tried.releases.get(&offer.version);
            offer.security || entry.is_some_and(|entry| entry.security)
        };
        let offers: Vec<_> = offers
            .iter()
            .map(|offer| Offer {
                security: is_security(offer),
                ..offer.clone()
            })
            .collect();
        self.publish(to, serial, &offers)
    }

    /// Says that nobody should run a release any more.
    pub fn withdraw(
        &self,
        name: &ChannelName,
        version: &Version,
        reason: &str,
        superseded_by: Option<&Version>,
    ) -> Result<Published, PublishError> {
        self.must_have(name)?;
        self.change(name, None, true, |channel| {
            Ok(change::withdraw(channel, version, reason, superseded_by)?)
        })
    }

    /// Names a daemon of the folder, after its programs were read.
    pub fn daemon(&self, name: &ChannelName, version: &Version) -> Result<Published, PublishError> {
        self.must_have(name)?;
        let dir = self.out.dir();
        let file = daemon::file_name(version);
        let (bytes, signatures) = self.read(&file, version)?;
        let daemon = daemon::believe(&self.signer.root, version, &bytes, &signatures)
            .map_err(|error| PublishError::Refused(Box::new(error.refusal())))?;
        blobs::check_files(dir, &file, daemon.files.values(), self.progress)?;
        self.change(name, None, true, |channel| {
            channel.berth = Some(Berth {
                version: version.clone(),
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
            });
            Ok(())
        })
    }

    /// Signs a channel anew as it is, for longer.
    pub fn refresh(&self, name: &ChannelName) -> Result<Published, PublishError> {
        self.must_have(name)?;
        self.change(name, None, false, |_| Ok(()))
    }

    fn must_have(&self, name: &ChannelName) -> Result<Channel, PublishError> {
        self.current(name)?.ok_or_else(|| PublishError::NoChannel {
            channel: name.clone(),
            dir: self.out.dir().to_owned(),
        })
    }

    fn change(
        &self,
        name: &ChannelName,
        serial: Option<u64>,
        only_if_changed: bool,
        edit: impl FnOnce(&mut Channel) -> Result<(), PublishError>,
    ) -> Result<Published, PublishError> {
        let old = self.current(name)?;
        let last = old.as_ref().map_or(0, |old| old.serial);
        let given = match serial {
            Some(given) => given,
            None => last.saturating_add(1),
        };
        if given <= last {
            return Err(PublishError::Serial { given, last });
        }
        // Signed times never go back, whatever this machine's clock does.
        let now = old
            .as_ref()
            .map_or(self.times.now, |old| old.published.max(self.times.now));
        let mut channel = Channel {
            format: FORMAT,
            product: self.signer.root.product.clone(),
            channel: name.clone(),
            serial: given,
            published: now,
            expires: now
                .checked_add(self.times.lifetime)
                .unwrap_or(Timestamp::MAX),
            releases: old
                .as_ref()
                .map_or_else(Default::default, |o| o.releases.clone()),
            berth: old.as_ref().and_then(|old| old.berth.clone()),
        };
        edit(&mut channel)?;
        let path = self.out.path(&format!("{name}/{FILE}"));
        if let Some(old) = old.filter(|old| {
            only_if_changed && old.releases == channel.releases && old.berth == channel.berth
        }) {
            write::put_roots(&self.out, &self.signer)?;
            return Ok(Published {
                channel: old,
                path,
                is_new: false,
            });
        }
        if let Some(problem) = channel.problem() {
            return Err(ChangeError::Unsound(problem).into());
        }
        write::write(&self.out, &self.signer, &channel)?;
        Ok(Published {
            channel,
            path,
            is_new: true,
        })
    }
}

/// Takes a folder that is there, and in which no secret key lies.
pub(crate) fn take(dir: &Path) -> Result<Out, PublishError> {
    if !dir.is_dir() {
        return Err(PublishError::NoFolder(dir.to_owned()));
    }
    keys::no_secrets(dir)?;
    Ok(Out::open(dir)?)
}

// Bytes and signatures.
type SignedFile = (Vec<u8>, Vec<Vec<u8>>);

/// The role that signs channels.
pub const ROLE: Role = Role::Channel;

fn at(path: &Path) -> impl Fn(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io {
        path: path.clone(),
        source,
    }
}
