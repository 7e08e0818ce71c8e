//! `berth-publish channel publish`.

use berth_format::ChannelName;
use clap::Args;
use semver::Version;

use super::{Common, Failure, OfferArgs, say};

/// Offer releases of the folder in a channel; begins the channel if it is new
#[derive(Debug, Args)]
pub(super) struct Publish {
    #[command(flatten)]
    common: Common,
    /// The channel
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    channel: ChannelName,
    /// A version; may be repeated
    #[arg(long = "release", value_name = "VERSION", required = true)]
    releases: Vec<Version>,
    #[command(flatten)]
    offer: OfferArgs,
}

impl Publish {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        let offers = self.offer.offers(&self.releases);
        let published = publisher.publish(&self.channel, self.offer.serial, &offers)?;
        say(&published);
        Ok(())
    }
}
