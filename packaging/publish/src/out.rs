//! The folder that is published: releases, configs, files and layers, each under its final name.
//!
//! Nothing in it is ever half written: every file is made under another name, synced and renamed.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_format::Digest;
use berth_format::layer::Layer;
use serde::Deserialize;
use tempfile::NamedTempFile;

/// How the names of files begin that are not finished.
const UNFINISHED: &str = ".new-";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("another berth-publish is at work in {}", .0.display())]
    Busy(PathBuf),
}

/// The folder, held by this process alone.
#[derive(Debug)]
pub struct Out {
    dir: PathBuf,
    _lock: File,
}

impl Out {
    /// Makes or opens the folder.
    pub fn open(dir: &Path) -> Result<Self, OutError> {
        for sub in ["layers", "configs", "files"] {
            fs::create_dir_all(dir.join(sub)).map_err(at(dir))?;
        }
        let path = dir.join(".lock");
        let lock = File::create(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OutError::Busy(dir.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        let out = Self {
            dir: dir.to_owned(),
            _lock: lock,
        };
        out.tidy()?;
        Ok(out)
    }

    // What a build that was cut off left behind; nobody else is at work here.
    fn tidy(&self) -> Result<(), OutError> {
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(UNFINISHED) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The place of a file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What every release in the folder says of its layers: a layer that one of them names must
    /// keep its bytes.
    pub fn described(&self) -> Result<BTreeMap<Digest, Layer>, OutError> {
        #[derive(Deserialize)]
        struct Layers {
            layers: BTreeMap<Digest, Layer>,
        }
        let mut described = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let path = entry.map_err(at(&self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !(name.starts_with("release-") && name.ends_with(".json")) {
                continue;
            }
            let bytes = fs::read(&path).map_err(at(&path))?;
            if let Ok(release) = serde_json::from_slice::<Layers>(&bytes) {
                described.extend(release.layers);
            }
        }
        Ok(described)
    }

    /// A file that has no final name yet.
    pub fn scratch(&self) -> Result<NamedTempFile, OutError> {
        scratch(&self.dir, UNFINISHED)
    }

    /// Gives a finished file its name.
    pub fn keep(&self, file: NamedTempFile, name: &str) -> Result<(), OutError> {
        keep(file, &self.path(name))
    }

    /// Takes a file away, if it is there.
    pub fn remove(&self, name: &str) -> Result<(), OutError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes a folder in it, if it is not there.
    pub fn make_dir(&self, name: &str) -> Result<(), OutError> {
        let path = self.path(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(at(&path)(error)),
            Ok(()) => sync_parent(&path),
        }
    }

    /// Writes bytes, unless they stand there already.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<(), OutError> {
        let path = self.path(name);
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        let mut file = self.scratch()?;
        file.write_all(bytes).map_err(at(&path))?;
        self.keep(file, name)
    }
}

/// A file in `dir` that is gone if it is not kept.
pub fn scratch(dir: &Path, prefix: &str) -> Result<NamedTempFile, OutError> {
    tempfile::Builder::new()
        .prefix(prefix)
        // A web server reads what is published.
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(at(dir))
}

/// Syncs a file, gives it its name and makes that durable.
pub fn keep(file: NamedTempFile, path: &Path) -> Result<(), OutError> {
    file.as_file().sync_all().map_err(at(path))?;
    file.persist(path).map_err(|error| at(path)(error.error))?;
    sync_parent(path)
}

/// Writes bytes in one go under a name that may be taken.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), OutError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = scratch(parent.unwrap_or(Path::new(".")), UNFINISHED)?;
    file.write_all(bytes).map_err(at(path))?;
    keep(file, path)
}

fn sync_parent(path: &Path) -> Result<(), OutError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(at(parent))
}

fn at(path: &Path) -> impl Fn(io::Error) -> OutError {
    let path = path.to_owned();
    move |source| OutError::Io {
        path: path.clone(),
        source,
    }
}
