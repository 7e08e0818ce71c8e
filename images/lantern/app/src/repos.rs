//! Repositories on a volume: plain folders or git work trees, one below `/repos` each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::settings::var_or;

/// Larger files are not source code.
const MAX_FILE: u64 = 1 << 20;

/// A folder with source code in it.
pub struct Repo {
    pub name: String,
    pub path: PathBuf,
    /// What is checked out, of a git work tree.
    pub head: Option<String>,
}

/// Where repositories are.
pub fn root() -> PathBuf {
    var_or("LANTERN_REPOS", "/repos").into()
}

/// Every repository, by name.
pub fn list(root: &Path) -> io::Result<Vec<Repo>> {
    let mut repos = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() && !name.starts_with('.') && name != "lost+found" {
            let path = entry.path();
            repos.push(Repo {
                name,
                head: head(&path),
                path,
            });
        }
    }
    repos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(repos)
}

/// The commit that `HEAD` names, or the branch's name where refs are packed.
fn head(path: &Path) -> Option<String> {
    let head = fs::read_to_string(path.join(".git/HEAD")).ok()?;
    let head = head.trim();
    let Some(branch) = head.strip_prefix("ref: ") else {
        return Some(head.to_owned());
    };
    let commit = fs::read_to_string(path.join(".git").join(branch));
    Some(commit.map_or_else(|_| branch.to_owned(), |commit| commit.trim().to_owned()))
}

impl Repo {
    /// The names and texts of the files, `.git` and whatever is not text left out.
    pub fn files(&self) -> io::Result<Vec<(String, String)>> {
        let mut files = Vec::new();
        walk(&self.path, &self.name, &mut files)?;
        Ok(files)
    }
}

fn walk(folder: &Path, name: &str, files: &mut Vec<(String, String)>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(part) = entry.file_name().into_string() else {
            continue;
        };
        let kind = entry.file_type()?;
        let name = format!("{name}/{part}");
        if kind.is_dir() && part != ".git" {
            walk(&entry.path(), &name, files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= MAX_FILE {
            match fs::read_to_string(entry.path()) {
                Ok(text) if !text.contains('\0') => files.push((name, text)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Puts the image's sample where there is no repository yet, so that the first search finds something.
pub fn seed() -> io::Result<()> {
    let (root, sample) = (root(), PathBuf::from("/usr/share/lantern/sample"));
    if list(&root)?.is_empty() {
        copy(&sample, &root.join("sample"))?;
        println!("sample repository laid in {}", root.display());
    } else {
        println!("{} has repositories already", root.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_tree_is_read_without_its_git_folder_and_its_binaries() {
        let root = tempfile::tempdir().unwrap();
        let repo = root.path().join("hello");
        fs::create_dir_all(repo.join(".git/refs/heads")).unwrap();
        fs::create_dir(repo.join("src")).unwrap();
        fs::write(repo.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(repo.join(".git/refs/heads/main"), "abc123\n").unwrap();
        fs::write(repo.join("src/main.rs"), "fn main() {}").unwrap();
        fs::write(repo.join("logo.png"), [0x89, b'P', 0xff, 0]).unwrap();
        let repos = list(root.path()).unwrap();
        assert_eq!(repos[0].head.as_deref(), Some("abc123"));
        let files = repos[0].files().unwrap();
        assert_eq!(
            files,
            [("hello/src/main.rs".to_owned(), "fn main() {}".to_owned())]
        );
    }
}
