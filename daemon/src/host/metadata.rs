//! What belongs to an entry besides its data: owner, extended attributes (ACLs, capabilities and
//! labels among them), mode, times.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Uid, XattrFlags, chmodat, chownat, getxattr, listxattr,
    removexattr, setxattr, utimensat,
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

/// Gives the entry behind `target` what `meta` and the entry behind `source` have. Both may be
/// handles that are not open for reading. `path` names the target in errors.
pub fn apply(
    source: &OwnedFd,
    meta: &Meta,
    target: &OwnedFd,
    path: &Path,
) -> Result<(), HostError> {
    let name = by_handle(target);
    let fail = |op| move |errno| HostError::system(op, path, errno);
    // First: a change of owner takes setuid and capabilities away.
    let owner = Some(Uid::from_raw(meta.uid));
    let group = Some(Gid::from_raw(meta.gid));
    chownat(target, c"", owner, group, AtFlags::EMPTY_PATH).map_err(fail("set the owner of"))?;
    attributes(&by_handle(source), &name, path)?;
    // After the ACLs, whose mask is the group's part of the mode. Links have none.
    if meta.kind != FileType::Symlink {
        chmodat(CWD, &*name, meta.mode, AtFlags::empty()).map_err(fail("set the mode of"))?;
    }
    utimensat(CWD, &*name, &meta.times, AtFlags::empty()).map_err(fail("set the times of"))
}

/// Takes away what a new entry inherits from the folder that it is made in.
pub fn clear_inherited_acl(target: &OwnedFd, path: &Path) -> Result<(), HostError> {
    let name = by_handle(target);
    for attribute in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match removexattr(&*name, attribute) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(HostError::system("clear the ACL of", path, errno)),
        }
    }
    Ok(())
}

fn attributes(source: &str, target: &str, path: &Path) -> Result<(), HostError> {
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
        let done = match getxattr(source, &*name, &mut *value) {
            // Taken away since the list was read.
            Err(Errno::NODATA) => Ok(()),
            Err(errno) => Err(errno),
            Ok(length) => setxattr(target, &*name, &value[..length], XattrFlags::empty()),
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

fn list(path: &str) -> Result<Vec<CString>, Errno> {
    // Nearly all entries have none or one short name.
    let mut small = [0_u8; 256];
    let mut large;
    let names = match listxattr(path, &mut small[..]) {
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large = vec![0; LARGEST];
            let length = listxattr(path, &mut *large)?;
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
