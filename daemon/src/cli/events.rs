//! `berth events`: the journal of the last update, then (`-f`) what happens.

use std::time::Duration;

use berth_format::Code;
use hyper::Method;
use jiff::Timestamp;

use super::Done;
use super::client::Client;
use super::history::event;
use super::terminal::{Terminal, Tone};
use super::text::{bytes, second};
use crate::api::{Notice, Result, RunDetail, RunSummary, internal};
use crate::http::wire::Missed;
use crate::store::{Entry, Mended};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of one update; else the last.
    run: Option<i64>,
    /// Go on with everything that happens.
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    let mut last = 0;
    if !args.follow {
        past(args.run, &mut last, client, terminal).await?;
        return Ok(0);
    }
    loop {
        match follow(args.run, &mut last, client, terminal).await {
            Ok(()) if terminal.gone() => return Ok(0),
            Err(refusal) if refusal.code != Code::BerthdGone => return Err(refusal),
            // Nothing was heard yet: there is nobody to wait for.
            Err(refusal) if last == 0 => return Err(refusal),
            Ok(()) | Err(_) => {
                if !terminal.json {
                    terminal.note("berthd does not answer; trying again");
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

async fn follow(
    run: Option<i64>,
    last: &mut i64,
    client: &Client,
    terminal: &mut Terminal,
) -> Result<()> {
    // Listens before it reads: what comes between is told apart by its number.
    let mut lines = client.lines(Method::GET, "/v1/events", None::<&()>).await?;
    past(run, last, client, terminal).await?;
    // Answered once: from now on a berthd that goes is waited for.
    *last = (*last).max(1);
    while let Some((name, data)) = lines.event().await? {
        if name == "missed" {
            let Missed { missed } = serde_json::from_str(&data).map_err(internal)?;
            terminal.note(format!("{missed} lines came too fast and are not shown"));
            continue;
        }
        let notice: Notice = serde_json::from_str(&data).map_err(internal)?;
        match &notice {
            Notice::Journal(entry) if entry.seq <= *last => continue,
            Notice::Journal(entry) => *last = entry.seq,
            _ => {}
        }
        show(&notice, terminal)?;
        if terminal.gone() {
            break;
        }
    }
    Ok(())
}

/// The journal of one run.
async fn past(
    run: Option<i64>,
    last: &mut i64,
    client: &Client,
    terminal: &mut Terminal,
) -> Result<()> {
    let id = if let Some(id) = run {
        id
    } else {
        let runs: Vec<RunSummary> = client.get("/v1/history?limit=1").await?;
        let Some(run) = runs.first() else {
            return Ok(());
        };
        run.id
    };
    let detail: RunDetail = client.get(&format!("/v1/runs/{id}")).await?;
    // What was mended after the last update belongs to it.
    let mended: Vec<Mended> = match (run, *last) {
        (None, 0) => client.get("/v1/mended?limit=200").await?,
        _ => Vec::new(),
    };
    let since = detail.run.started;
    let mut notices: Vec<(Timestamp, Notice)> = mended
        .into_iter()
        .rev()
        .filter(|mended| mended.at >= since)
        .map(|mended| (mended.at, Notice::Supervisor(mended)))
        .collect();
    for entry in detail.entries {
        if entry.seq > *last {
            *last = entry.seq;
            notices.push((entry.at, Notice::Journal(entry)));
        }
    }
    notices.sort_by_key(|(at, _)| *at);
    for (_, notice) in notices {
        show(&notice, terminal)?;
    }
    Ok(())
}

fn show(notice: &Notice, terminal: &mut Terminal) -> Result<()> {
    if terminal.json {
        return terminal.json_line(notice);
    }
    match notice {
        Notice::Journal(entry) => journal(entry, terminal),
        Notice::Progress {
            what, done, total, ..
        } => {
            let of = match total {
                0 => String::new(),
                total => format!(" of {}", bytes(*total)),
            };
            terminal.line(format!("          {what}: {}{of}", bytes(*done)));
        }
        Notice::Log { source, line, .. } => {
            let line = format!("          {source} | {line}");
            terminal.line(terminal.paint(Tone::Dim, &line));
        }
        Notice::Supervisor(Mended { at, service, what }) => {
            terminal.line(format!("{}  {service}: {what}", second(*at)));
        }
        Notice::Ended(run) => {
            let how = run.ended.map_or("has not ended".to_owned(), |ended| {
                format!("{:?}", ended.outcome)
            });
            terminal.line(format!("          update {} to {}: {how}", run.id, run.to));
        }
    }
    Ok(())
}

fn journal(entry: &Entry, terminal: &mut Terminal) {
    let (tone, word) = event(entry.event);
    let line = format!(
        "{}  {:<10}  {}",
        second(entry.at),
        entry.phase.to_string(),
        terminal.paint(tone, word)
    );
    terminal.line(line);
    for line in entry.detail.lines() {
        terminal.line(format!("          {line}"));
    }
}
