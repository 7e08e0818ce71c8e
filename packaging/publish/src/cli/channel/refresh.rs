//! `berth-publish channel refresh`.

use berth_format::ChannelName;
use clap::Args;

use super::{Common, Failure, say};

/// Sign a channel anew as it is, for longer: for a timer
#[derive(Debug, Args)]
pub(super) struct Refresh {
    #[command(flatten)]
    common: Common,
    /// The channel; may be repeated
    #[arg(long = "channel", value_name = "NAME", value_parser = super::name, required = true)]
    channels: Vec<ChannelName>,
}

impl Refresh {
    pub(super) fn run(self) -> Result<(), Failure> {
        let publisher = self.common.open()?;
        for channel in &self.channels {
            say(&publisher.refresh(channel)?);
        }
        Ok(())
    }
}
