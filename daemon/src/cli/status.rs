//! `berth status`: how the product is, in one sentence, then service by service.

use jiff::Timestamp;

use super::Done;
use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::text::{Table, list, since};
use crate::api::{Overall, Status};

pub async fn run(client: &Client, terminal: &mut Terminal) -> Done {
    let status: Status = client.get("/v1/status").await?;
    if terminal.json {
        terminal.document(&status)?;
    } else {
        show(&status, Timestamp::now(), terminal);
    }
    Ok(0)
}

fn show(status: &Status, now: Timestamp, terminal: &mut Terminal) {
    let tone = match status.state {
        Overall::Healthy => Tone::Good,
        Overall::NotInstalled => Tone::Strong,
        Overall::Degraded | Overall::Updating | Overall::RollingBack => Tone::Warn,
        Overall::Halted | Overall::EngineGone => Tone::Bad,
    };
    terminal.line(terminal.paint(tone, &status.summary));
    let mut facts = Vec::new();
    if let (Some(version), Some(committed)) = (&status.version, status.committed) {
        facts.push(format!(
            "Version {version}, since {}.",
            since(committed, now)
        ));
    }
    if let Some(run) = &status.run {
        facts.push(format!(
            "Update {} to {} is at {}: `berth events -f` shows it.",
            run.id, run.to, run.phase
        ));
    }
    if let Some(previous) = &status.previous {
        facts.push(format!("`berth rollback` goes back to {previous}."));
    }
    if !status.available.is_empty() {
        let versions: Vec<String> = status.available.iter().map(ToString::to_string).collect();
        let verb = if versions.len() == 1 { "is" } else { "are" };
        facts.push(format!(
            "{} {verb} here: `berth plan` shows what an update would do.",
            list(&versions)
        ));
    }
    if let Some(error) = &status.engine_error {
        facts.push(format!("Docker: {error}"));
    }
    for fact in facts {
        terminal.line(terminal.paint(Tone::Dim, &fact));
    }
    if status.services.is_empty() {
        return;
    }
    terminal.line("");
    let mut table = Table::indented(2);
    table.head(&["service", "since", "ports", "state"]);
    for service in &status.services {
        let started = service.container.as_ref().and_then(|c| c.started);
        table.row([
            (Tone::Strong, service.name.to_string()),
            (
                Tone::Dim,
                started.map_or_else(String::new, |at| since(at, now)),
            ),
            (Tone::Plain, service.ports.join(", ")),
            (
                if service.good { Tone::Good } else { Tone::Bad },
                service.summary.clone(),
            ),
        ]);
    }
    table.print(terminal);
}
