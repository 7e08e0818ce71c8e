//! The command line: one file a subcommand.

use std::path::PathBuf;
use std::process::ExitCode;

use berth_format::{Code, Refusal};
use clap::{Args, Parser, Subcommand};

use crate::build::BuildError;
use crate::bundle::MakeError;
use crate::compose::Refused;
use crate::images::ImageError;
use crate::keys::{KeyError, Password, ReleaseKey};
use crate::out::OutError;

mod build;
mod bundle;
mod check;
mod init;
mod inspect;
mod keygen;
mod verify;

/// Turns a Compose file into a signed release that Berth installs and updates.
#[derive(Debug, Parser)]
#[command(name = "berth-publish", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Check(check::Check),
    Keygen(keygen::Keygen),
    Build(build::Build),
    Bundle(bundle::Bundle),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
}

/// Where the release key is.
#[derive(Debug, Args)]
struct KeyArgs {
    /// The release key, or the folder that `keygen` made; the roots of trust lie beside it
    #[arg(long, value_name = "PATH", env = "BERTH_KEY")]
    key: PathBuf,
    /// Read the key's password from this file (`/dev/fd/3` for an open descriptor); else
    /// `BERTH_KEY_PASSWORD`, else the terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl KeyArgs {
    fn load(&self, out: Option<&std::path::Path>) -> Result<ReleaseKey, KeyError> {
        if let Some(out) = out {
            crate::keys::outside(&self.key, out)?;
        }
        let password = Password::find(self.password_file.as_deref())?;
        ReleaseKey::load(&self.key, &password)
    }
}

/// How a command ends when it does not end well.
#[derive(Debug)]
enum Failure {
    Refused(Box<Refusal>),
    /// Each problem is told by itself.
    Problems(Refused),
    /// Everything was said already.
    Said(Code),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Init(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Keygen(command) => command.run(),
        Command::Build(command) => command.run(),
        Command::Bundle(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Verify(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = match failure {
                Failure::Refused(refusal) => {
                    eprintln!("{refusal}");
                    refusal.code
                }
                Failure::Problems(refused) => {
                    for warning in &refused.warnings {
                        eprintln!("warning: {warning}");
                    }
                    for problem in &refused.problems {
                        eprintln!("{problem}");
                    }
                    let count = refused.problems.len();
                    let code = Code::ComposeInvalid;
                    let refusal = Refusal::new(code, code.means())
                        .found(format!("{count} problems, told above"));
                    eprintln!("{refusal}");
                    code
                }
                Failure::Said(code) => code,
            };
            ExitCode::from(code.kind().exit_code())
        }
    }
}

// The one place where errors become codes.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn refuse(code: Code, found: impl Into<String>) -> Failure {
    Refusal::new(code, code.means()).found(found).into()
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let found = error.to_string();
        match error {
            BuildError::Problems(refused) => Self::Problems(refused),
            BuildError::Image(error) => error.into(),
            BuildError::Key(error) => error.into(),
            BuildError::Out(error) => error.into(),
            BuildError::Layer { .. } => refuse(Code::ImageDamaged, found),
            BuildError::Exists(_) => refuse(Code::ReleaseExists, found),
            BuildError::Invalid(_) => refuse(Code::ManifestInvalid, found),
            BuildError::Product { expected, found } => {
                Refusal::new(Code::WrongProduct, "berth.yaml and the keys differ")
                    .because(expected, found)
                    .next("Use the keys of this product.")
                    .into()
            }
            BuildError::Changed(_) => Refusal::new(Code::ComposeInvalid, found)
                .next("Build again.")
                .into(),
            BuildError::LayerLost(_) => Refusal::new(Code::BundleDamaged, found)
                .next("Restore the file from a copy of the folder, or build into a fresh one.")
                .into(),
            BuildError::File { .. } => io(found),
        }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let found = error.to_string();
        match error {
            ImageError::Missing { .. } | ImageError::Platform { .. } => {
                refuse(Code::ImageMissing, found)
            }
            ImageError::Damaged { .. } | ImageError::PlatformName(_) => {
                refuse(Code::ImageDamaged, found)
            }
            ImageError::Engine { .. } => refuse(Code::EngineGone, found),
            ImageError::Io { .. } | ImageError::Output { .. } => io(found),
        }
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        let found = error.to_string();
        match error {
            MakeError::Bundle(error) => error.refusal().into(),
            MakeError::Key(error) => error.into(),
            MakeError::Out(error) => error.into(),
            MakeError::NoRelease { .. } | MakeError::Nothing(_) => {
                Refusal::new(Code::NotFound, Code::NotFound.means())
                    .found(found)
                    .next("Run `berth-publish build` first, or name a version that is there.")
                    .into()
            }
            MakeError::Size { .. } => refuse(Code::BundleDamaged, found),
            MakeError::TwoWays { .. } => refuse(Code::ManifestInvalid, found),
            MakeError::Io { .. } => io(found),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Root { source, .. } => source.refusal().into(),
            KeyError::Io { .. } => io(error.to_string()),
            other => refuse(Code::KeyUnusable, other.to_string()),
        }
    }
}

impl From<OutError> for Failure {
    fn from(error: OutError) -> Self {
        match error {
            OutError::Io { .. } => io(error.to_string()),
            OutError::Busy(_) => Refusal::new(Code::Busy, error.to_string())
                .next("Wait for it.")
                .into(),
        }
    }
}

// Reading or writing failed here, on the vendor's own machine.
fn io(found: String) -> Failure {
    Refusal::new(Code::Usage, "A file cannot be read or written.")
        .found(found)
        .next("Look at the path, its permissions and the free space.")
        .into()
}

// A line of JSON on standard output.
fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("{error}"),
    }
}
