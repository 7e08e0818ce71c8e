//! `berth`: one file a subcommand; speaks only to the API.
//!
//! Sentences come first, tables after. Answers go to stdout, refusals to stderr; the exit code is
//! that of the refusal's kind. With `--json` there is one document on stdout, or one a line where
//! an answer goes on, and a refusal is a document on stderr.

use std::ffi::OsString;
use std::path::PathBuf;

use berth_format::{Code, Refusal};
use clap::{Parser, Subcommand};

use crate::api::Result;

mod bundle;
mod channel;
pub(crate) mod client;
mod config;
mod describe;
#[cfg(test)]
mod errors;
mod events;
mod follow;
mod history;
mod install;
mod logs;
mod notify;
mod plan;
mod policy;
mod progress;
mod reconfigure;
mod rollback;
mod status;
pub mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod trust;
mod update;
mod verify;

use client::Client;
pub use terminal::Terminal;

/// The exit code of a command that was left while the update goes on.
const DETACHED: u8 = 130;

/// Installs, updates and rolls back a product on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "berth",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Args {
    /// berthd's Unix socket.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "BERTH_SOCKET",
        default_value = "/run/berth/berth.sock",
        hide_env_values = true
    )]
    socket: PathBuf,
    /// Answer in JSON: one document, or one a line where the answer goes on.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install a product from a bundle, or from the channel.
    Install(install::Args),
    /// Show what an update would do, and change nothing.
    Plan(plan::Args),
    /// Update to a newer version.
    Update(update::Args),
    /// Go back to the version before.
    Rollback(rollback::Args),
    /// Apply changed config to the installed version.
    Reconfigure(reconfigure::Args),
    /// Say how the product is.
    Status,
    /// Show past updates, or one of them in full.
    History(history::Args),
    /// Show what a service writes.
    Logs(logs::Args),
    /// Show what happened in the last update; follow what happens now.
    Events(events::Args),
    /// Read and change the product's config.
    Config(config::Args),
    /// Check every byte of a bundle, and change nothing.
    Verify(verify::Args),
    /// Where newer versions come from, and what there is.
    Channel(channel::Args),
    /// Whether updates begin by themselves, and when.
    Policy(policy::Args),
    /// Who is told what happens here: by webhook, by mail, by a program.
    Notify(notify::Args),
    /// Show whom this machine trusts, or trust a vendor's root.
    Trust(trust::Args),
}

/// What a command leaves: the exit code.
type Done = Result<u8>;

/// Runs a command line, and gives the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = args.into_iter().collect();
    let json = words.iter().any(|word| word == "--json");
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) if json && error.use_stderr() => {
            let said = error.render().to_string();
            let said = said.trim_start_matches("error: ").trim_end();
            let refusal = Refusal::new(Code::Usage, Code::Usage.means()).found(said);
            return refuse(&mut Terminal::stdio(true), &refusal);
        }
        Err(error) => {
            // Help and version go to stdout and are a success.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let mut terminal = Terminal::stdio(args.json);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&mut terminal, &crate::api::internal(error)),
    };
    runtime.block_on(run(args, &mut terminal))
}

async fn run(args: Args, terminal: &mut Terminal) -> u8 {
    let client = Client::new(args.socket);
    let done = match args.command {
        Command::Install(args) => install::run(args, &client, terminal).await,
        Command::Plan(args) => plan::run(args, &client, terminal).await,
        Command::Update(args) => update::run(args, &client, terminal).await,
        Command::Rollback(args) => rollback::run(args, &client, terminal).await,
        Command::Reconfigure(args) => reconfigure::run(args, &client, terminal).await,
        Command::Status => status::run(&client, terminal).await,
        Command::History(args) => history::run(args, &client, terminal).await,
        Command::Logs(args) => logs::run(args, &client, terminal).await,
        Command::Events(args) => events::run(args, &client, terminal).await,
        Command::Config(args) => config::run(args, &client, terminal).await,
        Command::Verify(args) => verify::run(args, &client, terminal).await,
        Command::Channel(args) => channel::run(args, &client, terminal).await,
        Command::Policy(args) => policy::run(args, &client, terminal).await,
        Command::Notify(args) => notify::run(args, &client, terminal).await,
        Command::Trust(args) => trust::run(args, &client, terminal).await,
    };
    done.unwrap_or_else(|refusal| refuse(terminal, &refusal))
}

fn refuse(terminal: &mut Terminal, refusal: &Refusal) -> u8 {
    terminal.refuse(refusal);
    refusal.code.kind().exit_code()
}
