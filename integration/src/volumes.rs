//! What is in a folder, down to the last attribute, so that two can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// A line for each path: kind, mode, owner, time, attributes, size and digest.
pub type Tree = BTreeMap<String, String>;

/// Reads a folder that nobody writes to.
pub fn tree(root: &Path) -> Result<Tree> {
    let mut found = (Tree::new(), BTreeMap::new());
    walk(root, root, &mut found).with_context(|| root.display().to_string())?;
    Ok(found.0)
}

fn walk(root: &Path, path: &Path, found: &mut (Tree, BTreeMap<u64, String>)) -> Result<()> {
    let meta = fs::symlink_metadata(path)?;
    let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
    let mut line = format!(
        "{:o} {}:{} {}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    for (key, value) in attributes(path)? {
        write!(line, " {key}={value}")?;
    }
    if meta.is_symlink() {
        write!(line, " -> {}", fs::read_link(path)?.display())?;
    } else if meta.is_file() {
        let digest = hex::encode(Sha256::digest(fs::read(path)?));
        write!(line, " {} {digest}", meta.len())?;
        if meta.nlink() > 1 {
            let first = found.1.entry(meta.ino()).or_insert_with(|| name.clone());
            write!(line, " = {first}")?;
        }
    } else if meta.is_dir() {
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        for path in names {
            walk(root, &path, found)?;
        }
    }
    found.0.insert(name, line);
    Ok(())
}

fn attributes(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        found.insert(
            String::from_utf8_lossy(name).into_owned(),
            hex::encode(&value[..length]),
        );
    }
    Ok(found)
}

/// What differs between two trees, for people; empty when nothing does.
pub fn difference(old: &Tree, new: &Tree) -> String {
    let mut lines = Vec::new();
    for (name, line) in old {
        match new.get(name) {
            Some(other) if other == line => {}
            Some(other) => lines.push(format!("{name}\n  was {line}\n  is  {other}")),
            None => lines.push(format!("{name}\n  was {line}\n  is gone")),
        }
    }
    let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
    lines.extend(added.map(|(name, line)| format!("{name}\n  is new: {line}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_changed_byte_mode_or_time_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        fs::hard_link(&file, dir.path().join("b")).unwrap();
        let before = tree(dir.path()).unwrap();
        assert_eq!(difference(&before, &tree(dir.path()).unwrap()), "");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let after = tree(dir.path()).unwrap();
        assert!(difference(&before, &after).contains("100600"));
    }
}
