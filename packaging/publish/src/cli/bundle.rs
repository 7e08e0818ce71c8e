//! `berth-publish bundle`.

use std::path::PathBuf;

use berth_format::ChannelName;
use berth_format::root::Role;
use clap::Args;
use jiff::Timestamp;
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
    /// A version; may be repeated [default: all that the channel offers, or without --channel every
    /// one in the folder]
    #[arg(long = "release", value_name = "VERSION")]
    releases: Vec<Version>,
    /// Put this channel in, as it stands in the folder, with the Berth that it names: an appliance
    /// without a network then knows an old bundle, and what was withdrawn
    #[arg(long, value_name = "NAME", value_parser = super::channel::name)]
    channel: Option<ChannelName>,
    /// The time that the channel is judged by [default: of this machine's clock]
    #[arg(long, value_name = "TIME", requires = "channel")]
    now: Option<Timestamp>,
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
        let wanted = bundle::Wanted {
            versions: self.releases,
            channel: self.channel,
            now: super::now(self.now),
        };
        let made = bundle::make(&self.dir, &wanted, &key, &self.out, progress)?;
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
