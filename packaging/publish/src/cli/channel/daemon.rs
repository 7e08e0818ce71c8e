//! `berth-publish channel daemon`.

use berth_format::ChannelName;
use clap::Args;
use semver::Version;

use super::{Common, Failure, say};

/// Offer a newer berthd, which `berth-publish daemon` put into the folder, to appliances
#[derive(Debug, Args)]
pub(super) struct Daemon {
    #[command(flatten)]
    common: Common,
    /// The channel
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    channel: ChannelName,
    /// The version of berthd
    #[arg(long = "daemon-version", value_name = "VERSION")]
    version: Version,
}

impl Daemon {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        say(&publisher.daemon(&self.channel, &self.version)?);
        Ok(())
    }
}
