//! `berth notify`: who is told what happens here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use berth_format::{Code, Name, Refusal};
use clap::Subcommand;
use hyper::Method;
use jiff::{SignedDuration, Timestamp};

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::{Table, count, duration, minute};
use crate::api::Result;
use crate::http::wire::TestRequest;
use crate::notify::{
    Delivery, Event, Mail, Notifications, Program, Receiver, ReceiverStatus, Security, State,
    Tested, Way, Webhook,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say who is told, and how the last time went.
    Show,
    /// Tell somebody from now on; one of the same name is replaced.
    #[command(subcommand)]
    Set(Set),
    /// Deliver a test to everybody now, or to one, and say what each one answered.
    Test { receiver: Option<Name> },
    /// Show what waits, was delivered or was given up.
    Log {
        /// So many, newest first.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
        limit: u32,
    },
    /// Tell somebody no longer.
    Remove { receiver: Name },
}

#[derive(Debug, Subcommand)]
enum Set {
    /// A signed POST to a web server.
    Webhook(SetWebhook),
    /// A mail over SMTP.
    Mail(SetMail),
    /// A program on this machine, run as root.
    Program(SetProgram),
}

#[derive(Debug, clap::Args)]
struct Common {
    /// What to call it; else `webhook`, `mail` or `program`.
    #[arg(long)]
    name: Option<Name>,
    /// Only of these; else of everything.
    #[arg(long, value_name = "EVENT,…", value_delimiter = ',', value_enum)]
    only: Vec<Event>,
}

#[derive(Debug, clap::Args)]
struct SetWebhook {
    url: String,
    /// A file of root's, mode 0600: whsec_ and 24 to 64 bytes in base64.
    #[arg(long, value_name = "PATH")]
    secret_file: PathBuf,
    /// A proxy, or `direct` for none; else what the environment of berthd says.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Certificates (PEM) that are trusted besides the system's.
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// http:// to an address that is not public.
    #[arg(long)]
    allow_http: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct SetMail {
    /// The SMTP server.
    server: String,
    /// Whom it is from: berth@example.com.
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// Whom it goes to; may be repeated.
    #[arg(long, value_name = "ADDRESS", required = true)]
    to: Vec<String>,
    #[arg(long, value_enum, default_value_t = Security::Tls)]
    security: Security,
    /// Else 465 for tls, 587 for starttls, 25 for plain.
    #[arg(long)]
    port: Option<u16>,
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// A file of root's, mode 0600.
    #[arg(long, value_name = "PATH", requires = "user")]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted besides the system's.
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// Plain text may go to another machine.
    #[arg(long)]
    allow_plain: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct SetProgram {
    /// Root's, and nobody else can write it. It gets JSON, and is run by no shell.
    path: PathBuf,
    #[command(flatten)]
    common: Common,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    match args.command.unwrap_or(Command::Show) {
        Command::Show => {
            let all: Notifications = client.get("/v1/notifications").await?;
            if terminal.json {
                terminal.document(&all)?;
            } else {
                show(&all, terminal);
            }
            Ok(0)
        }
        Command::Set(set) => {
            let (name, receiver) = given(set)?;
            let path = format!("/v1/notifications/receivers/{name}");
            let all: Notifications = client.send(Method::PUT, &path, &receiver).await?;
            if terminal.json {
                terminal.document(&all)?;
            } else {
                terminal.line(format!(
                    "{name} is told from now on: {}.",
                    receiver.describe()
                ));
                terminal.line(format!("Try it: `berth notify test {name}`."));
            }
            Ok(0)
        }
        Command::Remove { receiver } => {
            let path = format!("/v1/notifications/receivers/{receiver}");
            client.end(Method::DELETE, &path).await?;
            if !terminal.json {
                terminal.line(format!("{receiver} is told no longer."));
            }
            Ok(0)
        }
        Command::Test { receiver } => {
            let request = TestRequest { receiver };
            let path = "/v1/notifications/test";
            let all: Vec<Tested> = client.send(Method::POST, path, &request).await?;
            tested(&all, terminal)
        }
        Command::Log { limit } => {
            let path = format!("/v1/notifications/deliveries?limit={limit}");
            let all: Vec<Delivery> = client.get(&path).await?;
            if terminal.json {
                terminal.document(&all)?;
            } else {
                log(&all, terminal);
            }
            Ok(0)
        }
    }
}

fn given(set: Set) -> Result<(Name, Receiver)> {
    let (usual, common, way) = match set {
        Set::Webhook(set) => {
            let webhook = Webhook {
                url: set.url,
                secret_file: absolute(&set.secret_file)?,
                proxy: set.proxy,
                ca_file: set.ca_file.as_deref().map(absolute).transpose()?,
                allow_http: set.allow_http,
            };
            ("webhook", set.common, Way::Webhook(webhook))
        }
        Set::Mail(set) => {
            let mail = Mail {
                server: set.server,
                port: set.port,
                security: set.security,
                from: set.from,
                to: set.to,
                user: set.user,
                password_file: set.password_file.as_deref().map(absolute).transpose()?,
                ca_file: set.ca_file.as_deref().map(absolute).transpose()?,
                allow_plain: set.allow_plain,
            };
            ("mail", set.common, Way::Mail(mail))
        }
        Set::Program(set) => {
            let path = absolute(&set.path)?;
            ("program", set.common, Way::Program(Program { path }))
        }
    };
    let name = match common.name {
        Some(name) => name,
        None => usual.parse().map_err(crate::api::internal)?,
    };
    let only: BTreeSet<Event> = common.only.into_iter().collect();
    Ok((name, Receiver { way, only }))
}

/// berthd is somewhere else than this shell.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Refusal::new(Code::Usage, "this is not a path")
            .found(format!("{}: {error}", path.display()))
    })
}

fn show(all: &Notifications, terminal: &mut Terminal) {
    if all.receivers.is_empty() {
        terminal.line("Nobody is told what happens here: `berth notify set`.");
        return;
    }
    let receivers = count(all.receivers.len(), "receiver");
    let verb = if all.receivers.len() == 1 {
        "is"
    } else {
        "are"
    };
    terminal.line(terminal.paint(Tone::Strong, &format!("{receivers} {verb} told.")));
    terminal.line("");
    let mut table = Table::indented(2);
    table.head(&["name", "where", "of", ""]);
    for (name, status) in &all.receivers {
        let only: Vec<&str> = status.receiver.only.iter().map(|e| e.as_str()).collect();
        let of = if only.is_empty() {
            "everything".to_owned()
        } else {
            only.join(", ")
        };
        table.row([
            (Tone::Strong, name.to_string()),
            (Tone::Plain, status.receiver.describe()),
            (Tone::Plain, of),
            how(status),
        ]);
    }
    table.print(terminal);
}

fn how(status: &ReceiverStatus) -> (Tone, String) {
    let last = status.last.as_ref().map(|last| match last.state {
        State::Failed => (Tone::Bad, format!("given up {}", minute(last.at))),
        _ => (Tone::Good, format!("delivered {}", minute(last.at))),
    });
    match (status.waiting, last) {
        (0, None) => (Tone::Dim, "nothing was told yet".into()),
        (0, Some(last)) => last,
        (n, None) => (Tone::Warn, format!("{n} waiting")),
        (n, Some((_, last))) => (Tone::Warn, format!("{n} waiting; {last}")),
    }
}

fn tested(all: &[Tested], terminal: &mut Terminal) -> Done {
    let failed = all.iter().find_map(|tested| tested.refusal.as_ref());
    let code = failed.map_or(0, |refusal| refusal.code.kind().exit_code());
    if terminal.json {
        terminal.document(&all)?;
        return Ok(code);
    }
    let mut table = Table::indented(0);
    for tested in all {
        let millis = i64::try_from(tested.millis).unwrap_or(i64::MAX);
        let took = duration(SignedDuration::from_millis(millis));
        let (tone, word) = match &tested.refusal {
            None => (Tone::Good, format!("delivered in {took}")),
            Some(refusal) => {
                let why = refusal.found.as_ref().unwrap_or(&refusal.summary);
                (Tone::Bad, format!("not delivered: {why}"))
            }
        };
        table.row([(Tone::Strong, tested.receiver.to_string()), (tone, word)]);
    }
    table.print(terminal);
    Ok(code)
}

fn log(all: &[Delivery], terminal: &mut Terminal) {
    if all.is_empty() {
        terminal.line("Nothing was told yet.");
        return;
    }
    let mut table = Table::indented(0);
    table.head(&["happened", "event", "receiver", ""]);
    for delivery in all {
        let (tone, word) = became(delivery);
        table.row([
            (Tone::Dim, minute(delivery.letter.timestamp)),
            (Tone::Strong, delivery.letter.event.to_string()),
            (Tone::Plain, delivery.receiver.to_string()),
            (tone, word),
        ]);
    }
    table.print(terminal);
}

fn became(delivery: &Delivery) -> (Tone, String) {
    let error = delivery.error.as_deref().unwrap_or_default();
    let tries = match delivery.tries {
        1 => "1 try".to_owned(),
        n => format!("{n} tries"),
    };
    match (delivery.state, delivery.tries) {
        (State::Delivered, 0 | 1) => (Tone::Good, format!("delivered {}", minute(delivery.at))),
        (State::Delivered, _) => (
            Tone::Good,
            format!("delivered {} after {tries}", minute(delivery.at)),
        ),
        (State::Failed, _) => (Tone::Bad, format!("given up after {tries}: {error}")),
        (State::Waiting, 0) => (Tone::Warn, "waiting".into()),
        (State::Waiting, _) if delivery.at > Timestamp::now() => {
            let next = minute(delivery.at);
            (Tone::Warn, format!("{tries}, the next {next}: {error}"))
        }
        (State::Waiting, _) => (Tone::Warn, format!("{tries}, again now: {error}")),
    }
}
