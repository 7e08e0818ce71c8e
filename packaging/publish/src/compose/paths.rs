//! Which files of this machine may end up in a release: those of the product, no others.

use std::path::{Component, Path, PathBuf};

use crate::compose::normalize::from_root;

/// Where the files of a product are.
#[derive(Debug)]
pub struct Root {
    /// The vendor's folder, which paths are seen from.
    dir: PathBuf,
    /// The same without symbolic links, to compare with.
    real: PathBuf,
    /// The folder that no path leads out of.
    limit: PathBuf,
}

/// Why a path is none of the product's.
#[derive(Debug)]
pub struct Outside {
    pub what: String,
    pub instead: String,
}

impl Root {
    /// The vendor's folder, and what berth.yaml says of `root:`.
    pub fn new(dir: &Path, root: &str) -> Self {
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        Self {
            dir: dir.to_owned(),
            limit: plain(&real.join(root)),
            real,
        }
    }

    /// The file that a path means, which need not be there.
    pub fn find(&self, path: &str) -> Result<PathBuf, Outside> {
        if path.starts_with(['/', '~']) {
            return Err(Outside {
                what: format!("{path} is a path of this machine"),
                instead: "put the file into the product's folder and write a relative path".into(),
            });
        }
        // Symbolic links could lead anywhere.
        let full = plain(&self.real.join(path));
        let real = full.canonicalize().unwrap_or(full);
        if !real.starts_with(&self.limit) {
            return Err(Outside {
                what: format!("{path} is outside of the product's folder"),
                instead: "move it there; if berth.yaml lies below the product's other files, say so with `root: ..` or `root: ../..`".into(),
            });
        }
        Ok(self.dir.join(path))
    }
}

/// Whether `root:` only goes up.
pub fn is_root(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    !text.is_empty() && parts.all(|p| matches!(p, Component::CurDir | Component::ParentDir))
}

/// A relative path as seen from the vendor's folder, without `./`; others as they are.
pub fn seen(base: &str, path: &str) -> String {
    let path = from_root(base, path);
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let product = dir.path().join("versions/1");
        std::fs::create_dir_all(&product).unwrap();
        std::os::unix::fs::symlink("/etc", product.join("link")).unwrap();
        std::os::unix::fs::symlink("..", product.join("up")).unwrap();
        for (path, root, inside) in [
            ("a/b", ".", true),
            ("", ".", true),
            ("a/../b", ".", true),
            ("../b", ".", false),
            ("up/b", "..", true),
            ("up", ".", false),
            ("../../common/x", "../..", true),
            ("../../../x", "../..", false),
            ("link/passwd", "../..", false),
            ("/etc/passwd", "../..", false),
            ("~/x", ".", false),
        ] {
            let found = Root::new(&product, root).find(path);
            assert_eq!(found.is_ok(), inside, "{path} {root}: {found:?}");
        }
        for (text, good) in [
            ("..", true),
            ("../..", true),
            (".", true),
            ("", false),
            ("/", false),
            ("../x", false),
        ] {
            assert_eq!(is_root(text), good, "{text}");
        }
    }
}
