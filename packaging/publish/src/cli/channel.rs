//! `berth-publish channel`: one file a subcommand.

use std::path::PathBuf;

use berth_format::ChannelName;
use berth_format::rollout::{ALL, Rollout, Share};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use semver::Version;

use super::{Failure, KeyArgs};
use crate::channel::{Offer, Published, Publisher, ROLE, Times};
use crate::progress::Progress;

mod daemon;
mod promote;
mod publish;
mod refresh;
mod withdraw;

/// Offer releases to appliances, in a folder of static files
#[derive(Debug, Args)]
pub(super) struct Channel {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Publish(publish::Publish),
    Promote(promote::Promote),
    Withdraw(withdraw::Withdraw),
    Refresh(refresh::Refresh),
    Daemon(daemon::Daemon),
}

impl Channel {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Publish(command) => command.run(),
            Command::Promote(command) => command.run(),
            Command::Withdraw(command) => command.run(),
            Command::Refresh(command) => command.run(),
            Command::Daemon(command) => command.run(),
        }
    }
}

/// The folder, the keys and the time: the same for all.
#[derive(Debug, Args)]
struct Common {
    /// The folder that is published, which `build` wrote to
    dir: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// Days until the channel must be signed anew: an appliance follows it no longer than that
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=366))]
    days: i64,
    /// The time to sign, as in 2026-03-01T12:00:00Z [default: of this machine's clock]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
}

impl Common {
    fn open(&self) -> Result<Publisher, Failure> {
        let signer = self.key.load(ROLE, Some(&self.dir))?;
        let times = Times {
            now: super::now(self.now),
            lifetime: SignedDuration::from_hours(self.days * 24),
        };
        let publisher = Publisher::open(&self.dir, signer, times, Progress::new())?;
        // It may have been made only now.
        self.key.outside(&self.dir)?;
        Ok(publisher)
    }
}

/// How releases are offered.
#[derive(Debug, Args)]
struct OfferArgs {
    /// It mends a security hole: to all at once, and without the wait that an admin may want
    #[arg(long)]
    security: bool,
    /// To a share of the appliances that grows evenly to all within so many hours
    #[arg(long, value_name = "HOURS", conflicts_with = "rollout")]
    rollout_hours: Option<u32>,
    /// The same in steps, HOUR:PERMILLE, as in 0:10,24:100,72:1000; the last share stays
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = share)]
    rollout: Vec<Share>,
    /// When the rollout begins [default: now, or as before]
    #[arg(long, value_name = "TIME")]
    rollout_begins: Option<Timestamp>,
    /// Begin at this serial, where the folder of the last publication is lost
    #[arg(long, value_name = "NUMBER")]
    serial: Option<u64>,
}

impl OfferArgs {
    fn offers(&self, versions: &[Version]) -> Vec<Offer> {
        let shares = self.rollout_hours.map_or_else(
            || self.rollout.clone(),
            |hours| Rollout::over(Timestamp::UNIX_EPOCH, hours).shares,
        );
        let offer = |version: &Version| Offer {
            version: version.clone(),
            security: self.security,
            shares: shares.clone(),
            begins: self.rollout_begins,
        };
        versions.iter().map(offer).collect()
    }
}

fn share(text: &str) -> Result<Share, String> {
    let parsed = text.split_once(':').and_then(|(hours, permille)| {
        Some(Share {
            hours: hours.parse().ok()?,
            permille: permille.parse().ok().filter(|permille| *permille <= ALL)?,
        })
    });
    parsed.ok_or_else(|| format!("expected HOUR:PERMILLE with at most {ALL} permille"))
}

fn say(published: &Published) {
    let channel = &published.channel;
    let newest = channel.releases.keys().next_back();
    eprintln!(
        "{} {}: serial {}, {} releases, newest {}, good until {}{}",
        channel.product,
        channel.channel,
        channel.serial,
        channel.releases.len(),
        newest.map_or_else(|| "none".into(), ToString::to_string),
        channel.expires,
        if published.is_new {
            ""
        } else {
            "; nothing has changed"
        }
    );
    println!("{}", published.path.display());
}

// For the flags that name a channel.
pub(super) fn name(text: &str) -> Result<ChannelName, String> {
    text.parse()
        .map_err(|error: berth_format::name::ParseNameError| error.to_string())
}
