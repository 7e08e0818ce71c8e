//! A release's images into Docker, and its files beside the state: from a bundle, or from a folder
//! of blobs that were fetched from a channel.
//!
//! One pass over them feeds one load, whatever number of releases is wanted: each layer is
//! read once, frame by frame against the digests of the signed release, and never touches a disk
//! before Docker's own. What Docker has already is skipped, not read.
//!
//! A load is not durable when it returns: every filesystem that it writes to is opened before it
//! and synced after it, and only then this is success.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_format::bundle::{BundleError, read_head};
use berth_format::image::Platform;
use berth_format::layer::FrameError;
use berth_format::root::Root;
use berth_format::{Code, Digest, Refusal, Release};
use semver::Version;

use crate::engine::load::{TarError, TarWriter};
use crate::engine::{Engine, EngineError};

mod files;
mod known;
mod walk;
mod wanted;

pub use known::Known;
pub use wanted::{Needed, needed};

use walk::{At, Blobs, Walk};
use wanted::Wanted;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    /// Bytes of the bundle that were taken.
    pub done: u64,
    /// Bytes of the bundle that are wanted.
    pub total: u64,
}

/// What an import does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The bundle is read, verified and sent to Docker.
    Reading,
    /// Docker unpacks what it got; it does not say how far it is.
    Unpacking,
    /// Everything is written to disk.
    Syncing,
}

/// What an import brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Every image of the releases, by the id that the engine runs.
    pub images: BTreeSet<Digest>,
    /// Layers that were read from the bundle.
    pub layers: usize,
    /// Layers that Docker had.
    pub known: usize,
    /// Bytes of the bundle that were read for layers, configs and files.
    pub bytes: u64,
}

/// Why an import failed. Docker has no more tags than before.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("{member}: {error}")]
    Frame { member: String, error: FrameError },
    /// What the list says of a member is not what the release says.
    #[error("{0}: the bundle's list and the release do not agree")]
    Mismatch(String),
    #[error("the bundle has no {0}, and it is not here either")]
    Absent(String),
    #[error("{image} of {version} was not made for {wanted}")]
    Architecture {
        image: String,
        version: Version,
        wanted: Platform,
        offered: Vec<Platform>,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("Docker reported success, and has no image {0}")]
    Lost(Digest),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("the import ended in the middle: {0}")]
    Broken(String),
    /// Docker reads no further; its own answer says why.
    #[error("Docker stopped reading")]
    Closed,
}

impl ImportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    /// As a person reads it.
    pub fn refusal(&self) -> Refusal {
        let failed = |code: Code| Refusal::new(code, code.means()).found(self.to_string());
        match self {
            Self::Bundle(error) => error.refusal(),
            Self::Frame { .. } => failed(Code::BundleDamaged),
            Self::Mismatch(_) | Self::Absent(_) => failed(Code::BundleMember),
            Self::Architecture {
                wanted, offered, ..
            } => {
                let offered: Vec<_> = offered.iter().map(ToString::to_string).collect();
                failed(Code::WrongArchitecture).because(wanted.to_string(), offered.join(", "))
            }
            Self::Engine(EngineError::Gone(_)) => failed(Code::EngineGone),
            Self::Engine(EngineError::Refused(why)) if why.contains("no space left") => {
                failed(Code::DiskSpace)
            }
            Self::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                failed(Code::DiskSpace)
            }
            Self::Engine(_) | Self::Io { .. } | Self::Lost(_) | Self::Broken(_) | Self::Closed => {
                failed(Code::FetchFailed)
            }
        }
    }
}

impl From<TarError> for ImportError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Closed => Self::Closed,
            TarError::Size { .. } => Self::Broken(error.to_string()),
        }
    }
}

/// Where blobs come from.
pub enum Source {
    /// A file that was handed over, with the root that its list is signed under.
    Bundle { file: File, root: Root },
    /// A folder of blobs as they are published, each under the digits of its digest. They are
    /// checked again on their way.
    Folder(PathBuf),
}

/// Brings `releases`, whose signatures are verified, into the engine, and their files into
/// `files_dir`, each under the digits of its digest.
///
/// `known` is what is in the engine for certain. `progress` is called from other threads.
pub async fn import<E: Engine>(
    engine: &E,
    source: Source,
    releases: &[Release],
    known: &Known,
    files_dir: &Path,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Imported, ImportError> {
    let info = engine.info().await?;
    let mut wanted = Wanted::new(releases, &info, known)?;
    let Some(product) = releases.first().map(|release| release.product.clone()) else {
        return Err(ImportError::Broken("no release is wanted".into()));
    };
    let files = files_dir.to_owned();
    let (walk, wanted) = blocking(move || {
        let files = files::Files::open(&files)?;
        wanted.files.retain(|digest, _| !files.has(digest));
        let blobs = match source {
            Source::Bundle { file, root } => {
                let bundle = At::new(file);
                let (index, members) = read_head(&mut bundle.clone())?.verify(&root)?;
                wanted.check(&index)?;
                Blobs::Bundle(bundle, members)
            }
            Source::Folder(folder) => Blobs::Folder(folder),
        };
        Ok((Walk::new(blobs, files), wanted))
    })
    .await?;

    let before: BTreeSet<_> = engine.image_tags(&product).await?.into_iter().collect();
    let disks = Disks::open(&info.data_roots);
    let (images, ids) = (wanted.images.clone(), wanted.ids.clone());
    let progress: Arc<dyn Fn(Progress) + Send + Sync> = Arc::new(progress);
    let result = load(engine, walk, wanted, Arc::clone(&progress)).await;
    let result = match result {
        Ok(imported) => settle(engine, &ids, disks, imported, &*progress).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        // A tag that a failed load left can be of a broken image. What cannot be removed now is
        // not marked as fetched, and the next load replaces it.
        for image in images.iter().filter(|i| !before.contains(&i.image.tag)) {
            drop(engine.remove_image(&image.image.tag).await);
        }
    }
    result
}

/// The walk on a thread of its own, the load beside it.
async fn load<E: Engine>(
    engine: &E,
    walk: Walk,
    wanted: Wanted,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
) -> Result<Imported, ImportError> {
    let (tar, stream) = TarWriter::new();
    let walking = tokio::task::spawn_blocking(move || walk.run(tar, &wanted, &*progress));
    let loaded = engine.load(stream).await;
    let walked = walking
        .await
        .map_err(|error| ImportError::Broken(error.to_string()))?;
    match (walked, loaded) {
        (Ok(imported), Ok(())) => Ok(imported),
        (Ok(_) | Err(ImportError::Closed), Err(error)) => Err(error.into()),
        (Err(error), _) => Err(error),
    }
}

/// Only what is there and on disk counts.
async fn settle<E: Engine>(
    engine: &E,
    ids: &BTreeSet<Digest>,
    disks: Disks,
    imported: Imported,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Imported, ImportError> {
    for id in ids {
        if !engine.image_exists(*id).await? {
            return Err(ImportError::Lost(*id));
        }
    }
    progress(Progress {
        phase: Phase::Syncing,
        done: imported.bytes,
        total: imported.bytes,
    });
    blocking(move || disks.sync()).await?;
    Ok(imported)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ImportError::Broken(error.to_string())),
    }
}

/// The filesystems that a load writes to, opened before it: an error of writing back is told
/// only to who had it open.
struct Disks {
    open: Vec<(PathBuf, File)>,
    /// One of them is not where it should be.
    blind: bool,
}

impl Disks {
    fn open(roots: &[PathBuf]) -> Self {
        let open: Vec<_> = roots
            .iter()
            .filter_map(|root| Some((root.clone(), File::open(root).ok()?)))
            .collect();
        Self {
            blind: open.len() < roots.len(),
            open,
        }
    }

    fn sync(self) -> Result<(), ImportError> {
        if self.blind {
            rustix::fs::sync();
        }
        for (root, file) in &self.open {
            rustix::fs::syncfs(file).map_err(|error| ImportError::Io {
                path: root.clone(),
                error: error.into(),
            })?;
        }
        Ok(())
    }
}
