//! `berth-publish root sign`.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, say};
use crate::cli::PasswordArgs;
use crate::roots;

/// Add one person's signature to a root; needs nothing but its folder and the key
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// `N.root.json`, in the folder of all roots
    #[arg(value_name = "N.root.json")]
    file: PathBuf,
    /// The person's root key: of the root before, or of this one
    #[arg(long, value_name = "FILE", env = "BERTH_KEY")]
    key: PathBuf,
    #[command(flatten)]
    password: PasswordArgs,
}

impl Sign {
    pub(super) fn run(self) -> Result<(), Failure> {
        let password = self.password.find()?;
        let progress = roots::sign(&self.file, &self.key, &password)?;
        say(&self.file, &progress)
    }
}
