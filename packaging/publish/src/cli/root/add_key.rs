//! `berth-publish root add-key`.

use std::path::PathBuf;

use berth_format::root::Role;
use clap::Args;
use jiff::Timestamp;

use super::{Failure, role};
use crate::cli::{in_years, now};
use crate::keys::public;
use crate::roots;

/// Add a key to a role: in the draft, or in a new one
#[derive(Debug, Args)]
pub(super) struct AddKey {
    /// The folder of the roots of trust
    dir: PathBuf,
    /// root, release or channel
    #[arg(long, value_parser = role)]
    role: Role,
    /// A minisign .pub file, or its text
    #[arg(value_name = "PUB")]
    key: String,
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

impl AddKey {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = public(&self.key)?;
        let expires = in_years(now(self.now), self.years.unwrap_or(10));
        let (_, path) = roots::edit(&self.dir, expires, self.years.is_some(), |root| {
            roots::add(root, self.role, &key)?;
            roots::set_threshold(root, self.role, self.threshold);
            Ok(())
        })?;
        super::say_draft(&self.dir, &path)
    }
}
