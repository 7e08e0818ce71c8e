//! `berth channel`: where newer versions come from, and what there is.

use std::path::PathBuf;

use berth_format::ChannelName;
use clap::Subcommand;
use hyper::Method;

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::{Table, minute};
use crate::api::{ChannelRelease, ChannelStatus};
use crate::store::ChannelSettings;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is followed and what it last offered; nobody is asked.
    Show,
    /// Follow a channel.
    Set(Set),
    /// Follow none.
    Forget,
    /// Ask the server what it offers now.
    Check,
}

#[derive(Debug, clap::Args)]
struct Set {
    /// The folder that the vendor publishes, as https://…; several are mirrors, asked in this order.
    #[arg(required = true, value_name = "URL")]
    mirrors: Vec<String>,
    /// Which of the vendor's channels.
    #[arg(long, value_name = "NAME", default_value = "stable")]
    name: ChannelName,
    /// A proxy, or `direct` for none; else what the environment of berthd says.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Certificates (PEM) that are trusted besides the system's.
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// A file of root's, mode 0600: a token, or with --user its password.
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    #[arg(long, value_name = "NAME", requires = "token_file")]
    user: Option<String>,
    /// At most so many bytes a second.
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<u64>,
    /// http:// to an address that is not public.
    #[arg(long)]
    allow_http: bool,
    /// A redirect may lead to an address that is not public.
    #[arg(long)]
    allow_private: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let status: ChannelStatus = match args.command.unwrap_or(Command::Show) {
        Command::Show => client.get("/v1/channel").await?,
        Command::Check => client.send(Method::POST, "/v1/channel/check", &()).await?,
        Command::Set(set) => {
            let settings = ChannelSettings {
                name: set.name,
                mirrors: set.mirrors,
                proxy: set.proxy,
                ca_file: set.ca_file,
                token_file: set.token_file,
                user: set.user,
                bandwidth: set.bandwidth,
                allow_http: set.allow_http,
                allow_private: set.allow_private,
            };
            client.send(Method::PUT, "/v1/channel", &settings).await?
        }
        Command::Forget => {
            client.end(Method::DELETE, "/v1/channel").await?;
            terminal.line("No channel is followed.");
            return Ok(0);
        }
    };
    if terminal.json {
        terminal.document(&status)?;
    } else {
        show(&status, terminal);
    }
    Ok(0)
}

fn show(status: &ChannelStatus, terminal: &mut Terminal) {
    let (name, from) = (&status.settings.name, status.settings.mirrors.join(", "));
    let sentence = match (status.serial, status.checked, status.expires) {
        (Some(serial), Some(checked), Some(expires)) => format!(
            "Serial {serial}, seen on {}, good until {}.",
            minute(checked),
            minute(expires)
        ),
        _ => "Nothing was heard of it yet: `berth channel check`.".to_owned(),
    };
    let title = terminal.paint(Tone::Strong, &format!("Channel {name} of {from}"));
    terminal.line(title);
    terminal.line(terminal.paint(Tone::Dim, &sentence));
    if let Some(told) = &status.installed {
        terminal.line("");
        terminal.line(terminal.paint(Tone::Bad, told));
    }
    if status.releases.is_empty() {
        return;
    }
    terminal.line("");
    let mut table = Table::indented(2);
    table.head(&["version", "published", ""]);
    for release in &status.releases {
        let (tone, word) = word(release);
        table.row([
            (Tone::Strong, release.version.to_string()),
            (Tone::Dim, minute(release.published)),
            (tone, word),
        ]);
    }
    table.print(terminal);
    if let Some(offer) = &status.offer {
        terminal.line("");
        terminal.line(format!("Version {offer} is offered: `berth update`."));
    }
}

fn word(release: &ChannelRelease) -> (Tone, String) {
    if let Some(why) = &release.withdrawn {
        let instead = release.instead.as_ref();
        let instead = instead.map_or_else(String::new, |v| format!("; {v} in its place"));
        return (Tone::Bad, format!("withdrawn: {why}{instead}"));
    }
    match (release.security, release.offered) {
        (true, _) => (Tone::Warn, "mends a security hole".into()),
        (false, true) => (Tone::Good, "offered".into()),
        (false, false) => (
            Tone::Dim,
            "offered to others first; by hand at any time".into(),
        ),
    }
}
