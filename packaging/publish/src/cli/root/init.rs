//! `berth-publish root init`.

use std::path::PathBuf;

use berth_format::Product;
use berth_format::root::{FORMAT, Role, Root};
use clap::Args;
use jiff::Timestamp;

use super::Failure;
use crate::cli::{in_years, now};
use crate::keys::public;
use crate::roots;

/// Begin with a draft of the first root of trust, to be signed by each who holds a root key
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The folder of the roots of trust; no secret key belongs into it
    dir: PathBuf,
    /// The product that these keys speak for
    #[arg(long)]
    product: Product,
    /// A root key: a minisign .pub file, or its text; may be repeated
    #[arg(long = "root-key", value_name = "PUB", required = true)]
    root_keys: Vec<String>,
    /// So many root keys must sign a root
    #[arg(long, default_value_t = 2)]
    threshold: u32,
    /// A key for releases and bundles; may be repeated
    #[arg(long = "release-key", value_name = "PUB", required = true)]
    release_keys: Vec<String>,
    /// A key for channels; may be repeated
    #[arg(long = "channel-key", value_name = "PUB")]
    channel_keys: Vec<String>,
    /// Years until the root of trust must be renewed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=100))]
    years: i64,
    /// The time to count from [default: of this machine's clock]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut root = Root {
            format: FORMAT,
            product: self.product,
            version: 1,
            expires: in_years(now(self.now), self.years),
            roles: [].into(),
        };
        for (role, keys) in [
            (Role::Root, &self.root_keys),
            (Role::Release, &self.release_keys),
            (Role::Channel, &self.channel_keys),
        ] {
            for key in keys {
                roots::add(&mut root, role, &public(key)?)?;
            }
        }
        if let Some(keys) = root.roles.get_mut(&Role::Root) {
            keys.threshold = self.threshold;
        }
        let path = roots::init(&self.dir, &root)?;
        super::say_draft(&self.dir, &path)
    }
}
