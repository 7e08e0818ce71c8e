//! `berth-publish root`: one file a subcommand.

use std::path::Path;

use berth_format::Digest;
use berth_format::root::Role;
use clap::{Args, Subcommand};

use super::{Failure, io};
use crate::keys::spoken;
use crate::roots::{self, Collected};

mod add_key;
mod init;
mod new_key;
mod rotate;
mod show;
mod sign;

/// Make, change and sign the root of trust, by several people who keep their keys apart
#[derive(Debug, Args)]
pub(super) struct Root {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    NewKey(new_key::NewKey),
    Init(init::Init),
    AddKey(add_key::AddKey),
    Rotate(rotate::Rotate),
    Sign(sign::Sign),
    Show(show::Show),
}

impl Root {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::NewKey(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::AddKey(command) => command.run(),
            Command::Rotate(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Show(command) => command.run(),
        }
    }
}

// What is still to be done with a root.
fn say(path: &Path, progress: &Collected) -> Result<(), Failure> {
    let shown = path.display();
    if progress.missing.is_empty() {
        eprintln!("{shown} is signed by enough keys");
    } else {
        eprintln!("signed: {}", progress.missing.join(", "));
        eprintln!("next: berth-publish root sign {shown} --key KEY, by each who is missing");
    }
    let bytes = std::fs::read(path).map_err(|error| io(format!("{shown}: {error}")))?;
    eprintln!("fingerprint: {}", spoken(&Digest::of(&bytes)));
    println!("{shown}");
    Ok(())
}

// The same of the draft in a folder.
fn say_draft(dir: &Path, path: &Path) -> Result<(), Failure> {
    let folder = roots::read(dir)?;
    let progress = folder
        .draft
        .map(|(root, file)| roots::progress(folder.root.as_ref(), &root, &file));
    say(path, &progress.unwrap_or_default())
}

fn role(text: &str) -> Result<Role, String> {
    [Role::Root, Role::Release, Role::Channel]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| "expected root, release or channel".into())
}
