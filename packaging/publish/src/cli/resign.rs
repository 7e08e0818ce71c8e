//! `berth-publish resign`.

use std::path::PathBuf;

use berth_format::root::Role;
use clap::Args;
use semver::Version;

use super::{Failure, KeyArgs};
use crate::resign;

/// Sign releases of the folder anew, as they are, after the release key was replaced
#[derive(Debug, Args)]
pub(super) struct Resign {
    /// The folder that is published
    dir: PathBuf,
    /// A version that you know to be yours; may be repeated
    #[arg(long = "release", value_name = "VERSION", required = true)]
    releases: Vec<Version>,
    #[command(flatten)]
    key: KeyArgs,
}

impl Resign {
    pub(super) fn run(self) -> Result<(), Failure> {
        let signer = self.key.load(Role::Release, Some(&self.dir))?;
        for (version, digest) in resign::resign(&self.dir, &self.releases, &signer)? {
            println!("{digest} release-{version}.json");
        }
        Ok(())
    }
}
