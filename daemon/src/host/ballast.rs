//! Disk that is held back for a rollback.

use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, fallocate, fsync, ftruncate, openat, unlinkat,
};
use rustix::io::{Errno, write};
use rustix::rand::{GetRandomFlags, getrandom};

use super::HostError;
use super::disk::{disk, sync_dir};
use super::walk::{Meta, parent_path};

/// See [`super::Host::ballast`].
pub fn hold(path: &Path, bytes: u64) -> Result<(), HostError> {
    const OP: &str = "hold ballast in";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held =
        openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).and_then(|file| fill(&file, bytes));
    match held {
        Ok(()) => sync_dir(OP, parent_path(path)),
        Err(Errno::NOSPC | Errno::DQUOT) => {
            // Half a ballast would make the disk fuller and help nobody.
            let removed = release(path);
            let room = disk(path)?;
            removed?;
            Err(HostError::NoSpace {
                op: OP,
                path: path.to_owned(),
                wanted: Some(bytes),
                free: room.free,
                free_inodes: room.free_inodes,
            })
        }
        Err(errno) => Err(HostError::system(OP, path, errno)),
    }
}

fn fill(file: &OwnedFd, bytes: u64) -> Result<(), Errno> {
    let meta = Meta::of(file)?;
    if meta.size == bytes && meta.allocated >= bytes {
        return fsync(file);
    }
    ftruncate(file, bytes)?;
    if bytes > 0 {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP) => fill_with_noise(file, bytes)?,
            other => other?,
        }
    }
    fsync(file)
}

/// For filesystems without `fallocate`; noise, because some of those compress.
fn fill_with_noise(file: &OwnedFd, bytes: u64) -> Result<(), Errno> {
    let mut noise = vec![0_u8; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(noise.len());
        let (part, _) = noise.split_at_mut(length);
        let drawn = getrandom(&mut *part, GetRandomFlags::empty())?;
        let written = write(file, &part[..drawn])?;
        left -= written as u64;
    }
    Ok(())
}

/// See [`super::Host::release_ballast`].
pub fn release(path: &Path) -> Result<(), HostError> {
    const OP: &str = "release the ballast";
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(HostError::system(OP, path, errno)),
    }
    // Freed blocks can be used again only once the journal has let go of them.
    sync_dir(OP, parent_path(path))
}
