//! `berth-publish daemon`.

use std::path::PathBuf;

use berth_format::image::{ParsePlatformError, Platform};
use berth_format::root::Role;
use clap::Args;
use semver::Version;

use super::{Failure, KeyArgs};
use crate::daemon;

/// Put a berthd into the folder, signed by the release key; `channel daemon` then offers it
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// The folder that is published, which `build` wrote to
    dir: PathBuf,
    /// The version of berthd
    #[arg(long = "daemon-version", value_name = "VERSION")]
    version: Version,
    /// The program for a platform, as in linux/amd64=target/release/berthd; may be repeated
    #[arg(long = "file", value_name = "PLATFORM=PATH", required = true, value_parser = file)]
    files: Vec<(Platform, PathBuf)>,
    #[command(flatten)]
    key: KeyArgs,
}

impl Daemon {
    pub(super) fn run(self) -> Result<(), Failure> {
        let signer = self.key.load(Role::Release, Some(&self.dir))?;
        let path = daemon::add(&self.dir, &self.version, &self.files, &signer)?;
        println!("{}", path.display());
        Ok(())
    }
}

fn file(text: &str) -> Result<(Platform, PathBuf), String> {
    let (platform, path) = text.split_once('=').ok_or("expected PLATFORM=PATH")?;
    let platform = platform
        .parse()
        .map_err(|error: ParsePlatformError| error.to_string())?;
    Ok((platform, path.into()))
}
