//! `berth config`: the product's form.

use std::collections::BTreeMap;
use std::io::Read;

use berth_format::config::{FieldKind, MAX_VALUE};
use berth_format::{Code, Refusal};
use clap::Subcommand;
use hyper::Method;

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::{Table, count};
use crate::api::{ConfigValue, Result};
use crate::http::wire::ConfigChange;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every value, or one of them alone. A secret is never shown.
    Get { name: Option<String> },
    /// Set values, all or none.
    Set {
        #[arg(value_name = "NAME=VALUE", required_unless_present = "from_file")]
        values: Vec<String>,
        /// Read the value from a file; `-` is the standard input.
        #[arg(long, value_name = "NAME=PATH")]
        from_file: Vec<String>,
    },
    /// Take values away: the default holds again.
    Unset {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    match args.command.unwrap_or(Command::Get { name: None }) {
        Command::Get { name } => get(name.as_deref(), client, terminal).await,
        Command::Set { values, from_file } => {
            change(given(&values, &from_file)?, client, terminal).await
        }
        Command::Unset { names } => {
            let values = names.into_iter().map(|name| (name, None)).collect();
            change(values, client, terminal).await
        }
    }
}

async fn get(name: Option<&str>, client: &Client, terminal: &mut Terminal) -> Done {
    let mut all: Vec<ConfigValue> = client.get("/v1/config").await?;
    let Some(name) = name else {
        if terminal.json {
            terminal.document(&all)?;
        } else {
            show(&all, terminal);
        }
        return Ok(0);
    };
    let Some(at) = all.iter().position(|field| field.name == name) else {
        return Err(
            Refusal::new(Code::ConfigUnknown, "there is no config field of this name")
                .found(name.to_owned()),
        );
    };
    let field = all.swap_remove(at);
    if terminal.json {
        terminal.document(&field)?;
    } else if field.kind == FieldKind::Secret {
        terminal.note(if field.set {
            "It is set, and is never shown."
        } else {
            "It is not set."
        });
    } else {
        // The value alone, for scripts.
        terminal.line(field.value.unwrap_or_default());
    }
    Ok(0)
}

async fn change(
    values: BTreeMap<String, Option<String>>,
    client: &Client,
    terminal: &mut Terminal,
) -> Done {
    let n = values.len();
    let change = ConfigChange { values };
    let all: Vec<ConfigValue> = client.send(Method::PATCH, "/v1/config", &change).await?;
    if terminal.json {
        terminal.document(&all)?;
    } else {
        terminal.line(format!(
            "{} changed. `berth reconfigure` applies it; so does the next update.",
            count(n, "value")
        ));
    }
    Ok(0)
}

fn show(all: &[ConfigValue], terminal: &mut Terminal) {
    if all.is_empty() {
        return terminal.line("The product has no config.");
    }
    let missing = all.iter().filter(|field| required(field)).count();
    let sentence = match missing {
        0 => "All that the product needs to know is set.".to_owned(),
        n => format!("{} still to be set.", count(n, "required value")),
    };
    let tone = if missing == 0 {
        Tone::Plain
    } else {
        Tone::Warn
    };
    terminal.line(terminal.paint(tone, &sentence));
    terminal.line("");
    let mut table = Table::indented(2);
    table.head(&["name", "value", "", "what it is"]);
    for field in all {
        let value = match (&field.value, field.set) {
            _ if required(field) => (Tone::Warn, "missing".to_owned()),
            (None, true) if field.kind == FieldKind::Secret => {
                (Tone::Dim, "set, never shown".to_owned())
            }
            (None, _) => (Tone::Dim, "none".to_owned()),
            (Some(value), _) => (Tone::Plain, short(value)),
        };
        let origin = match (field.set, &field.value) {
            (false, Some(_)) => "default",
            _ => "",
        };
        table.row([
            (Tone::Strong, field.name.clone()),
            value,
            (Tone::Dim, origin.to_owned()),
            (Tone::Plain, field.label.clone()),
        ]);
    }
    table.print(terminal);
}

/// One line, not too long.
fn short(value: &str) -> String {
    let line: String = value
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(48)
        .collect();
    if line.len() < value.len() {
        format!("{line}…")
    } else {
        line
    }
}

/// Has no value, and must have one.
pub fn required(field: &ConfigValue) -> bool {
    field.required && !field.set && field.value.as_deref().is_none_or(str::is_empty)
}

/// What `NAME=VALUE` and `NAME=PATH` say; a name twice is refused.
pub fn given(values: &[String], files: &[String]) -> Result<BTreeMap<String, Option<String>>> {
    let mut all = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        if all.insert(name.to_owned(), Some(value)).is_some() {
            return Err(usage(
                "a config value is given twice",
                "each name once",
                name,
            ));
        }
        Ok(())
    };
    for pair in values {
        // Without its value: it may be a secret.
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| usage("a config value is not given as one", "NAME=VALUE", "no `=`"))?;
        put(name, value.to_owned())?;
    }
    for pair in files {
        let (name, path) = pair
            .split_once('=')
            .ok_or_else(|| usage("a config file is not given as one", "NAME=PATH", pair))?;
        put(name, content(name, path)?)?;
    }
    Ok(all)
}

/// What a file holds, as the value of `name`.
pub fn content(name: &str, path: &str) -> Result<String> {
    let unreadable = |why: String| {
        usage(
            "a config value cannot be read from its file",
            "a file of text",
            &why,
        )
    };
    let mut bytes = Vec::new();
    let limit = MAX_VALUE as u64 + 1;
    let read = if path == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(format!("{path}: {error}")))?;
    if bytes.len() > MAX_VALUE {
        return Err(unreadable(format!("{path}: more than {MAX_VALUE} bytes")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(format!("{path}: bytes that are not UTF-8, for {name}")))?;
    Ok(text)
}

fn usage(summary: &str, expected: &str, found: &str) -> Refusal {
    Refusal::new(Code::Usage, summary)
        .because(expected, found)
        .next("See `berth config set --help`.")
}
