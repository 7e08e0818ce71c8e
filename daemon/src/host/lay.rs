//! Lays down what containers mount: small trees of files that are named by their content.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use berth_format::Digest;

/// A tree that is named by its content, so one that is there is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidTree {
    /// Folder that holds it; complete as soon as it exists.
    pub dir: PathBuf,
    /// A folder before what is in it.
    pub entries: Vec<LaidEntry>,
}

/// A file or folder below [`LaidTree::dir`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaidEntry {
    /// Relative.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub content: LaidContent,
}

/// What a [`LaidEntry`] is.
#[derive(Clone, PartialEq, Eq)]
pub enum LaidContent {
    Dir,
    /// A shipped file, verified when it was fetched and kept under its digest.
    Shipped(Digest),
    /// May be a secret.
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for LaidContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir => f.write_str("Dir"),
            Self::Shipped(digest) => write!(f, "Shipped({digest})"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
        }
    }
}

/// Makes the tree under another name, syncs it, then gives it its own.
pub(super) fn lay(tree: &LaidTree, shipped: &Path) -> std::io::Result<()> {
    if tree.dir.exists() {
        return Ok(());
    }
    let partial = tree.dir.with_extension("partial");
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Containers run as any user: what protects a secret is the mode of its own file.
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(&partial)?;
    for entry in &tree.entries {
        let path = partial.join(&entry.path);
        if let Some(parent) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)?;
        }
        match &entry.content {
            LaidContent::Dir => DirBuilder::new().recursive(true).create(&path)?,
            LaidContent::Bytes(bytes) => create(&path)?.write_all(bytes)?,
            LaidContent::Shipped(digest) => {
                let mut source = File::open(shipped.join(digest.hex()))?;
                std::io::copy(&mut source, &mut create(&path)?)?;
            }
        }
        chown(&path, Some(entry.uid), Some(entry.gid))?;
        std::fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
    }
    rustix::fs::syncfs(File::open(&partial)?)?;
    std::fs::rename(&partial, &tree.dir)?;
    match tree.dir.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_tree_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let shipped = dir.path().join("shipped");
        std::fs::create_dir(&shipped).unwrap();
        let digest = Digest::of(b"shipped");
        let entry = |path: &str, mode, content| LaidEntry {
            path: path.into(),
            mode,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            content,
        };
        let tree = LaidTree {
            dir: dir.path().join("laid"),
            entries: vec![
                entry("tree", 0o755, LaidContent::Dir),
                entry("tree/secret", 0o400, LaidContent::Bytes(b"s".to_vec())),
                entry("tree/file", 0o644, LaidContent::Shipped(digest)),
            ],
        };
        assert!(lay(&tree, &shipped).is_err(), "the shipped file is missing");
        assert!(!tree.dir.exists());

        std::fs::write(shipped.join(digest.hex()), b"shipped").unwrap();
        lay(&tree, &shipped).unwrap();
        assert_eq!(
            std::fs::read(tree.dir.join("tree/file")).unwrap(),
            b"shipped"
        );
        let mode = std::fs::metadata(tree.dir.join("tree/secret"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        lay(&tree, &shipped).unwrap();
    }
}
