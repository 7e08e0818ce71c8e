//! Walking trees by directory handles, so that nobody who swaps a name for a link on the way can
//! lead a walk out of its tree, and so that neither depth nor odd names matter.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dev, Dir, DirEntry, FileType, Mode, OFlags, StatxFlags, StatxTimestamp, Timespec,
    Timestamps, makedev, openat, statx,
};
use rustix::io::Errno;
use rustix::path::Arg;

use super::HostError;

/// Handles that a cursor keeps open; deeper than that it goes back by `..` and checks where it
/// arrived. The usual limit of a process is 1024, and a copy has two cursors.
const OPEN_LEVELS: usize = 128;

/// Opens a directory for reading entries, and nothing else.
pub const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Names an entry without opening it: no device is woken, no FIFO waits.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Which inode, on which filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id {
    pub device: Dev,
    pub inode: u64,
}

/// What the filesystem says about an entry.
#[derive(Debug, Clone)]
pub struct Meta {
    pub id: Id,
    /// `None` before Linux 5.8.
    mount: Option<u64>,
    pub kind: FileType,
    pub mode: Mode,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub size: u64,
    /// Bytes on disk.
    pub allocated: u64,
    /// Of a device node.
    pub device: Dev,
    pub times: Timestamps,
}

impl Meta {
    pub fn of(handle: impl AsFd) -> Result<Self, Errno> {
        Self::at(handle, c"", AtFlags::EMPTY_PATH)
    }

    pub fn named(dir: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        Self::at(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn at(dir: impl AsFd, name: &CStr, flags: AtFlags) -> Result<Self, Errno> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        let stat = statx(dir, name, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
        let mode = u32::from(stat.stx_mode);
        let known_mount = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
        Ok(Self {
            id: Id {
                device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
            },
            mount: known_mount.then_some(stat.stx_mnt_id),
            kind: FileType::from_raw_mode(mode),
            mode: Mode::from_raw_mode(mode & 0o7777),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            links: stat.stx_nlink,
            size: stat.stx_size,
            allocated: stat.stx_blocks.saturating_mul(512),
            device: makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            times: Timestamps {
                last_access: timespec(stat.stx_atime),
                last_modification: timespec(stat.stx_mtime),
            },
        })
    }

    /// Whether both are on one mount. Old kernels number no mounts, and there the device decides,
    /// for directories only: overlayfs gives files devices of their own.
    pub fn same_mount(&self, other: &Self) -> bool {
        match (self.mount, other.mount) {
            (Some(one), Some(two)) => one == two,
            _ => other.kind != FileType::Directory || self.id.device == other.id.device,
        }
    }
}

fn timespec(time: StatxTimestamp) -> Timespec {
    Timespec {
        tv_sec: time.tv_sec,
        tv_nsec: time.tv_nsec.into(),
    }
}

/// A name of the open file that works where a call takes no handle, also for links and devices.
pub fn by_handle(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

/// Handle of an entry that is neither followed nor opened.
pub fn handle(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    openat(dir, name, HANDLE, Mode::empty())
}

/// Opens without touching the time of access, where this process may.
pub fn open_quietly(
    dir: impl AsFd,
    name: impl Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    match openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&dir, name, flags, Mode::empty()),
        other => other,
    }
}

/// The directory that holds `path`, opened, and the name in it. Links on the way there are the
/// admin's and are followed; the last name is not.
pub fn parent(op: &'static str, path: &Path) -> Result<(OwnedFd, CString), HostError> {
    let name = path.file_name().ok_or_else(|| HostError::Unexpected {
        op,
        path: path.to_owned(),
        problem: "it has no name of its own".to_owned(),
    })?;
    let folder = parent_path(path);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, folder, flags, Mode::empty())
        .map_err(|errno| HostError::system(op, folder, errno))?;
    Ok((dir, c_name(op, name)?))
}

/// The folder of a path; of a bare name, the current one.
pub fn parent_path(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn c_name(op: &'static str, name: &OsStr) -> Result<CString, HostError> {
    CString::new(name.as_bytes()).map_err(|_| HostError::system(op, Path::new(name), Errno::INVAL))
}

/// `path` with something behind its last name.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A directory in a tree that one can go down from and back up to.
pub struct Cursor {
    dir: OwnedFd,
    id: Id,
    path: PathBuf,
    parents: Vec<Parent>,
}

struct Parent {
    /// Let go when the tree is deep.
    dir: Option<OwnedFd>,
    id: Id,
}

impl Cursor {
    /// Stands in `dir`, which `path` names in errors.
    pub fn new(dir: OwnedFd, path: &Path) -> Result<Self, HostError> {
        let meta = Meta::of(&dir).map_err(|errno| HostError::system("look at", path, errno))?;
        Ok(Self {
            dir,
            id: meta.id,
            path: path.to_owned(),
            parents: Vec::new(),
        })
    }

    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// For errors only.
    pub fn path_of(&self, name: &CStr) -> PathBuf {
        self.path.join(OsStr::from_bytes(name.to_bytes()))
    }

    /// An error about `name` in this directory.
    pub fn fail<'a>(
        &'a self,
        op: &'static str,
        name: &'a CStr,
    ) -> impl FnOnce(Errno) -> HostError + 'a {
        move |errno| HostError::system(op, &self.path_of(name), errno)
    }

    /// Goes into a subdirectory by its handle, so that it is the one that was looked at.
    pub fn enter(&mut self, name: &CStr, handle: &OwnedFd, id: Id) -> Result<(), HostError> {
        let dir = open_quietly(handle, c".", DIRECTORY).map_err(self.fail("open", name))?;
        let left = std::mem::replace(&mut self.dir, dir);
        self.parents.push(Parent {
            dir: Some(left),
            id: self.id,
        });
        if let Some(far) = self.parents.len().checked_sub(OPEN_LEVELS + 1) {
            self.parents[far].dir = None;
        }
        self.id = id;
        self.path.push(OsStr::from_bytes(name.to_bytes()));
        Ok(())
    }

    /// Goes back up and hands over the directory that was left.
    pub fn leave(&mut self) -> Result<OwnedFd, HostError> {
        let Some(parent) = self.parents.pop() else {
            return Err(self.unexpected("there is no way up from the top"));
        };
        let above = match parent.dir {
            Some(dir) => dir,
            None => self.above(parent.id)?,
        };
        self.id = parent.id;
        self.path.pop();
        Ok(std::mem::replace(&mut self.dir, above))
    }

    fn above(&self, expected: Id) -> Result<OwnedFd, HostError> {
        let fail = |errno| HostError::system("go up from", &self.path, errno);
        let dir = openat(&self.dir, c"..", DIRECTORY, Mode::empty()).map_err(fail)?;
        if Meta::of(&dir).map_err(fail)?.id == expected {
            Ok(dir)
        } else {
            Err(self.unexpected("somebody moved it meanwhile"))
        }
    }

    fn unexpected(&self, problem: &str) -> HostError {
        HostError::Unexpected {
            op: "walk",
            path: self.path.clone(),
            problem: problem.to_owned(),
        }
    }

    /// The entries as they are read, so that a directory of a million files is never in memory.
    pub fn entries(&self) -> Result<Entries, HostError> {
        // A stream of its own: the position of `self.dir` stays untouched.
        let stream = open_quietly(&self.dir, c".", DIRECTORY)
            .and_then(Dir::new)
            .map_err(|errno| HostError::system("list", &self.path, errno))?;
        Ok(Entries {
            stream,
            path: self.path.clone(),
        })
    }
}

/// Entries of a directory, without itself and its parent.
pub struct Entries {
    stream: Dir,
    path: PathBuf,
}

impl Iterator for Entries {
    type Item = Result<DirEntry, HostError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.stream.read()? {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(errno) => return Some(Err(HostError::system("list", &self.path, errno))),
            }
        }
    }
}
