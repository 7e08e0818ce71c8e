//! `berth history`: past updates, newest first; or one of them in full.

use super::Done;
use super::client::Client;
use super::describe::{sentence, way};
use super::follow::away;
use super::terminal::{Terminal, Tone};
use super::text::{Table, duration, minute, second};
use crate::api::{RunDetail, RunSummary};
use crate::store::Outcome;
use crate::update::plan::PlanKind;
use crate::update::{Event, Phase};

/// Lines of the failing log that stand in the one line of a run.
const LOG_LINES: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The number of one update: everything that is known of it.
    run: Option<i64>,
    /// So many, newest first.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,
}

pub async fn run(args: Args, client: &Client, terminal: &mut Terminal) -> Done {
    if let Some(id) = args.run {
        let detail: RunDetail = client.get(&format!("/v1/runs/{id}")).await?;
        if terminal.json {
            terminal.document(&detail)?;
        } else {
            one(&detail, terminal);
        }
        return Ok(0);
    }
    let runs: Vec<RunSummary> = client
        .get(&format!("/v1/history?limit={}", args.limit))
        .await?;
    if terminal.json {
        terminal.document(&runs)?;
    } else if runs.is_empty() {
        terminal.line("Nothing was installed yet.");
    } else {
        table(&runs).print(terminal);
    }
    Ok(0)
}

fn table(runs: &[RunSummary]) -> Table {
    let mut table = Table::default();
    table.head(&["no.", "when", "what", "outcome"]);
    for run in runs {
        let (tone, word) = outcome(run);
        let why = run.failure.as_ref().map_or_else(String::new, |failure| {
            let last = failure.log.iter().map(|line| line.trim());
            let last: Vec<&str> = last.filter(|line| !line.is_empty()).collect();
            let last = last[last.len().saturating_sub(LOG_LINES)..].join(" / ");
            let last = if last.is_empty() {
                last
            } else {
                format!(": {last}")
            };
            format!(": {} [{}]{last}", failure.summary, failure.code)
        });
        table.row([
            (Tone::Dim, run.id.to_string()),
            (Tone::Plain, minute(run.started)),
            (Tone::Strong, what(run)),
            (tone, format!("{word}{why}")),
        ]);
    }
    table
}

fn what(run: &RunSummary) -> String {
    match (run.kind, &run.from) {
        (PlanKind::Install, _) => format!("install {}", run.to),
        (PlanKind::Reconfigure, _) => format!("reconfigure {}", run.to),
        (PlanKind::Update, Some(from)) => format!("{from} -> {}", run.to),
        (PlanKind::Update, None) => format!("update to {}", run.to),
        (PlanKind::Rollback, _) => format!("back to {}", run.to),
    }
}

fn outcome(run: &RunSummary) -> (Tone, String) {
    match (run.ended, run.phase) {
        (Some(ended), _) => match ended.outcome {
            Outcome::Committed => (Tone::Good, "done".to_owned()),
            Outcome::RolledBack => (Tone::Bad, "went back".to_owned()),
        },
        (None, Phase::Halted(_)) => (Tone::Bad, "stands still".to_owned()),
        (None, phase) => (Tone::Warn, format!("under way, at {phase}")),
    }
}

fn one(detail: &RunDetail, terminal: &mut Terminal) {
    let sentence = sentence(&detail.plan);
    terminal.line(terminal.paint(Tone::Strong, &sentence));
    let (tone, word) = outcome(&detail.run);
    let took = detail.run.ended.map_or_else(String::new, |ended| {
        let took = ended.at.duration_since(detail.run.started);
        format!(" after {}", duration(took))
    });
    let away = away(detail).map_or_else(String::new, |d| format!("; away for {}", duration(d)));
    let word = terminal.paint(tone, &word);
    terminal.line(format!(
        "Begun {}, {word}{took}{away}.",
        minute(detail.run.started)
    ));
    let mut hop = None;
    for entry in &detail.entries {
        if hop != Some(entry.hop) {
            hop = Some(entry.hop);
            terminal.line("");
            if let Some(hop) = detail.plan.hops.get(entry.hop) {
                terminal.line(format!("  {}", way(hop)));
            }
        }
        let (tone, word) = event(entry.event);
        let line = format!(
            "  {}  {:<10}  {}",
            second(entry.at),
            entry.phase.to_string(),
            terminal.paint(tone, word)
        );
        terminal.line(line);
        for line in entry.detail.lines() {
            terminal.line(format!("                        {line}"));
        }
    }
    if let Some(failure) = &detail.run.failure {
        terminal.line("");
        terminal.line(failure.to_string());
    }
}

/// An event of the journal as it is shown.
pub fn event(event: Event) -> (Tone, &'static str) {
    match event {
        Event::Begun => (Tone::Dim, "begun"),
        Event::Done => (Tone::Good, "done"),
        Event::Failed => (Tone::Bad, "failed"),
        Event::Cut => (Tone::Warn, "cut off"),
        Event::Resumed => (Tone::Warn, "taken up again"),
    }
}
