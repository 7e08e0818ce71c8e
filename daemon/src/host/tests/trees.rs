//! Removal and size.

use std::fs;
use std::os::unix::fs::symlink;

use super::Folder;
use crate::host::disk::{exists, make_dir};
use crate::host::tree::{remove, size};

#[test]
fn removal_follows_no_link() {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("keep/dir")).unwrap();
    fs::write(folder.join("keep/dir/file"), b"").unwrap();
    fs::create_dir_all(folder.join("gone/dir/dir")).unwrap();
    symlink(folder.join("keep"), folder.join("gone/dir/dir/link")).unwrap();
    symlink(folder.join("keep"), folder.join("link")).unwrap();
    remove(&folder.join("gone")).unwrap();
    remove(&folder.join("link")).unwrap();
    assert!(folder.join("keep/dir/file").exists());
    let left: Vec<_> = fs::read_dir(&folder.path)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["keep"]);
}

#[test]
fn what_is_missing_is_removed() {
    let folder = Folder::new();
    remove(&folder.join("a")).unwrap();
    remove(&folder.join("a/b/c")).unwrap();
}

#[test]
fn a_removal_that_was_cut_is_finished_by_the_next() {
    let folder = Folder::new();
    fs::create_dir_all(folder.join("tree.trash/half")).unwrap();
    remove(&folder.join("tree")).unwrap();
    assert!(!folder.join("tree.trash").exists());
    // And one that stands in the way of another.
    fs::create_dir_all(folder.join("tree.trash/half")).unwrap();
    fs::create_dir_all(folder.join("tree/whole")).unwrap();
    remove(&folder.join("tree")).unwrap();
    assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 0);
}

#[test]
fn a_file_with_two_names_counts_once_and_a_hole_not_at_all() {
    let folder = Folder::new();
    let tree = folder.join("tree");
    fs::create_dir_all(tree.join("dir")).unwrap();
    let bare = size(&tree).unwrap();
    fs::write(tree.join("dir/file"), vec![1; 1 << 20]).unwrap();
    fs::hard_link(tree.join("dir/file"), tree.join("again")).unwrap();
    fs::File::create(tree.join("hole"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    super::super::disk::syncfs(&tree).unwrap();
    let full = size(&tree).unwrap();
    assert!(
        (1 << 20..(1 << 20) + 65_536).contains(&(full - bare)),
        "{bare} {full}"
    );
    assert!(size(&folder.join("missing")).is_err());
}

#[test]
fn directories_are_made_with_their_ancestors() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let deep = folder.join("a/b/c");
    make_dir(&deep).unwrap();
    make_dir(&deep).unwrap();
    for name in ["a", "a/b", "a/b/c"] {
        let mode = fs::metadata(folder.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700, "{name}");
    }
    fs::write(folder.join("file"), b"").unwrap();
    assert!(make_dir(&folder.join("file")).is_err());
    assert!(make_dir(&folder.join("file/below")).is_err());
}

#[test]
fn a_dangling_link_exists() {
    let folder = Folder::new();
    symlink("nowhere", folder.join("link")).unwrap();
    assert!(exists(&folder.join("link")).unwrap());
    assert!(!exists(&folder.join("other")).unwrap());
    assert!(!exists(&folder.join("link/below")).unwrap());
}
