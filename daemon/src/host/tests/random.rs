//! Random trees, copied and compared.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat,
    lsetxattr, mknodat, utimensat,
};

use super::Folder;
use super::portrait::{assert_same, portrait};
use crate::host::copy::copy_tree;
use crate::host::tree::{remove, size};

#[derive(Debug, Clone)]
enum Kind {
    Directory,
    /// Runs of data after gaps, and a gap at the end.
    File(Vec<(u32, u16, u8)>, u32),
    Symlink(Vec<u8>),
    Fifo,
    /// Another name of the n-th file, counted around.
    Link(usize),
}

#[derive(Debug, Clone)]
struct Node {
    /// In the n-th directory, counted around.
    within: usize,
    name: Vec<u8>,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    attributes: Vec<(u8, Vec<u8>)>,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Directory),
        5 => (vec((0..300_000_u32, any::<u16>(), any::<u8>()), 0..4), 0..300_000_u32)
            .prop_map(|(runs, end)| Kind::File(runs, end)),
        1 => vec(1..=255_u8, 1..200).prop_map(Kind::Symlink),
        1 => Just(Kind::Fifo),
        3 => any::<usize>().prop_map(Kind::Link),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    (
        any::<usize>(),
        vec(
            (1..=255_u8).prop_filter("no name", |byte| *byte != b'/'),
            1..60,
        ),
        kind(),
        0..0o10000_u32,
        (0..100_000_u32, 0..100_000_u32),
        (-2_000_000_000..4_000_000_000_i64, 0..1_000_000_000_i64),
        vec((any::<u8>(), vec(any::<u8>(), 0..300)), 0..4),
    )
        .prop_map(|(within, name, kind, mode, owner, time, attributes)| Node {
            within,
            name,
            kind,
            mode,
            owner,
            time,
            attributes,
        })
}

/// Makes what can be made of the nodes: a name that is taken is left out.
fn plant(top: &Path, nodes: &[Node]) {
    let root = rustix::process::geteuid().is_root();
    fs::create_dir(top).unwrap();
    let mut directories = vec![top.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    let mut planted = Vec::new();
    for node in nodes {
        let path = directories[node.within % directories.len()].join(OsStr::from_bytes(&node.name));
        if matches!(&*node.name, b"." | b"..") || path.symlink_metadata().is_ok() {
            continue;
        }
        match &node.kind {
            Kind::Directory => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            Kind::File(runs, end) => {
                write(&path, runs, *end);
                files.push(path.clone());
            }
            Kind::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Kind::Fifo => {
                mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
                files.push(path.clone());
            }
            Kind::Link(which) => {
                let Some(file) = files.get(which % files.len().max(1)) else {
                    continue;
                };
                fs::hard_link(file, &path).unwrap();
            }
        }
        planted.push((path, node));
    }
    // From below, so that nothing touches a directory after its own times.
    for (path, node) in planted.iter().rev() {
        dress(path, node, root);
    }
}

fn write(path: &Path, runs: &[(u32, u16, u8)], end: u32) {
    let file = fs::File::create(path).unwrap();
    let mut at = 0;
    for (gap, length, byte) in runs {
        at += u64::from(*gap);
        rustix::io::pwrite(&file, &vec![*byte; usize::from(*length)], at).unwrap();
        at += u64::from(*length);
    }
    file.set_len(at + u64::from(end)).unwrap();
}

fn dress(path: &Path, node: &Node, root: bool) {
    if root {
        let (owner, group) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
        chownat(
            CWD,
            path,
            Some(owner),
            Some(group),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }
    let kind = path.symlink_metadata().unwrap().file_type();
    for (name, value) in &node.attributes {
        // Users may name attributes of files and directories only.
        let name = match (kind.is_file() || kind.is_dir(), root) {
            (true, _) => format!("user.{name}"),
            (false, true) => format!("trusted.{name}"),
            (false, false) => continue,
        };
        lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
    }
    if !kind.is_symlink() {
        let readable = if root { 0 } else { 0o700 };
        chmod(path, Mode::from_raw_mode(node.mode | readable)).unwrap();
    }
    let time = Timespec {
        tv_sec: node.time.0,
        tv_nsec: node.time.1,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_copy_looks_like_its_source(nodes in vec(node(), 0..60)) {
        let folder = Folder::new();
        let (from, to, third) = (folder.join("from"), folder.join("to"), folder.join("third"));
        plant(&from, &nodes);
        let stats = copy_tree(&from, &to).unwrap();
        // The copy of the copy, so that reading for the comparison comes after all copying.
        copy_tree(&to, &third).unwrap();
        let original = portrait(&from);
        prop_assert_eq!(stats.entries + stats.links, original.len() as u64);
        assert_same(&original, &portrait(&to));
        assert_same(&original, &portrait(&third));
        prop_assert!(size(&to).unwrap() <= size(&from).unwrap() + 65_536);
        for tree in [from, to, third] {
            remove(&tree).unwrap();
            prop_assert!(!tree.exists());
        }
        prop_assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 0);
    }
}
