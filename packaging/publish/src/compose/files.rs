//! Files of the vendor's folder, packed into the release.
//!
//! Owners and times are left behind and modes become 0755 or 0644, so that a release has the
//! same bytes whoever checked the folder out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_format::digest::Hashing;
use berth_format::release::{FileEntry, FileTree};
use berth_format::{Digest, Template};

/// The most files and folders of one tree.
const MAX_ENTRIES: usize = 10_000;

/// Collects trees and where their bytes are.
#[derive(Debug, Default)]
pub struct Packer {
    pub files: BTreeMap<Digest, FileTree>,
    pub blobs: BTreeMap<Digest, PathBuf>,
}

/// Why something cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0} is neither a file nor a folder (symbolic links are not followed)")]
    Kind(PathBuf),
    #[error("{0} has a name that is not UTF-8")]
    Name(PathBuf),
    #[error("{0} has more than {MAX_ENTRIES} files")]
    TooMany(PathBuf),
}

impl Packer {
    /// Packs a file or a folder. `mode` replaces that of a file.
    pub fn pack(&mut self, path: &Path, mode: Option<u32>) -> Result<Digest, PackError> {
        let mut tree = FileTree {
            entries: BTreeMap::new(),
        };
        let meta = fs::symlink_metadata(path).map_err(|e| PackError::Io(path.to_owned(), e))?;
        if meta.is_dir() {
            self.folder(path, "", &mut tree)?;
        } else {
            let entry = self.file(path, &meta, mode)?;
            tree.entries.insert(String::new(), entry);
        }
        Ok(self.keep(tree))
    }

    /// A file that is made from the admin's values.
    pub fn rendered(&mut self, content: Template, mode: u32) -> Digest {
        let entry = FileEntry::Rendered { mode, content };
        self.keep(FileTree {
            entries: BTreeMap::from([(String::new(), entry)]),
        })
    }

    fn keep(&mut self, tree: FileTree) -> Digest {
        let digest = tree.digest();
        self.files.insert(digest, tree);
        digest
    }

    fn folder(&mut self, path: &Path, prefix: &str, tree: &mut FileTree) -> Result<(), PackError> {
        let io = |e| PackError::Io(path.to_owned(), e);
        for item in fs::read_dir(path).map_err(io)? {
            let item = item.map_err(io)?;
            let Ok(name) = item.file_name().into_string() else {
                return Err(PackError::Name(item.path()));
            };
            let name = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            if tree.entries.len() >= MAX_ENTRIES {
                return Err(PackError::TooMany(path.to_owned()));
            }
            let meta = item.metadata().map_err(io)?;
            if meta.is_dir() {
                let entry = FileEntry::Dir { mode: 0o755 };
                tree.entries.insert(name.clone(), entry);
                self.folder(&item.path(), &name, tree)?;
            } else {
                let entry = self.file(&item.path(), &meta, None)?;
                tree.entries.insert(name, entry);
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        meta: &fs::Metadata,
        mode: Option<u32>,
    ) -> Result<FileEntry, PackError> {
        if !meta.is_file() {
            return Err(PackError::Kind(path.to_owned()));
        }
        let io = |e| PackError::Io(path.to_owned(), e);
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut File::open(path).map_err(io)?, &mut hashing).map_err(io)?;
        let (_, digest, size) = hashing.finish();
        self.blobs.insert(digest, path.to_owned());
        let executable = meta.permissions().mode() & 0o111 != 0;
        let mode = mode.unwrap_or(if executable { 0o755 } else { 0o644 });
        Ok(FileEntry::File { mode, digest, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_times_of_the_checkout_do_not_count() {
        let pack = |mode: u32| {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("sub")).unwrap();
            let file = dir.path().join("sub/run.sh");
            fs::write(&file, "x").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Packer::default().pack(dir.path(), None).unwrap()
        };
        assert_eq!(pack(0o700), pack(0o775));
        assert_eq!(pack(0o600), pack(0o664));
        assert_ne!(pack(0o600), pack(0o700));
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("x")).unwrap();
        let error = Packer::default().pack(dir.path(), None).unwrap_err();
        assert!(matches!(error, PackError::Kind(_)));
        let error = Packer::default()
            .pack(&dir.path().join("x"), None)
            .unwrap_err();
        assert!(matches!(error, PackError::Kind(_)));
    }
}
