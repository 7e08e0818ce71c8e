//! A blob on its way to disk: `<digest>.unverified`, in which only verified frames are written.
//!
//! A frame that is not whole yet is kept in memory, so a line that is cut loses nothing, and a
//! berthd that is killed loses one frame. What is found on disk is read and compared again: it
//! may be older than a power cut.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_format::Digest;
use berth_format::digest::Hashing;
use berth_format::image::Blob;
use berth_format::layer::Frame;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::error::DownloadError;

/// A blob that is not whole yet.
pub(super) struct Part {
    file: Arc<File>,
    path: PathBuf,
    folder: PathBuf,
    stored: Blob,
    frames: Arc<[Frame]>,
    /// Frames that are verified and written.
    verified: usize,
    /// Their bytes.
    written: u64,
    /// Of these bytes.
    hash: Sha256,
    /// The beginning of the next frame.
    begun: Vec<u8>,
}

/// The bytes are not those of the frame; they are dropped.
pub(super) struct BadFrame(pub(super) usize);

impl Part {
    /// The blob, if it is here as a whole. A disk can lose what it had: then its file is
    /// unverified again, and what is left of it saves that much of the line.
    pub(super) async fn found(
        folder: &Path,
        stored: Blob,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let path = folder.join(stored.digest.hex());
        let part = unverified(folder, &stored);
        blocking(&path.clone(), move || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
                Err(Errno::NOENT) => return Ok(None),
                file => File::from(file?),
            };
            let mut hash = Hashing::new(io::sink());
            io::copy(&mut file.take(stored.size + 1), &mut hash)?;
            if hash.finish().1 == stored.digest {
                return Ok(Some(path));
            }
            std::fs::rename(&path, &part)?;
            Ok(None)
        })
        .await
    }

    /// Takes up what is here, or begins.
    pub(super) async fn open(
        folder: &Path,
        stored: Blob,
        frames: Arc<[Frame]>,
    ) -> Result<Self, DownloadError> {
        let path = unverified(folder, &stored);
        let (folder, own) = (folder.to_owned(), path.clone());
        blocking(&path, move || open(folder, own, stored, frames)).await
    }

    /// Bytes that need not be asked for.
    pub(super) fn here(&self) -> u64 {
        self.written + self.begun.len() as u64
    }

    /// Bytes that are verified and written.
    pub(super) fn verified(&self) -> u64 {
        self.written
    }

    /// The frame that is wanted next, or `None` if all are here.
    pub(super) fn wanted(&self) -> Option<usize> {
        (self.verified < self.frames.len()).then_some(self.verified)
    }

    /// Drops the beginning of a frame: another mirror is to give all of it, so that a bad frame
    /// is one mirror's.
    pub(super) fn forget_begun(&mut self) {
        self.begun.clear();
    }

    /// Takes bytes that follow those that are here, up to the last frame's end.
    pub(super) async fn take(
        &mut self,
        mut bytes: &[u8],
    ) -> Result<Result<(), BadFrame>, DownloadError> {
        while let Some(frame) = self.frames.get(self.verified).copied() {
            let missing = (frame.len as usize).saturating_sub(self.begun.len());
            if bytes.len() < missing {
                self.begun.extend_from_slice(bytes);
                break;
            }
            let (rest, after) = bytes.split_at(missing);
            self.begun.extend_from_slice(rest);
            bytes = after;
            if !self.keep(frame).await? {
                return Ok(Err(BadFrame(self.verified)));
            }
        }
        Ok(Ok(()))
    }

    /// Writes the frame that was begun, if it is the one that was signed.
    async fn keep(&mut self, frame: Frame) -> Result<bool, DownloadError> {
        let (file, at) = (Arc::clone(&self.file), self.written);
        let bytes = std::mem::take(&mut self.begun);
        let mut hash = self.hash.clone();
        let (bytes, hash) = blocking(&self.path, move || {
            if Digest::of(&bytes) != frame.digest {
                return Ok((bytes, None));
            }
            file.write_all_at(&bytes, at)?;
            hash.update(&bytes);
            Ok((bytes, Some(hash)))
        })
        .await?;
        // The memory serves for the next one.
        self.begun = bytes;
        self.begun.clear();
        let Some(hash) = hash else {
            return Ok(false);
        };
        self.hash = hash;
        self.written += u64::from(frame.len);
        self.verified += 1;
        Ok(true)
    }

    /// Compares the whole, makes it durable and gives it its name.
    pub(super) async fn finish(self, name: &str) -> Result<PathBuf, DownloadError> {
        let whole = self.folder.join(self.stored.digest.hex());
        let (path, folder) = (self.path.clone(), self.folder.clone());
        if self.written != self.stored.size || Digest::from_hash(self.hash) != self.stored.digest {
            let _ = std::fs::remove_file(&path);
            return Err(DownloadError::Whole {
                name: name.to_owned(),
            });
        }
        let (file, to) = (self.file, whole.clone());
        blocking(&self.path, move || {
            file.sync_all()?;
            std::fs::rename(&path, &to)?;
            File::open(&folder)?.sync_all()
        })
        .await?;
        Ok(whole)
    }
}

fn unverified(folder: &Path, stored: &Blob) -> PathBuf {
    folder.join(format!("{}.unverified", stored.digest.hex()))
}

fn open(folder: PathBuf, path: PathBuf, stored: Blob, frames: Arc<[Frame]>) -> io::Result<Part> {
    let flags =
        OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(
        CWD,
        &path,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    let about = file.metadata()?;
    if !about.is_file() || about.nlink() != 1 || about.uid() != rustix::process::geteuid().as_raw()
    {
        return Err(io::Error::other("not a file of Berth's"));
    }
    file.try_lock()?;
    let mut part = Part {
        file: Arc::new(file),
        path,
        folder,
        stored,
        frames,
        verified: 0,
        written: 0,
        hash: Sha256::new(),
        begun: Vec::new(),
    };
    part.take_up()?;
    Ok(part)
}

impl Part {
    /// Goes on after the last frame on disk that verifies.
    fn take_up(&mut self) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        let mut bytes = Vec::new();
        for frame in self.frames.iter() {
            bytes.clear();
            (&*file)
                .take(u64::from(frame.len))
                .read_to_end(&mut bytes)?;
            if bytes.len() != frame.len as usize || Digest::of(&bytes) != frame.digest {
                break;
            }
            self.hash.update(&bytes);
            self.written += u64::from(frame.len);
            self.verified += 1;
        }
        self.file.set_len(self.written)
    }
}

async fn blocking<R: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, DownloadError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(DownloadError::Busy(path.to_owned()))
        }
        outcome => outcome.map_err(DownloadError::io(path)),
    }
}
