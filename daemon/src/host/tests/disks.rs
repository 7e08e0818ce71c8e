//! Room, full disks, ballast, and the exchange.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::loopfs::{Bind, EXT4, LoopFs, XFS};
use super::{Folder, as_root};
use crate::host::ballast::{hold, release};
use crate::host::copy::copy_tree;
use crate::host::disk::{disk, identity, make_dir, memory, syncfs};
use crate::host::exchange::exchange;
use crate::host::{Host, HostError, Linux};

#[test]
fn room_is_that_of_the_nearest_ancestor() {
    let folder = Folder::new();
    let here = disk(&folder.path).unwrap();
    let below = disk(&folder.join("not/yet/there")).unwrap();
    assert_eq!(
        (here.total, here.filesystem),
        (below.total, below.filesystem)
    );
    assert!(here.total >= here.free && here.free > 0);
    assert_ne!(
        disk(Path::new("/proc")).unwrap().filesystem,
        here.filesystem
    );
    let relative = disk(Path::new("surely-not-there")).unwrap();
    assert_eq!(
        relative.filesystem,
        disk(Path::new(".")).unwrap().filesystem
    );
}

#[test]
fn memory_is_plausible() {
    let memory = memory().unwrap();
    assert!(
        memory.total > memory.available && memory.available > 1 << 20,
        "{memory:?}"
    );
}

#[tokio::test]
async fn the_trait_reaches_the_machine() {
    let folder = Folder::new();
    let host = Linux;
    let (a, b) = (folder.join("a"), folder.join("b"));
    let start = host.monotonic();
    host.make_dir(&a).await.unwrap();
    fs::write(a.join("file"), b"1").unwrap();
    host.copy_tree(&a, &b).await.unwrap();
    host.syncfs(&b).await.unwrap();
    host.sleep(std::time::Duration::from_millis(1)).await;
    assert!(host.exists(&b.join("file")).await.unwrap());
    host.remove_tree(&a).await.unwrap();
    assert!(!host.exists(&a).await.unwrap());
    assert!(host.monotonic() > start);
    assert!(host.tree_size(&b).await.unwrap() > 0);
    assert!(host.disk(&b).await.unwrap().free > 0);
    assert!(host.memory().await.unwrap().total > 0);
}

#[test]
fn two_entries_change_places() {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("a/one")).unwrap();
    fs::create_dir_all(folder.join("deeper/b/two")).unwrap();
    let before = identity(&folder.join("a")).unwrap();
    exchange(&folder.join("a"), &folder.join("deeper/b")).unwrap();
    assert_eq!(identity(&folder.join("deeper/b")).unwrap(), before);
    assert_ne!(identity(&folder.join("a")).unwrap(), before);
    assert!(folder.join("a/two").exists() && folder.join("deeper/b/one").exists());
    let missing = exchange(&folder.join("a"), &folder.join("c")).unwrap_err();
    assert!(
        missing.to_string().contains("/c: No such file"),
        "{missing}"
    );
    let inside = exchange(&folder.join("deeper"), &folder.join("deeper/b")).unwrap_err();
    assert!(inside.to_string().contains("inside"), "{inside}");
}

#[test]
fn ballast_is_held_once_and_released() {
    let folder = Folder::new();
    let path = folder.join("ballast");
    for bytes in [1 << 20, 1 << 20, 3 << 20, 1 << 19, 0] {
        hold(&path, bytes).unwrap();
        let meta = fs::metadata(&path).unwrap();
        let allocated = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
        assert_eq!(meta.len(), bytes);
        assert!(allocated >= bytes, "{allocated} of {bytes}");
    }
    release(&path).unwrap();
    release(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn another_mount_is_explained() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(EXT4, 64);
    for name in ["a", "b", "view"] {
        fs::create_dir(disk.join(name)).unwrap();
    }
    let folder = Folder::new();
    let across = |a: &Path, b: &Path| {
        let expected = HostError::AcrossMounts {
            op: "exchange",
            a: a.to_owned(),
            b: b.to_owned(),
        };
        assert_eq!(exchange(a, b), Err(expected));
    };
    fs::create_dir(folder.join("b")).unwrap();
    across(&disk.join("a"), &folder.join("b"));
    // The same filesystem, seen through a second mount.
    fs::create_dir(disk.join("b/inner")).unwrap();
    let _bind = Bind::new(&disk.join("b"), &disk.join("view"));
    across(&disk.join("a"), &disk.join("view/inner"));
}

#[test]
fn an_exchange_survives_a_power_cut() {
    if !as_root() {
        return;
    }
    let disk = LoopFs::new(XFS, 400);
    for (name, text) in [("volume", "new"), ("snapshots/volume", "old")] {
        make_dir(&disk.join(name)).unwrap();
        fs::write(disk.join(name).join("file"), text).unwrap();
    }
    syncfs(&disk.mount).unwrap();
    exchange(&disk.join("volume"), &disk.join("snapshots/volume")).unwrap();
    disk.cut_power();
    assert_eq!(fs::read(disk.join("volume/file")).unwrap(), b"old");
    assert_eq!(
        fs::read(disk.join("snapshots/volume/file")).unwrap(),
        b"new"
    );
    make_dir(&disk.join("made/just/now")).unwrap();
    hold(&disk.join("made/ballast"), 1 << 20).unwrap();
    disk.cut_power();
    assert!(disk.join("made/just/now").exists());
    assert_eq!(
        fs::metadata(disk.join("made/ballast")).unwrap().len(),
        1 << 20
    );
}

#[test]
fn a_full_disk_leaves_no_half_copy_and_says_what_was_wanted() {
    if !as_root() {
        return;
    }
    for (kind, mib) in [(EXT4, 64), (XFS, 400)] {
        let small = LoopFs::new(kind, mib);
        let folder = Folder::new();
        let from = folder.join("from");
        let bytes = usize::try_from(mib << 20).unwrap();
        make_dir(&from.join("dir")).unwrap();
        fs::write(from.join("dir/one"), vec![1; bytes / 2]).unwrap();
        fs::write(from.join("dir/two"), vec![2; bytes / 2]).unwrap();
        syncfs(&from).unwrap();
        let before = disk(&small.mount).unwrap();
        let to = small.join("to");
        let error = copy_tree(&from, &to).unwrap_err();
        let HostError::NoSpace { path, wanted, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*path, to);
        assert!(wanted.is_some_and(|wanted| wanted >= mib << 20), "{error}");
        // XFS frees in the background.
        let freed = || disk(&small.mount).unwrap().free > before.free / 2;
        let soon = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            freed()
        });
        assert!(soon, "{error}, {} before", before.free);
        assert_eq!(
            fs::read_dir(&small.mount)
                .unwrap()
                .filter(|entry| { entry.as_ref().unwrap().file_name() != "lost+found" })
                .count(),
            0
        );
        assert_eq!(fs::metadata(from.join("dir/two")).unwrap().len(), mib << 19);
        // And then there is room again for one that fits.
        fs::remove_file(from.join("dir/one")).unwrap();
        fs::write(from.join("dir/two"), vec![2; bytes / 4]).unwrap();
        copy_tree(&from, &to).unwrap();
    }
}

#[test]
fn a_disk_without_inodes_is_a_full_disk() {
    if !as_root() {
        return;
    }
    let few = [EXT4, &["-N", "64"]].concat();
    let small = LoopFs::new(&few, 32);
    let folder = Folder::new();
    let from = folder.join("from");
    make_dir(&from).unwrap();
    for name in 0..100 {
        fs::write(from.join(format!("{name}")), b"").unwrap();
    }
    let error = copy_tree(&from, &small.join("to")).unwrap_err();
    let HostError::NoSpace {
        free_inodes: Some(inodes),
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(inodes < 100, "{inodes}");
}

#[test]
fn ballast_lets_a_full_disk_breathe() {
    if !as_root() {
        return;
    }
    for (kind, mib) in [(EXT4, 64), (XFS, 400)] {
        let small = LoopFs::new(kind, mib);
        let ballast = small.join("ballast");
        hold(&ballast, 8 << 20).unwrap();
        fill(&small.join("filler"));
        assert!(fs::write(small.join("wanted"), vec![0; 4 << 20]).is_err());
        release(&ballast).unwrap();
        fs::write(small.join("wanted"), vec![0; 4 << 20]).unwrap();
        let error = hold(&ballast, 64 << 20).unwrap_err();
        let wanted = matches!(
            error,
            HostError::NoSpace {
                wanted: Some(67_108_864),
                ..
            }
        );
        assert!(wanted && !ballast.exists(), "{error}");
    }
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        match file.write(&vec![7; size]).and_then(|_| file.sync_data()) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
}
