//! What belongs to an entry besides its data: owner, extended attributes (ACLs, capabilities and
//! labels among them), mode, times.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fgetxattr, flistxattr, fsetxattr, futimens, getxattr, listxattr, removexattr, setxattr,
    utimensat,
};
use rustix::io::Errno;

use super::walk::{Meta, by_handle};
use super::{HostError, disk};

/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of Linux.
const LARGEST: usize = 65536;

/// What the kernel makes anew: a signature that is bound to the inode, and the form in which XFS keeps
/// ACLs, which are copied by their proper names.
const NOT_COPIED: &[&CStr] = &[
    c"security.evm",
    c"trusted.SGI_ACL_FILE",
    c"trusted.SGI_ACL_DEFAULT",
];

/// An entry, by the shortest way to what belongs to it.
enum Place<'a> {
    /// Files and directories, opened.
    Open(BorrowedFd<'a>),
    /// Links, FIFOs and devices, which nobody opens: by the name of their handle in `/proc`.
    Named(String),
}

impl<'a> Place<'a> {
    fn new(handle: &'a OwnedFd, kind: FileType) -> Self {
        match kind {
            FileType::RegularFile | FileType::Directory => Self::Open(handle.as_fd()),
            _ => Self::Named(by_handle(handle)),
        }
    }

    fn list(&self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => flistxattr(file, names),
            Self::Named(name) => listxattr(&**name, names),
        }
    }

    fn get(&self, attribute: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fgetxattr(file, attribute, value),
            Self::Named(name) => getxattr(&**name, attribute, value),
        }
    }

    fn set(&self, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fsetxattr(file, attribute, value, XattrFlags::empty()),
            Self::Named(name) => setxattr(&**name, attribute, value, XattrFlags::empty()),
        }
    }

    fn set_mode(&self, mode: Mode) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fchmod(file, mode),
            Self::Named(name) => chmodat(CWD, &**name, mode, AtFlags::empty()),
        }
    }

    fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(file) => futimens(file, times),
            Self::Named(name) => utimensat(CWD, &**name, times, AtFlags::empty()),
        }
    }
}

/// Gives the entry behind `target` what `meta` and the entry behind `source` have. Files and
/// directories must be open, of the rest handles will do. `path` names the target in errors.
pub fn apply(
    source: &OwnedFd,
    meta: &Meta,
    target: &OwnedFd,
    path: &Path,
) -> Result<(), HostError> {
    let place = Place::new(target, meta.kind);
    let fail = |op| move |errno| HostError::system(op, path, errno);
    // First: a change of owner takes setuid and capabilities away.
    let owner = Some(Uid::from_raw(meta.uid));
    let group = Some(Gid::from_raw(meta.gid));
    chownat(target, c"", owner, group, AtFlags::EMPTY_PATH).map_err(fail("set the owner of"))?;
    attributes(&Place::new(source, meta.kind), &place, path)?;
    // After the ACLs, whose mask is the group's part of the mode. Links have none.
    if meta.kind != FileType::Symlink {
        place.set_mode(meta.mode).map_err(fail("set the mode of"))?;
    }
    place
        .set_times(&meta.times)
        .map_err(fail("set the times of"))
}

/// Takes away what a new entry inherits from the folder that it is made in: such an ACL also decides
/// over the mode, which becomes what it would have been.
pub fn clear_inherited_acl(target: &OwnedFd, mode: Mode, path: &Path) -> Result<(), HostError> {
    const OP: &str = "clear the ACL of";
    let name = by_handle(target);
    for attribute in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match removexattr(&*name, attribute) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(HostError::system(OP, path, errno)),
        }
    }
    chmodat(CWD, &*name, mode, AtFlags::empty()).map_err(|errno| HostError::system(OP, path, errno))
}

fn attributes(source: &Place, target: &Place, path: &Path) -> Result<(), HostError> {
    const OP: &str = "copy the extended attributes of";
    let names = list(source).map_err(|errno| HostError::system(OP, path, errno))?;
    if names.is_empty() {
        return Ok(());
    }
    let mut value = vec![0; LARGEST];
    for name in names {
        if NOT_COPIED.contains(&&*name) {
            continue;
        }
        let done = match source.get(&name, &mut value) {
            // Taken away since the list was read.
            Err(Errno::NODATA) => Ok(()),
            Err(errno) => Err(errno),
            Ok(length) => target.set(&name, &value[..length]),
        };
        match done {
            Ok(()) => {}
            // ext4 says so too when the attributes of one inode outgrow a block.
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) if is_full(path) => {
                return Err(HostError::system(OP, path, errno));
            }
            Err(errno) => {
                return Err(HostError::Unexpected {
                    op: OP,
                    path: path.to_owned(),
                    problem: format!("{}: {errno}", name.to_string_lossy()),
                });
            }
        }
    }
    Ok(())
}

fn is_full(path: &Path) -> bool {
    disk::disk(path).is_ok_and(|room| room.free < 1 << 20)
}

fn list(place: &Place) -> Result<Vec<CString>, Errno> {
    // Nearly all entries have none or one short name.
    let mut small = [0_u8; 256];
    let mut large;
    let names = match place.list(&mut small) {
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large = vec![0; LARGEST];
            let length = place.list(&mut large)?;
            &large[..length]
        }
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}
