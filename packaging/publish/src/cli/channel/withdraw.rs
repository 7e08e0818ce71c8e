//! `berth-publish channel withdraw`.

use berth_format::ChannelName;
use clap::Args;
use semver::Version;

use super::{Common, Failure, say};

/// Say that nobody should run a release any more; an appliance that has it is told
#[derive(Debug, Args)]
pub(super) struct Withdraw {
    #[command(flatten)]
    common: Common,
    /// The channel
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    channel: ChannelName,
    /// The version
    #[arg(long, value_name = "VERSION")]
    release: Version,
    /// Why, in one line that admins read
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The newer version to install in its place: a stop if this one is
    #[arg(long, value_name = "VERSION")]
    superseded_by: Option<Version>,
}

impl Withdraw {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        let by = self.superseded_by.as_ref();
        let published = publisher.withdraw(&self.channel, &self.release, &self.reason, by)?;
        say(&published);
        Ok(())
    }
}
