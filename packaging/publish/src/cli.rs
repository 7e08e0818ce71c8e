//! The command line: one file a subcommand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_format::bundle::CarriedError;
use berth_format::root::Role;
use berth_format::{Code, Refusal};
use clap::{Args, Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};

use crate::build::BuildError;
use crate::bundle::MakeError;
use crate::channel::{ChangeError, PublishError};
use crate::compose::Refused;
use crate::images::ImageError;
use crate::keys::{KeyError, Password};
use crate::out::OutError;
use crate::signer::Signer;

mod build;
mod bundle;
mod channel;
mod check;
mod daemon;
mod init;
mod inspect;
mod keygen;
mod resign;
mod root;
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
    Channel(channel::Channel),
    Root(root::Root),
    Resign(resign::Resign),
    Daemon(daemon::Daemon),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
}

/// Where the keys are that sign.
#[derive(Debug, Args)]
struct KeyArgs {
    /// The key, or the folder that `keygen` made; repeat it where several must sign
    #[arg(long = "key", value_name = "PATH", env = "BERTH_KEY", required = true)]
    keys: Vec<PathBuf>,
    /// The folder of the roots of trust [default: beside the first key]
    #[arg(long, value_name = "DIR")]
    roots: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Where the password of a key comes from.
#[derive(Debug, Args)]
struct PasswordArgs {
    /// Read the key's password from this file (`/dev/fd/3` for an open descriptor); else
    /// `BERTH_KEY_PASSWORD`, else the terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordArgs {
    fn find(&self) -> Result<Password, KeyError> {
        Password::find(self.password_file.as_deref())
    }
}

impl KeyArgs {
    fn load(&self, role: Role, out: Option<&Path>) -> Result<Signer, KeyError> {
        if let Some(out) = out {
            self.outside(out)?;
        }
        Signer::load(
            &self.keys,
            role,
            self.roots.as_deref(),
            &self.password.find()?,
        )
    }

    // No secret key in the folder that is published.
    fn outside(&self, out: &Path) -> Result<(), KeyError> {
        self.keys
            .iter()
            .try_for_each(|key| crate::keys::outside(key, out))
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
        Command::Channel(command) => command.run(),
        Command::Root(command) => command.run(),
        Command::Resign(command) => command.run(),
        Command::Daemon(command) => command.run(),
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
            MakeError::Change(error) => error.into(),
            MakeError::Carried(error) => {
                let refusal = error.refusal();
                match error {
                    CarriedError::Channel(_) => refusal
                        .next("Sign the channel anew first: `berth-publish channel refresh`.")
                        .into(),
                    _ => refusal.into(),
                }
            }
            MakeError::NoChannel { .. } => Refusal::new(Code::NotFound, Code::NotFound.means())
                .found(found)
                .next("Run `berth-publish channel publish` first, or name a channel that is there.")
                .into(),
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

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let found = error.to_string();
        match error {
            PublishError::Change(error) => error.into(),
            PublishError::Key(error) => error.into(),
            PublishError::Out(error) => error.into(),
            PublishError::Release(error) => error.refusal().into(),
            PublishError::Refused(refusal) => Self::Refused(refusal),
            PublishError::NoFolder(_)
            | PublishError::NoRelease { .. }
            | PublishError::NoChannel { .. } => {
                Refusal::new(Code::NotFound, Code::NotFound.means())
                    .found(found)
                    .next("Run `berth-publish build` or `berth-publish channel publish` first.")
                    .into()
            }
            PublishError::Blob { .. } => Refusal::new(Code::BundleDamaged, found)
                .next("Restore the file from a copy of the folder, or build the release again.")
                .into(),
            PublishError::Exists(_) => refuse(Code::ReleaseExists, found),
            PublishError::Stranger(_) => refuse(Code::SignatureInvalid, found),
            PublishError::Serial { .. } => Refusal::new(Code::Usage, found)
                .next("Serials only grow: leave --serial out, or give a higher one.")
                .into(),
            PublishError::Io { .. } => io(found),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let found = error.to_string();
        match error {
            ChangeError::Unlisted { .. } => Refusal::new(Code::NotFound, found)
                .next("Publish it first.")
                .into(),
            ChangeError::Differs { .. } => Refusal::new(Code::ReleaseExists, found)
                .next("A release that was offered never changes: raise the version.")
                .into(),
            ChangeError::Withdrawn { .. } => Refusal::new(Code::ReleaseWithdrawn, found)
                .next("Raise the version.")
                .into(),
            ChangeError::Unsound(_) => Refusal::new(Code::Usage, "That is no sound channel.")
                .found(found)
                .next("See `berth-publish channel --help`.")
                .into(),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Root { source, .. } => source.refusal().into(),
            KeyError::Io { .. } => io(error.to_string()),
            KeyError::Unfinished { path, missing } => Refusal::new(
                Code::SignatureMissing,
                "Too few have signed the newest root of trust.",
            )
            .because("signatures of old and new root keys", missing)
            .next(format!(
                "Run `berth-publish root sign {}`, or move it away.",
                path.display()
            ))
            .into(),
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

// The time that is signed: whole seconds.
fn now(given: Option<Timestamp>) -> Timestamp {
    let now = given.unwrap_or_else(Timestamp::now);
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

// When something expires that is good for so many years.
fn in_years(now: Timestamp, years: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(years * 365 * 24))
        .unwrap_or(Timestamp::MAX)
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
