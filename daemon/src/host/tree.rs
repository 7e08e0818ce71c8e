//! Size and removal of trees.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, fsync, renameat, unlinkat};
use rustix::io::Errno;

use super::HostError;
use super::walk::{Cursor, Meta, handle, parent, parent_path, sibling};

/// See [`super::Host::tree_size`].
pub fn size(path: &Path) -> Result<u64, HostError> {
    const OP: &str = "measure";
    let (dir, name) = parent(OP, path)?;
    let mut cursor = Cursor::new(dir, parent_path(path))?;
    let top = Meta::named(cursor.dir(), &name).map_err(cursor.fail(OP, &name))?;
    let mut seen = HashSet::new();
    let mut total = 0_u64;
    let mut pending = vec![vec![name]];
    while let Some(level) = pending.last_mut() {
        let Some(name) = level.pop() else {
            pending.pop();
            if !pending.is_empty() {
                cursor.leave()?;
            }
            continue;
        };
        let Some(meta) = present(Meta::named(cursor.dir(), &name), &cursor, OP, &name)? else {
            continue;
        };
        guard(&top, &meta, OP, &cursor, &name)?;
        if meta.links == 1 || meta.kind == FileType::Directory || seen.insert(meta.id) {
            total = total.saturating_add(meta.allocated);
        }
        if meta.kind != FileType::Directory {
            continue;
        }
        let Some(sub) = present(handle(cursor.dir(), &name), &cursor, OP, &name)? else {
            continue;
        };
        cursor.enter(&name, &sub, meta.id)?;
        let mut subdirs = Vec::new();
        for entry in cursor.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                subdirs.push(name.to_owned());
                continue;
            }
            let found = Meta::named(cursor.dir(), name);
            let Some(meta) = present(found, &cursor, OP, name)? else {
                continue;
            };
            guard(&top, &meta, OP, &cursor, name)?;
            if meta.links == 1 || seen.insert(meta.id) {
                total = total.saturating_add(meta.allocated);
            }
        }
        pending.push(subdirs);
    }
    Ok(total)
}

/// `None` when the entry vanished since its name was read, as entries of a living tree do.
pub fn present<T>(
    result: Result<T, Errno>,
    cursor: &Cursor,
    op: &'static str,
    name: &CStr,
) -> Result<Option<T>, HostError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(cursor.fail(op, name)(errno)),
    }
}

/// Refuses what is mounted inside of the tree.
pub fn guard(
    top: &Meta,
    meta: &Meta,
    op: &'static str,
    cursor: &Cursor,
    name: &CStr,
) -> Result<(), HostError> {
    if top.same_mount(meta) {
        Ok(())
    } else {
        Err(HostError::MountInside {
            op,
            path: cursor.path_of(name),
        })
    }
}

/// See [`super::Host::remove_tree`].
pub fn remove(path: &Path) -> Result<(), HostError> {
    const OP: &str = "remove";
    let (dir, name) = match parent(OP, path) {
        Err(HostError::System {
            errno: Errno::NOENT,
            ..
        }) => return Ok(()),
        other => other?,
    };
    let fail = |errno| HostError::system(OP, path, errno);
    refuse_mounts(OP, path)?;
    let trash_path = sibling(path, ".trash");
    let (_, trash) = parent(OP, &trash_path)?;
    // What an earlier removal did not finish.
    remove_now(&dir, &trash, &trash_path)?;
    match renameat(&dir, &name, &dir, &trash) {
        Err(Errno::NOENT) => return fsync(&dir).map_err(fail),
        other => other.map_err(fail)?,
    }
    // The old name must be gone before the first file is.
    fsync(&dir).map_err(fail)?;
    remove_now(&dir, &trash, &trash_path)?;
    fsync(&dir).map_err(fail)
}

/// Removes `name` in `dir` at once, whatever it is. `path` names it in errors.
pub fn remove_now(dir: &OwnedFd, name: &CStr, path: &Path) -> Result<(), HostError> {
    const OP: &str = "remove";
    if unlink(dir, name).map_err(|errno| HostError::system(OP, path, errno))? {
        return Ok(());
    }
    let dir = dir
        .try_clone()
        .map_err(|error| HostError::io(OP, path, &error))?;
    let mut cursor = Cursor::new(dir, parent_path(path))?;
    let top = Meta::named(cursor.dir(), name).map_err(cursor.fail(OP, name))?;
    let mut names: Vec<CString> = Vec::new();
    let mut pending = vec![vec![name.to_owned()]];
    while let Some(level) = pending.last_mut() {
        if let Some(name) = level.pop() {
            let sub = handle(cursor.dir(), &name).map_err(cursor.fail(OP, &name))?;
            let meta = Meta::of(&sub).map_err(cursor.fail(OP, &name))?;
            guard(&top, &meta, OP, &cursor, &name)?;
            cursor.enter(&name, &sub, meta.id)?;
            let mut subdirs = Vec::new();
            for entry in cursor.entries()? {
                let entry = entry?;
                let name = entry.file_name();
                if !unlink(cursor.dir(), name).map_err(cursor.fail(OP, name))? {
                    subdirs.push(name.to_owned());
                }
            }
            names.push(name);
            pending.push(subdirs);
            continue;
        }
        pending.pop();
        let Some(name) = names.pop() else { break };
        cursor.leave()?;
        match unlinkat(cursor.dir(), &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(cursor.fail(OP, &name)(errno)),
        }
    }
    Ok(())
}

/// False when it is a directory, which wants to be emptied first.
fn unlink(dir: impl AsFd, name: &CStr) -> Result<bool, Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Looks before anything is touched; the walk itself looks again, at each directory.
fn refuse_mounts(op: &'static str, path: &Path) -> Result<(), HostError> {
    // The last name is not followed, so only its folder may be made canonical.
    let (Ok(folder), Some(name)) = (fs::canonicalize(parent_path(path)), path.file_name()) else {
        return Ok(());
    };
    let top = folder.join(name);
    let table = Path::new("/proc/self/mountinfo");
    let mounts = fs::read(table).map_err(|error| HostError::io("read", table, &error))?;
    for line in mounts.split(|byte| *byte == b'\n') {
        // proc(5): the fifth field is the mount point.
        let Some(point) = line.split(|byte| *byte == b' ').nth(4) else {
            continue;
        };
        let point = unescape(point);
        if point.starts_with(&top) {
            return Err(HostError::MountInside { op, path: point });
        }
    }
    Ok(())
}

/// The kernel writes space, tab, newline and backslash of a mount point as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'\\'
            && let Some((code, after)) = after.split_first_chunk::<3>()
            && let Ok(code) = std::str::from_utf8(code)
            && let Ok(code) = u8::from_str_radix(code, 8)
        {
            plain.push(code);
            rest = after;
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(br"/a\040b\134c\011"), Path::new("/a b\\c\t"));
        assert_eq!(unescape(br"/plain\04"), Path::new("/plain\\04"));
        assert_eq!(unescape(b"/\xff").as_os_str().as_bytes(), b"/\xff");
    }
}
