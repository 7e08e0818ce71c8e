//! `berth-publish root new-key`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::cli::PasswordArgs;
use crate::keys::{self, Password};

/// Make one key, on the machine of the person who will hold it
#[derive(Debug, Args)]
pub(super) struct NewKey {
    /// The file of the secret key; the public one gets the ending .pub
    file: PathBuf,
    /// Do not encrypt the secret key
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    #[command(flatten)]
    password: PasswordArgs,
}

impl NewKey {
    pub(super) fn run(self) -> Result<(), Failure> {
        let password = if self.no_password {
            Password::None
        } else {
            self.password.find()?
        };
        let key = keys::make(&self.file, "berth-publish key", &password)?;
        eprintln!("{}  keep it offline", self.file.display());
        println!("{}", key.public());
        Ok(())
    }
}
