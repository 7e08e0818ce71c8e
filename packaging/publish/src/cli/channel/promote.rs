//! `berth-publish channel promote`.

use berth_format::ChannelName;
use clap::Args;
use semver::Version;

use super::{Common, Failure, OfferArgs, say};

/// Offer in one channel what another one offers already, as from beta to stable
#[derive(Debug, Args)]
pub(super) struct Promote {
    #[command(flatten)]
    common: Common,
    /// The channel that offers it
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    from: ChannelName,
    /// The channel that shall offer it too
    #[arg(long, value_name = "NAME", value_parser = super::name)]
    to: ChannelName,
    /// A version; may be repeated
    #[arg(long = "release", value_name = "VERSION", required = true)]
    releases: Vec<Version>,
    #[command(flatten)]
    offer: OfferArgs,
}

impl Promote {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        let offers = self.offer.offers(&self.releases);
        let published = publisher.promote(&self.from, &self.to, self.offer.serial, &offers)?;
        say(&published);
        Ok(())
    }
}
