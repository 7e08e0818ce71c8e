//! What a copy keeps, refuses and survives.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    lsetxattr, makedev, mknodat, renameat_with, utimensat,
};

use super::loopfs::{Bind, EXT4, LoopFs, XFS};
use super::portrait::{assert_same, portrait};
use super::{Folder, as_root};
use crate::host::HostError;
use crate::host::copy::copy_tree;
use crate::host::tree::{remove, size};

/// One of everything that a user who is not root may make.
fn furnish(top: &Path) {
    fs::create_dir(top).unwrap();
    fs::write(top.join("file"), b"data").unwrap();
    fs::write(top.join("empty"), b"").unwrap();
    fs::hard_link(top.join("file"), top.join("file again")).unwrap();
    fs::create_dir(top.join("dir")).unwrap();
    fs::hard_link(top.join("file"), top.join("dir/third")).unwrap();
    symlink("../nowhere", top.join("dir/dangling")).unwrap();
    symlink(top.join("file"), top.join("absolute")).unwrap();
    let fifo = Mode::from_raw_mode(0o640);
    mknodat(CWD, top.join("fifo"), FileType::Fifo, fifo, 0).unwrap();
    fs::write(top.join("mode"), b"#!").unwrap();
    fs::set_permissions(top.join("mode"), fs::Permissions::from_mode(0o6751)).unwrap();
    lsetxattr(
        top.join("file"),
        "user.note",
        b"\0bytes\xff",
        XattrFlags::empty(),
    )
    .unwrap();
    lsetxattr(top.join("dir"), "user.empty", b"", XattrFlags::empty()).unwrap();
    let long = vec![b'x'; 2000];
    lsetxattr(top.join("dir"), "user.long", &long, XattrFlags::empty()).unwrap();
    let acl = acl(&[
        (0x01, 6, NOBODY),
        (0x02, 7, 12345),
        (0x04, 4, NOBODY),
        (0x10, 5, NOBODY),
    ]);
    lsetxattr(
        top.join("mode"),
        "system.posix_acl_access",
        &acl,
        XattrFlags::empty(),
    )
    .unwrap();
    lsetxattr(
        top.join("dir"),
        "system.posix_acl_default",
        &acl,
        XattrFlags::empty(),
    )
    .unwrap();
    fs::write(top.join("dir/made below a default ACL"), b"").unwrap();
    sparse(&top.join("sparse"));
    times(&top.join("dir/dangling"), -1, 123_456_789);
    times(&top.join("file"), 1_000_000_000, 999_999_999);
    fs::set_permissions(top.join("dir"), fs::Permissions::from_mode(0o3770)).unwrap();
    times(&top.join("dir"), 2, 1);
    times(top, 5, 7);
}

/// `ACL_UNDEFINED_ID`, for entries that name nobody.
const NOBODY: u32 = u32::MAX;

/// The kernel's form of an ACL (`posix_acl_xattr.h`), with the entry for others that it must end in.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries.iter().chain(&[(0x20, 0, NOBODY)]) {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn sparse(path: &Path) {
    let file = fs::File::create(path).unwrap();
    for (at, text) in [
        (1 << 20, "one"),
        (40 << 20, "two"),
        ((40 << 20) + 70_000, "three"),
    ] {
        rustix::io::pwrite(&file, text.as_bytes(), at).unwrap();
    }
    file.set_len(64 << 20).unwrap();
    file.sync_all().unwrap();
}

fn times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn everything_is_kept() {
    let folder = Folder::new();
    let (from, to) = (folder.join("from"), folder.join("to"));
    furnish(&from);
    let before = portrait(&from);
    let stats = copy_tree(&from, &to).unwrap();
    assert_same(&before, &portrait(&to));
    assert_eq!(stats.links, 2);
    assert_eq!(stats.entries, before.len() as u64 - 2);
    let (sparse, copy) = (
        fs::metadata(from.join("sparse")),
        fs::metadata(to.join("sparse")),
    );
    assert!(
        copy.unwrap().blocks() <= sparse.unwrap().blocks(),
        "holes were filled"
    );
    assert!(!folder.join("to.partial").exists());
}

#[test]
fn the_source_is_not_touched() {
    let folder = Folder::new();
    let from = folder.join("from");
    furnish(&from);
    // Also the times of access.
    let before = portrait(&from);
    copy_tree(&from, &folder.join("to")).unwrap();
    assert_same(&before, &portrait(&from));
}

#[test]
fn a_single_file_is_a_tree_too() {
    let folder = Folder::new();
    fs::write(folder.join("from"), b"settings").unwrap();
    copy_tree(&folder.join("from"), &folder.join("to")).unwrap();
    assert_same(
        &portrait(&folder.join("from")),
        &portrait(&folder.join("to")),
    );
    assert_eq!(fs::read(folder.join("to")).unwrap(), b"settings");
}

#[test]
fn a_link_as_the_top_is_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.join("real")).unwrap();
    symlink("real", folder.join("from")).unwrap();
    let error = copy_tree(&folder.join("from"), &folder.join("to")).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(!folder.join("to").exists());
}

#[test]
fn a_socket_is_skipped_and_counted() {
    let folder = Folder::new();
    fs::create_dir(folder.join("from")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("from/s")).unwrap();
    let stats = copy_tree(&folder.join("from"), &folder.join("to")).unwrap();
    assert_eq!((stats.sockets_skipped, stats.entries), (1, 1));
    assert_eq!(fs::read_dir(folder.join("to")).unwrap().count(), 0);
}

#[test]
fn what_is_there_is_not_overwritten_and_what_is_stale_is_removed() {
    let folder = Folder::new();
    let (from, to) = (folder.join("from"), folder.join("to"));
    furnish(&from);
    furnish(&folder.join("to.partial"));
    fs::write(folder.join("to.partial/leftover"), b"").unwrap();
    copy_tree(&from, &to).unwrap();
    assert!(!to.join("leftover").exists());
    fs::write(to.join("mark"), b"").unwrap();
    let error = copy_tree(&from, &to).unwrap_err();
    assert_eq!(
        error,
        HostError::AlreadyThere {
            op: "copy to",
            path: to.clone()
        }
    );
    assert!(to.join("mark").exists());
}

#[test]
fn a_missing_source_is_named() {
    let folder = Folder::new();
    let error = copy_tree(&folder.join("from"), &folder.join("to")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!(
        "copy {}: No such file",
        folder.join("from").display()
    )));
    let error = copy_tree(&folder.path, &folder.join("no/to")).unwrap_err();
    assert!(error.to_string().contains("/no: No such file"), "{error}");
}

#[test]
fn a_copy_into_itself_ends() {
    let folder = Folder::new();
    let from = folder.join("from");
    furnish(&from);
    let error = copy_tree(&from, &from.join("dir/to")).unwrap_err();
    assert!(error.to_string().contains("contain itself"), "{error}");
    assert!(!from.join("dir/to.partial").exists());
}

#[test]
fn deep_trees_and_odd_names() {
    let folder = Folder::new();
    let from = folder.join("from");
    let mut dir = fs::File::open(&folder.path)
        .map(rustix::fd::OwnedFd::from)
        .unwrap();
    let step = CString::new([b'\xff'; 60]).unwrap();
    let flags = super::super::walk::DIRECTORY;
    for level in 0..700 {
        let name = if level == 0 { c"from" } else { step.as_c_str() };
        rustix::fs::mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty()).unwrap();
    }
    let file = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&dir, c"\n", file, Mode::RUSR).unwrap();
    rustix::fs::linkat(&dir, c"\n", &dir, c"-rf *", AtFlags::empty()).unwrap();
    let stats = copy_tree(&from, &folder.join("to")).unwrap();
    assert_eq!((stats.entries, stats.links), (701, 1));
    // As deep as the source: 42,000 bytes of path, ten times what the kernel takes at once.
    assert_eq!(size(&folder.join("to")).unwrap(), size(&from).unwrap());
    remove(&folder.join("to")).unwrap();
    assert!(!folder.join("to").exists());
    assert!(!folder.join("to.trash").exists());
}

#[test]
fn an_acl_of_the_folder_is_not_inherited() {
    let folder = Folder::new();
    let (from, into) = (folder.join("from"), folder.join("into"));
    furnish(&from);
    fs::create_dir(&into).unwrap();
    let acl = acl(&[
        (0x01, 7, NOBODY),
        (0x02, 7, 777),
        (0x04, 7, NOBODY),
        (0x10, 7, NOBODY),
    ]);
    lsetxattr(&into, "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
    copy_tree(&from, &into.join("to")).unwrap();
    assert_same(&portrait(&from), &portrait(&into.join("to")));
    // A file as the top would inherit too.
    copy_tree(&from.join("file"), &into.join("file")).unwrap();
    assert_eq!(portrait(&from.join("file")), portrait(&into.join("file")));
}

/// Ends the other thread, also when this one fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_name_swapped_for_a_link_never_leads_out() {
    let folder = Folder::new();
    let from = folder.join("from");
    fs::create_dir_all(folder.join("outside/dir")).unwrap();
    fs::write(folder.join("outside/dir/secret"), b"secret").unwrap();
    for name in 0..20 {
        fs::create_dir_all(from.join(format!("{name}"))).unwrap();
        fs::write(from.join(format!("{name}/harmless")), b"harmless").unwrap();
    }
    symlink(folder.join("outside/dir"), folder.join("outside/link")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            let link = folder.join("outside/link");
            while !done.load(Ordering::Relaxed) {
                for name in 0..20 {
                    let dir = from.join(format!("{name}"));
                    renameat_with(CWD, &link, CWD, &dir, RenameFlags::EXCHANGE).unwrap();
                    renameat_with(CWD, &link, CWD, &dir, RenameFlags::EXCHANGE).unwrap();
                }
            }
        });
        let mut links = 0;
        for round in 0..100 {
            let to = folder.join(&format!("to-{round}"));
            copy_tree(&from, &to).unwrap();
            for entry in fs::read_dir(&to).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_symlink() {
                    links += 1;
                } else {
                    assert!(!entry.path().join("secret").exists());
                }
            }
        }
        eprintln!("{links} links were copied as links");
    });
}

#[test]
fn files_that_come_and_go_are_no_error() {
    let folder = Folder::new();
    let from = folder.join("from");
    fs::create_dir(&from).unwrap();
    fs::write(from.join("stays"), b"here").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for name in 0..50 {
                    fs::write(from.join(format!("{name}")), b"gone soon").unwrap();
                    fs::create_dir_all(from.join(format!("d{name}"))).unwrap();
                }
                for name in 0..50 {
                    fs::remove_file(from.join(format!("{name}"))).unwrap();
                    fs::remove_dir(from.join(format!("d{name}"))).unwrap();
                }
            }
        });
        for round in 0..50 {
            let to = folder.join(&format!("to-{round}"));
            let copied = copy_tree(&from, &to);
            size(&from).unwrap();
            assert_eq!(fs::read(to.join("stays")).unwrap(), b"here", "{copied:?}");
        }
    });
}

/// What only root may make.
fn furnish_as_root(top: &Path) {
    furnish(top);
    let mode = Mode::from_raw_mode(0o660);
    mknodat(
        CWD,
        top.join("null"),
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )
    .unwrap();
    mknodat(
        CWD,
        top.join("disk"),
        FileType::BlockDevice,
        mode,
        makedev(7, 300),
    )
    .unwrap();
    for (name, id) in [
        ("null", 1),
        ("file", 70),
        ("dir", 999),
        ("absolute", 33),
        ("fifo", 2),
    ] {
        let (owner, group) = (Uid::from_raw(id), Gid::from_raw(id + 1));
        let path = top.join(name);
        chownat(
            CWD,
            &path,
            Some(owner),
            Some(group),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
    }
    lsetxattr(
        top.join("absolute"),
        "trusted.on-a-link",
        b"1",
        XattrFlags::empty(),
    )
    .unwrap();
    lsetxattr(
        top.join("null"),
        "security.label",
        b"label",
        XattrFlags::empty(),
    )
    .unwrap();
    // `cap_net_bind_service=ep`, in version 2 of `struct vfs_cap_data`; owner first, it takes them.
    fs::write(top.join("capable"), b"\x7fELF").unwrap();
    chownat(
        CWD,
        top.join("capable"),
        Some(Uid::from_raw(5)),
        None,
        AtFlags::empty(),
    )
    .unwrap();
    let capability: Vec<u8> = [0x0200_0001_u32, 1 << 10, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let name = "security.capability";
    lsetxattr(top.join("capable"), name, &capability, XattrFlags::empty()).unwrap();
}

#[test]
fn ext4_copies_all_of_it() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(EXT4, 128);
    furnish_as_root(&disk.join("from"));
    let before = portrait(&disk.join("from"));
    let stats = copy_tree(&disk.join("from"), &disk.join("to")).unwrap();
    assert_same(&before, &portrait(&disk.join("to")));
    assert_eq!(stats.cloned, 0);
    assert!(stats.copied > 0 && stats.copied < 1 << 20, "{stats:?}");
}

#[test]
fn xfs_shares_all_of_it() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(XFS, 400);
    furnish_as_root(&disk.join("from"));
    let before = portrait(&disk.join("from"));
    let stats = copy_tree(&disk.join("from"), &disk.join("to")).unwrap();
    assert_same(&before, &portrait(&disk.join("to")));
    assert_eq!(stats.copied, 0);
    assert!(stats.cloned > 64 << 20, "{stats:?}");
    fs::write(disk.join("to/file"), b"changed").unwrap();
    assert_eq!(fs::read(disk.join("from/file")).unwrap(), b"data");
}

#[test]
fn another_filesystem_gets_all_of_it() {
    if !as_root() {
        return;
    }
    let (one, two) = (LoopFs::new(EXT4, 128), LoopFs::new(XFS, 400));
    furnish_as_root(&one.join("from"));
    let before = portrait(&one.join("from"));
    copy_tree(&one.join("from"), &two.join("to")).unwrap();
    assert_same(&before, &portrait(&two.join("to")));
    copy_tree(&two.join("to"), &one.join("back")).unwrap();
    assert_same(&before, &portrait(&one.join("back")));
}

#[test]
fn a_copy_survives_a_power_cut() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(XFS, 400);
    let folder = Folder::new();
    // Data that is written and data that is shared come to disk in different ways.
    for from in [folder.join("from"), disk.join("from")] {
        furnish_as_root(&from);
        fs::write(from.join("big"), vec![b'b'; 20 << 20]).unwrap();
        let before = portrait(&from);
        let to = disk.join("to");
        copy_tree(&from, &to).unwrap();
        disk.cut_power();
        assert_same(&before, &portrait(&to));
        remove(&to).unwrap();
        disk.cut_power();
        assert!(!to.exists() && !disk.join("to.trash").exists());
    }
}

#[test]
fn what_is_mounted_inside_is_refused() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(EXT4, 64);
    let folder = Folder::new();
    let from = folder.join("from");
    fs::create_dir_all(from.join("a/mounted here")).unwrap();
    fs::write(from.join("file"), b"").unwrap();
    fs::create_dir(folder.join("other")).unwrap();
    fs::write(folder.join("other/precious"), b"").unwrap();
    // Another filesystem, another folder of this one, and a file.
    for (what, place) in [
        (disk.mount.clone(), from.join("a/mounted here")),
        (folder.join("other"), from.join("a/mounted here")),
        (folder.join("other/precious"), from.join("file")),
    ] {
        let bind = Bind::new(&what, &place);
        let mounted = |op| HostError::MountInside {
            op,
            path: place.clone(),
        };
        assert_eq!(
            copy_tree(&from, &folder.join("to")).unwrap_err(),
            mounted("copy")
        );
        assert_eq!(size(&from).unwrap_err(), mounted("measure"));
        assert_eq!(remove(&from).unwrap_err(), mounted("remove"));
        assert!(from.join("file").exists() && !folder.join("from.trash").exists());
        assert!(!folder.join("to").exists() && !folder.join("to.partial").exists());
        drop(bind);
    }
    assert!(folder.join("other/precious").exists());
    remove(&from).unwrap();
}
