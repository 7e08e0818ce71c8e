//! All that can be seen of a tree, to hold two against each other. Plain paths and std here: it
//! shares nothing with the code under test.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, lgetxattr, llistxattr, utimensat};

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Face {
    pub mode: u32,
    owner: (u32, u32),
    device: u64,
    times: [(i64, i64); 2],
    content: Content,
    /// Escaped.
    attributes: BTreeMap<String, String>,
    /// The first name of the same inode.
    same_as: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Link(PathBuf),
    Directory,
    Special,
}

/// The tree, by paths below its top; sockets are left out, as a copy leaves them out.
pub fn portrait(top: &Path) -> BTreeMap<PathBuf, Face> {
    let mut faces = BTreeMap::new();
    let mut first_names = HashMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(name) = pending.pop() {
        let path = if name.as_os_str().is_empty() {
            top.to_owned()
        } else {
            top.join(&name)
        };
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.file_type().is_socket() {
            continue;
        }
        let content = if meta.is_dir() {
            let mut names: Vec<OsString> = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            pending.extend(names.iter().rev().map(|child| name.join(child)));
            Content::Directory
        } else if meta.is_symlink() {
            Content::Link(fs::read_link(&path).unwrap())
        } else if meta.is_file() {
            Content::File(fs::read(&path).unwrap())
        } else {
            Content::Special
        };
        // Looking leaves no trace.
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: time(meta.atime(), meta.atime_nsec()),
            last_modification: time(meta.mtime(), meta.mtime_nsec()),
        };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let same_as = first_names
            .entry(meta.ino())
            .or_insert_with(|| name.clone())
            .clone();
        // Nobody can read a link without touching its time of access.
        let accessed = if meta.is_symlink() {
            (0, 0)
        } else {
            (meta.atime(), meta.atime_nsec())
        };
        let face = Face {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            device: meta.rdev(),
            times: [(meta.mtime(), meta.mtime_nsec()), accessed],
            content,
            attributes: attributes(&path),
            same_as,
        };
        faces.insert(name, face);
    }
    faces
}

fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut buffer = vec![0; 65536];
    let length = llistxattr(path, &mut *buffer).unwrap();
    let names: Vec<Vec<u8>> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"trusted.SGI_ACL_"))
        .map(<[u8]>::to_vec)
        .collect();
    let value = |name: &Vec<u8>| {
        let mut buffer = vec![0; 65536];
        let length = lgetxattr(path, name.as_slice(), &mut *buffer).unwrap();
        buffer[..length].escape_ascii().to_string()
    };
    names
        .into_iter()
        .map(|name| (name.escape_ascii().to_string(), value(&name)))
        .collect()
}

/// Fails with the first difference, not with two whole trees.
pub fn assert_same(one: &BTreeMap<PathBuf, Face>, two: &BTreeMap<PathBuf, Face>) {
    for (name, face) in one {
        assert_eq!(Some(face), two.get(name), "{} differs", name.display());
    }
    let added: Vec<_> = two.keys().filter(|name| !one.contains_key(*name)).collect();
    assert!(added.is_empty(), "only in the second: {added:?}");
}
