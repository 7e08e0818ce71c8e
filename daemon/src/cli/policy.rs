//! `berth policy`: whether updates begin by themselves, and when.

use clap::{Subcommand, ValueEnum};
use hyper::Method;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::{self, Table, minute};
use crate::api::{PolicyStatus, Result};
use crate::schedule::{Intent, Mode, Policy, Reason, Window};

/// The word for the machine's own time zone.
const MACHINE: &str = "machine";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is set, and what happens next.
    Show,
    /// Change it; what is not named stays.
    Set(Box<Set>),
}

#[derive(Debug, clap::Args)]
struct Set {
    /// What happens when the channel offers something.
    mode: Option<ModeWord>,
    /// When an update may begin by itself, as `sat,sun 02:00-05:00`; may be said several times.
    #[arg(long = "window", value_name = "WINDOW")]
    windows: Vec<Window>,
    /// Whose time the windows are in, as Europe/Berlin; `machine` for this machine's own.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How long a release must have been offered before it is taken, as 24h or 3d.
    #[arg(long, value_name = "TIME", value_parser = hours)]
    soak: Option<u32>,
    /// The same for one that mends a security hole.
    #[arg(long, value_name = "TIME", value_parser = hours)]
    security_soak: Option<u32>,
    /// Between two questions to the channel, as 6h or 30m.
    #[arg(long, value_name = "TIME", value_parser = minutes)]
    every: Option<u32>,
    /// Update by itself although nobody would be told.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    silent: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeWord {
    /// Nobody is asked; you check and update.
    Manual,
    /// The channel is asked and you are told.
    Notify,
    /// Updates begin by themselves, in a window.
    Auto,
}

fn duration(text: &str) -> std::result::Result<SignedDuration, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "expected a time, as 24h, 3d or 30m".to_owned())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|error| error.to_string())
}

fn hours(text: &str) -> std::result::Result<u32, String> {
    let wanted = duration(text)?;
    let hours = u32::try_from(wanted.as_hours()).map_err(|_| "expected hours".to_owned())?;
    let is_whole = SignedDuration::from_hours(i64::from(hours)) == wanted;
    is_whole
        .then_some(hours)
        .ok_or_else(|| "expected whole hours".to_owned())
}

fn minutes(text: &str) -> std::result::Result<u32, String> {
    u32::try_from(duration(text)?.as_mins()).map_err(|_| "expected minutes".to_owned())
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let status: PolicyStatus = client.get("/v1/policy").await?;
    let status = match args.command.unwrap_or(Command::Show) {
        Command::Show => status,
        Command::Set(set) => change(*set, status.policy, client).await?,
    };
    if terminal.json {
        terminal.document(&status)?;
    } else {
        show(&status, terminal);
    }
    Ok(0)
}

async fn change(set: Set, before: Policy, client: &Client) -> Result<PolicyStatus> {
    let mode = set.mode.map_or(before.mode, |mode| match mode {
        ModeWord::Manual => Mode::Manual,
        ModeWord::Notify => Mode::Notify,
        ModeWord::Auto => Mode::Auto,
    });
    let windows = if set.windows.is_empty() {
        before.windows
    } else {
        set.windows
    };
    let zone = set
        .zone
        .map_or(before.zone, |zone| (zone != MACHINE).then_some(zone));
    let policy = Policy {
        mode,
        windows,
        zone,
        soak_hours: set.soak.unwrap_or(before.soak_hours),
        security_soak_hours: set.security_soak.unwrap_or(before.security_soak_hours),
        every_minutes: set.every.unwrap_or(before.every_minutes),
        silent: set.silent.unwrap_or(before.silent),
    };
    client.send(Method::PUT, "/v1/policy", &policy).await
}

fn show(status: &PolicyStatus, terminal: &mut Terminal) {
    let policy = &status.policy;
    let sentence = match policy.mode {
        Mode::Manual => "Updates are yours to look for and to begin.",
        Mode::Notify => "Updates are looked for; you begin them.",
        Mode::Auto => "Updates begin by themselves, in a window.",
    };
    terminal.line(terminal.paint(Tone::Strong, sentence));
    terminal.line("");
    let mut table = Table::indented(2);
    let mut row = |name: &str, value: String| {
        table.row([(Tone::Dim, name.to_owned()), (Tone::Plain, value)]);
    };
    let time = |hours: u32| match hours {
        0 => "none".to_owned(),
        hours => text::duration(SignedDuration::from_hours(i64::from(hours))),
    };
    if policy.mode == Mode::Auto {
        let windows: Vec<String> = policy.windows.iter().map(ToString::to_string).collect();
        let zone = policy.zone.as_deref().unwrap_or("this machine's time");
        row("windows", format!("{} ({zone})", windows.join("; ")));
        row("soak", time(policy.soak_hours));
        row("security soak", time(policy.security_soak_hours));
    }
    if policy.mode != Mode::Manual {
        let every = SignedDuration::from_mins(i64::from(policy.every_minutes));
        let next = status
            .next_check
            .map_or_else(String::new, |next| format!(", next at {}", minute(next)));
        row("checks", format!("every {}{next}", text::duration(every)));
    }
    for held in &status.held {
        row("held back", format!("{}: {}", held.version, held.why));
    }
    table.print(terminal);
    if let Some(failed) = &status.check_failed {
        terminal.line("");
        terminal.line(terminal.paint(Tone::Bad, &format!("The last check failed: {failed}")));
    }
    if let Some(refused) = &status.refused {
        terminal.line("");
        terminal.line(terminal.paint(Tone::Bad, &format!("The update waits for you: {refused}")));
    } else if let Some(intent) = &status.intent {
        terminal.line("");
        terminal.line(next(intent));
    }
}

/// What happens next.
fn next(intent: &Intent) -> String {
    let version = &intent.version;
    let at = minute(intent.begins.unwrap_or(Timestamp::MIN));
    match intent.reason {
        Reason::Admin => format!("Version {version} is offered: `berth update`."),
        Reason::Soak => {
            format!("Version {version} begins at {at}: it is new, and soaks till then.")
        }
        Reason::Window => format!("Version {version} begins at {at}, when the window opens."),
        Reason::Open => format!("Version {version} begins now."),
    }
}
