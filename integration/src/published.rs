//! The reference product as its vendor published it.

use std::fs;
use std::path::PathBuf;

use crate::PRODUCT;

/// What `scripts/publish-lantern.sh` made.
#[derive(Debug, Clone)]
pub struct Published {
    dir: PathBuf,
}

impl Published {
    /// Made ready by scripts/test.sh.
    pub fn open() -> Self {
        let dir = std::env::var_os("BERTH_TEST_PUBLISHED");
        let dir = dir.expect("BERTH_TEST_PUBLISHED is not set: run through scripts/test.sh");
        Self { dir: dir.into() }
    }

    /// The full bundle of one version.
    pub fn bundle(&self, version: &str) -> PathBuf {
        self.dir.join(format!("{PRODUCT}-{version}.berth"))
    }

    /// Every version in one bundle.
    pub fn all(&self) -> PathBuf {
        self.bundle("all")
    }

    /// What an admin compares and types.
    pub fn fingerprint(&self) -> String {
        let text = fs::read_to_string(self.dir.join("fingerprint"));
        text.expect("published").trim().to_owned()
    }

    /// The vendor's keys.
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// What `berth-publish build` wrote for every version.
    pub fn releases(&self) -> PathBuf {
        self.dir.join("releases")
    }
}
