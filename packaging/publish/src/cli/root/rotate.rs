//! `berth-publish root rotate`.

use std::path::PathBuf;

use berth_format::root::Role;
use clap::Args;
use jiff::Timestamp;

use super::{Failure, role};
use crate::cli::{in_years, now};
use crate::keys::public;
use crate::roots;

/// Replace keys of a role in a new root, which old and new root keys must sign; without any key it
/// only renews the expiry
#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The folder of the roots of trust
    dir: PathBuf,
    /// root, release or channel
    #[arg(long, value_parser = role, default_value = "root")]
    role: Role,
    /// A key that goes; may be repeated
    #[arg(long = "remove", value_name = "PUB")]
    old: Vec<String>,
    /// A key that comes; may be repeated
    #[arg(long = "add", value_name = "PUB")]
    new: Vec<String>,
    /// So many keys of the role must sign [default: as before]
    #[arg(long)]
    threshold: Option<u32>,
    /// Years until the root of trust must be renewed [default: 10; a draft keeps what it has]
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=100))]
    years: Option<i64>,
    /// The time to count from [default: of this machine's clock]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
}

impl Rotate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let expires = in_years(now(self.now), self.years.unwrap_or(10));
        let (_, path) = roots::edit(&self.dir, expires, self.years.is_some(), |root| {
            for key in &self.new {
                roots::add(root, self.role, &public(key)?)?;
            }
            for key in &self.old {
                roots::remove(root, self.role, &public(key)?)?;
            }
            roots::set_threshold(root, self.role, self.threshold);
            Ok(())
        })?;
        super::say_draft(&self.dir, &path)
    }
}
