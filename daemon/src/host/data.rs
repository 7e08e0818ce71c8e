//! The bytes of a file: shared where the filesystem can, else copied without its holes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, pread, pwrite};

use super::CopyStats;
use super::walk::Meta;

/// Of a copy by hand.
const BUFFER: usize = 256 * 1024;

/// On which side a copy failed.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Read,
    Write,
}

/// Copies files, and remembers what the filesystem turned out not to do.
pub struct Data {
    clones: bool,
    ranges: bool,
    buffer: Vec<u8>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            clones: true,
            ranges: true,
            buffer: Vec::new(),
        }
    }
}

impl Data {
    /// Fills the empty `to` with what `from` holds, as far as it went when `meta` was read.
    pub fn copy(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        meta: &Meta,
        stats: &mut CopyStats,
    ) -> Result<(), (Side, Errno)> {
        if meta.size == 0 {
            return Ok(());
        }
        if self.clones && self.clone_whole(from, to).map_err(write)? {
            stats.cloned += meta.size;
            return Ok(());
        }
        // Else every file would cost three more calls.
        let mut sparse = meta.allocated < meta.size;
        let mut at = 0;
        while at < meta.size {
            let (start, end) = if sparse {
                match segment(from, at) {
                    Ok(Some((start, end))) => (start, end.min(meta.size)),
                    Ok(None) => break,
                    // This filesystem does not know its holes.
                    Err(Errno::INVAL) => {
                        sparse = false;
                        continue;
                    }
                    Err(errno) => return Err((Side::Read, errno)),
                }
            } else {
                (at, meta.size)
            };
            let reached = self.range(from, to, start, end)?;
            stats.copied += reached.saturating_sub(start);
            at = end;
            if reached < end {
                // Somebody cut it meanwhile.
                break;
            }
        }
        if sparse || at < meta.size {
            ftruncate(to, meta.size).map_err(write)?;
        }
        Ok(())
    }

    fn clone_whole(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<bool, Errno> {
        match ioctl_ficlone(to, from) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
                self.clones = false;
                Ok(false)
            }
            // Only this file: a swap file, an immutable one, one without checksums on btrfs.
            Err(Errno::INVAL | Errno::PERM | Errno::TXTBSY) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Copies bytes `at..end` and returns how far it came.
    fn range(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        mut at: u64,
        end: u64,
    ) -> Result<u64, (Side, Errno)> {
        while self.ranges && at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let (mut source, mut target) = (at, at);
            match copy_file_range(from, Some(&mut source), to, Some(&mut target), wanted) {
                // The end, or a kernel that cannot and does not say so: reading will tell.
                Ok(0) => break,
                Ok(copied) => at += copied as u64,
                Err(Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                    self.ranges = false;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err((Side::Write, errno)),
            }
        }
        self.buffer
            .resize(if at < end { BUFFER } else { self.buffer.len() }, 0);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
            match pread(from, &mut self.buffer[..wanted], at) {
                Ok(0) => break,
                Ok(read) => at += write_all(to, &self.buffer[..read], at).map_err(write)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err((Side::Read, errno)),
            }
        }
        Ok(at)
    }
}

fn write(errno: Errno) -> (Side, Errno) {
    (Side::Write, errno)
}

/// The next run of data at or after `at`; `None` when only a hole is left.
fn segment(file: impl AsFd, at: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match seek(&file, SeekFrom::Data(at)) {
        Err(Errno::NXIO) => return Ok(None),
        other => other?,
    };
    Ok(Some((start, seek(&file, SeekFrom::Hole(start))?)))
}

fn write_all(file: impl AsFd, bytes: &[u8], at: u64) -> Result<u64, Errno> {
    let mut done = 0;
    while done < bytes.len() {
        match pwrite(&file, &bytes[done..], at + done as u64) {
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done as u64)
}
