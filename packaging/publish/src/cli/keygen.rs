//! `berth-publish keygen`.

use std::path::PathBuf;

use berth_format::Product;
use clap::Args;

use super::Failure;
use crate::keys::{Password, spoken};
use crate::roots;

/// Make a key for each role and the root of trust that names them: the quick start. For a root that
/// several people hold, see `root init`
#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// The product that these keys speak for
    #[arg(long)]
    product: Product,
    /// The folder for the keys: keep it private, it is never published
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Do not encrypt the secret keys
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    /// Read the password from this file (`/dev/fd/3` for an open descriptor); else
    /// `BERTH_KEY_PASSWORD`, else the terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Years until the root of trust must be renewed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..=100))]
    years: i64,
}

impl Keygen {
    pub(super) fn run(self) -> Result<(), Failure> {
        let password = if self.no_password {
            Password::None
        } else {
            Password::find(self.password_file.as_deref())?
        };
        let expires = super::in_years(super::now(None), self.years);
        let made = roots::generate(&self.out, &self.product, expires, &password)?;
        let dir = self.out.display();
        eprintln!("{dir}/root.key     signs new roots of trust: keep it offline");
        eprintln!("{dir}/release.key  signs releases and bundles");
        eprintln!("{dir}/channel.key  signs channels: the only one that must be online");
        eprintln!(
            "{}  what customers trust; its fingerprint:",
            made.root.display()
        );
        eprintln!("  {}", spoken(&made.fingerprint));
        println!("{}", made.fingerprint);
        Ok(())
    }
}
