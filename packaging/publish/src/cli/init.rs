//! `berth-publish init`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;

/// Write a commented berth.yaml for an existing Compose file
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The Compose file, or its folder
    #[arg(default_value = ".")]
    path: PathBuf,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _ = self.path;
        Ok(())
    }
}
