//! Small files that a release brings, kept under the digits of their digest.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_format::Digest;
use berth_format::digest::Hashing;
use rustix::fs::{CWD, Mode, OFlags};

use super::ImportError;

/// The folder that they are in.
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn open(dir: &Path) -> Result<Self, ImportError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(ImportError::io(dir))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Whether the file is here and whole. A name is given only to what was synced, but a disk
    /// can also lose later.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let check = || -> io::Result<bool> {
            let mut file = File::open(self.dir.join(digest.hex()))?;
            let mut hash = Hashing::new(io::sink());
            io::copy(&mut file, &mut hash)?;
            Ok(hash.finish().1 == *digest)
        };
        check().unwrap_or(false)
    }

    /// Takes `size` bytes; they get their name when they are on disk and are what was signed.
    pub(super) fn put(
        &self,
        digest: &Digest,
        size: u64,
        from: &mut impl Read,
    ) -> Result<bool, ImportError> {
        let partial = self.dir.join(format!(".{}.partial", digest.hex()));
        let path = self.dir.join(digest.hex());
        write(&partial, size, from)
            .and_then(|found| {
                if found != *digest {
                    std::fs::remove_file(&partial)?;
                    return Ok(false);
                }
                std::fs::rename(&partial, &path)?;
                Ok(true)
            })
            .map_err(ImportError::io(&path))
    }

    /// Makes the names durable.
    pub(super) fn sync(&self) -> Result<(), ImportError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(ImportError::io(&self.dir))
    }
}

fn write(partial: &Path, size: u64, from: &mut impl Read) -> io::Result<Digest> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, partial, flags, Mode::RUSR | Mode::WUSR)?;
    let mut out = Hashing::new(File::from(file));
    io::copy(&mut from.take(size), &mut out)?;
    out.flush()?;
    let (file, digest, _) = out.finish();
    file.sync_all()?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_gets_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(&dir.path().join("files")).unwrap();
        let digest = Digest::of(b"shipped");
        // Left by one that was killed, or laid there by somebody else.
        let partial = files.dir.join(format!(".{}.partial", digest.hex()));
        std::os::unix::fs::symlink("/etc/passwd", &partial).unwrap();
        assert!(!files.put(&digest, 7, &mut &b"shapped"[..]).unwrap());
        assert!(!files.has(&digest));
        assert_eq!(std::fs::read_dir(&files.dir).unwrap().count(), 0);
        assert!(
            files
                .put(&digest, 7, &mut &b"shipped and more"[..])
                .unwrap()
        );
        assert!(files.has(&digest));
        files.sync().unwrap();
        std::fs::write(files.dir.join(digest.hex()), "rotten").unwrap();
        assert!(!files.has(&digest));
    }
}
