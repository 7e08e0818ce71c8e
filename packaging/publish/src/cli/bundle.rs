//! `berth-publish bundle`.

use std::path::PathBuf;

use berth_format::root::Role;
use clap::Args;
use semver::Version;

use super::{Failure, KeyArgs};
use crate::bundle;
use crate::megabytes;
use crate::progress::Progress;

/// Write releases and all that they need into one file
#[derive(Debug, Args)]
pub(super) struct Bundle {
    /// The folder that `build` wrote to
    dir: PathBuf,
    /// A version; may be repeated [default: every one in the folder]
    #[arg(long = "release", value_name = "VERSION")]
    releases: Vec<Version>,
    /// The .berth file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

impl Bundle {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = self.key.load(Role::Release, None)?;
        let progress = Progress::new();
        let made = bundle::make(&self.dir, &self.releases, &key, &self.out, progress)?;
        let versions: Vec<_> = made
            .releases
            .iter()
            .map(|release| release.version.to_string())
            .collect();
        progress.say(&format!(
            "{} {}: {:.1} MB",
            key.root.product,
            versions.join(", "),
            megabytes(made.size)
        ));
        println!("{}", self.out.display());
        Ok(())
    }
}
