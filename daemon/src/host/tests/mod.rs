//! On real filesystems.
//!
//! What needs root and loop devices runs only with `BERTH_TEST_ROOT=1`, which `make test` sets;
//! then it must run, and fails where it cannot.

mod copies;
mod disks;
mod loopfs;
mod portrait;
mod random;
mod speed;
mod trees;

use std::path::PathBuf;

use tempfile::TempDir;

/// A folder whose removal copes with whatever a test put into it.
struct Folder {
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            path: dir.path().to_owned(),
            dir: Some(dir),
        }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Not `TempDir`'s own: it opens a directory a level, and some trees here are deep.
        let removed = super::tree::remove(&self.path);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
        let _ = self.dir.take().map(TempDir::keep);
    }
}

/// Whether the tests that need root are asked for.
fn as_root() -> bool {
    if std::env::var_os("BERTH_TEST_ROOT").is_none_or(|value| value != "1") {
        eprintln!("not run: wants BERTH_TEST_ROOT=1, root and loop devices");
        return false;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "BERTH_TEST_ROOT=1 without being root"
    );
    true
}
