//! Room on disk, RAM, and the small durable acts on single entries.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, StatVfs, StatxFlags, fstatvfs, fsync, mkdirat, openat, statx,
};
use rustix::io::Errno;

use super::walk::{Meta, parent_path};
use super::{Disk, HostError, Memory};

/// See [`super::Host::disk`].
pub fn disk(path: &Path) -> Result<Disk, HostError> {
    let mut place = path;
    loop {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat(CWD, place, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) if parent_path(place) != place => {
                place = parent_path(place);
            }
            opened => {
                return opened
                    .and_then(|dir| Ok(room(&fstatvfs(&dir)?, &Meta::of(&dir)?)))
                    .map_err(|errno| HostError::System {
                        op: "measure the filesystem of",
                        path: path.to_owned(),
                        errno,
                    });
            }
        }
    }
}

fn room(stat: &StatVfs, meta: &Meta) -> Disk {
    Disk {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        free_inodes: (stat.f_files > 0).then_some(stat.f_favail),
        filesystem: meta.id.device,
    }
}

/// See [`super::Host::memory`].
pub fn memory() -> Result<Memory, HostError> {
    const OP: &str = "read";
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(|error| HostError::io(OP, path, &error))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .and_then(|kib| kib.checked_mul(1024))
            .ok_or_else(|| HostError::Unexpected {
                op: OP,
                path: path.to_owned(),
                problem: format!("no usable line {name}"),
            })
    };
    Ok(Memory {
        total: field("MemTotal")?,
        available: field("MemAvailable")?,
    })
}

/// See [`super::Host::exists`].
pub fn exists(path: &Path) -> Result<bool, HostError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) => match HostError::errno(&error) {
            Errno::NOENT | Errno::NOTDIR => Ok(false),
            errno => Err(HostError::system("look for", path, errno)),
        },
    }
}

/// See [`super::Host::identity`].
pub fn identity(path: &Path) -> Result<u64, HostError> {
    fs::symlink_metadata(path)
        .map(|meta| meta.ino())
        .map_err(|error| HostError::io("identify", path, &error))
}

/// See [`super::Host::same_mount`].
pub fn same_mount(a: &Path, b: &Path) -> Result<bool, HostError> {
    let mount = |path: &Path| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        statx(
            CWD,
            path,
            flags,
            StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
        )
        .map(|stat| {
            // Before Linux 5.8 only the device is told: bind mounts look like one.
            let known = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
            let id = if known { stat.stx_mnt_id } else { 0 };
            (stat.stx_dev_major, stat.stx_dev_minor, id)
        })
        .map_err(|errno| HostError::system("find the mount of", path, errno))
    };
    Ok(mount(a)? == mount(b)?)
}

/// See [`super::Host::make_dir`].
pub fn make_dir(path: &Path) -> Result<(), HostError> {
    const OP: &str = "make the directory";
    let mut missing = vec![path];
    loop {
        let Some(&place) = missing.last() else {
            return Ok(());
        };
        match mkdirat(CWD, place, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if place.is_dir() => {}
            Err(Errno::NOENT) if parent_path(place) != place => {
                missing.push(parent_path(place));
                continue;
            }
            Err(errno) => return Err(HostError::system(OP, place, errno)),
        }
        // Also for one that exists: whoever made it may have died before this.
        sync_dir(OP, parent_path(place))?;
        missing.pop();
    }
}

/// Makes the entries of a directory durable.
pub fn sync_dir(op: &'static str, path: &Path) -> Result<(), HostError> {
    open_dir(path)
        .and_then(fsync)
        .map_err(|errno| HostError::system(op, path, errno))
}

pub fn open_dir(path: &Path) -> Result<rustix::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
}

/// See [`super::Host::syncfs`].
pub fn syncfs(path: &Path) -> Result<(), HostError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .and_then(rustix::fs::syncfs)
        .map_err(|errno| HostError::system("write out the filesystem of", path, errno))
}
