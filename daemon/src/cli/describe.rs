//! A plan in words: what it costs, before anybody is asked.

use berth_format::release::{Grant, GrantKind};
use jiff::SignedDuration;

use super::terminal::{Terminal, Tone};
use super::text::{Table, bytes, count, duration, list, wrap};
use crate::api::{Check, PlanAnswer};
use crate::update::Plan;
use crate::update::plan::{Action, Hop, PlanKind};

/// Draws a plan. `measured`: how long the product was away the last time.
pub fn plan(answer: &PlanAnswer, measured: Option<SignedDuration>, terminal: &mut Terminal) {
    let plan = &answer.plan;
    let sentence = sentence(plan);
    terminal.line(terminal.paint(Tone::Strong, &sentence));
    terminal.line("");
    costs(plan, measured).print(terminal);
    for hop in &plan.hops {
        terminal.line("");
        if plan.hops.len() > 1 {
            terminal.line(terminal.paint(Tone::Strong, &format!("  {}", way(hop))));
        }
        changes(hop).print(terminal);
    }
    if !plan.grants.is_empty() {
        terminal.line("");
        terminal.line("It asks for more than a container has:");
        grants(&plan.grants).print(terminal);
    }
    if !plan.warnings.is_empty() {
        terminal.line("");
        terminal.line("Read this first:");
        let room = terminal.width().map_or(usize::MAX, |w| w.saturating_sub(4));
        for warning in &plan.warnings {
            for (n, part) in wrap(warning, room).iter().enumerate() {
                let mark = if n == 0 { "- " } else { "  " };
                terminal.line(terminal.paint(Tone::Warn, &format!("  {mark}{part}")));
            }
        }
    }
    checks(&answer.checks, terminal);
    terminal.line("");
    let digest = format!("Plan {}", answer.digest);
    terminal.line(terminal.paint(Tone::Dim, &digest));
}

/// What the plan does, in one sentence.
pub fn sentence(plan: &Plan) -> String {
    let title = if plan.title.is_empty() {
        plan.product.as_str()
    } else {
        &plan.title
    };
    let from = plan
        .from
        .as_ref()
        .map_or_else(String::new, |v| format!(" {v}"));
    let to = &plan.to;
    match plan.kind {
        PlanKind::Install => format!("Install {title} {to}."),
        PlanKind::Reconfigure => format!("Apply changed config to {title} {to}."),
        PlanKind::Rollback => format!("Take {title}{from} back to {to}."),
        PlanKind::Update => {
            let stops: Vec<String> = plan
                .hops
                .split_last()
                .map(|(_, before)| before.iter().map(|hop| hop.to.to_string()).collect())
                .unwrap_or_default();
            let through = if stops.is_empty() {
                String::new()
            } else {
                format!(", through {}", list(&stops))
            };
            format!("Update {title}{from} to {to}{through}.")
        }
    }
}

/// `1.0.0 -> 1.1.0`.
pub fn way(hop: &Hop) -> String {
    match &hop.from {
        Some(from) if *from != hop.to => format!("{from} -> {}", hop.to),
        _ => hop.to.to_string(),
    }
}

fn costs(plan: &Plan, measured: Option<SignedDuration>) -> Table {
    let mut table = Table::indented(2);
    let mut row = |name: &str, tone: Tone, text: String| {
        table.row([(Tone::Dim, name.to_owned()), (tone, text)]);
    };
    row(
        "fetches",
        Tone::Plain,
        match plan.fetch_bytes {
            0 => "nothing, all of it is here".to_owned(),
            n if plan.download_bytes == 0 => format!("{} into Docker", bytes(n)),
            n => format!(
                "{} over the line, {} into Docker",
                bytes(plan.download_bytes),
                bytes(n)
            ),
        },
    );
    let last = measured.map_or_else(String::new, |d| format!("; the last time {}", duration(d)));
    let stops = plan.hops.iter().any(|hop| hop.stops().next().is_some());
    let down = plan
        .hops
        .iter()
        .any(|hop| hop.data_may_change && hop.from.is_some());
    row(
        "away",
        Tone::Plain,
        if plan.kind == PlanKind::Install {
            "nothing runs yet".to_owned()
        } else if down {
            format!("from the first stop until every service is healthy{last}")
        } else if stops {
            format!("only the services that restart, while they do{last}")
        } else {
            "never, nothing that runs is stopped".to_owned()
        },
    );
    let irreversible: Vec<String> = plan
        .hops
        .iter()
        .flat_map(|hop| &hop.migrations)
        .filter(|m| !m.reversible)
        .map(|m| m.name.to_string())
        .collect();
    let uncovered = plan.hops.iter().any(|hop| !hop.not_covered.is_empty());
    row(
        "if it fails",
        if uncovered { Tone::Warn } else { Tone::Plain },
        match (plan.kind, down, uncovered) {
            (PlanKind::Install, ..) => "what was made is removed again".to_owned(),
            (_, false, _) => "it goes back by itself; the data stays as it is".to_owned(),
            (_, true, false) => "it goes back by itself, data included".to_owned(),
            (_, true, true) => {
                "it goes back by itself, but not the data of volumes that are not covered"
                    .to_owned()
            }
        },
    );
    if plan.kind != PlanKind::Install {
        row(
            "once it is done",
            if irreversible.is_empty() {
                Tone::Plain
            } else {
                Tone::Warn
            },
            if plan.kind == PlanKind::Rollback {
                "there is no way further back".to_owned()
            } else if plan.kind == PlanKind::Reconfigure {
                "set the old values, and do this again".to_owned()
            } else if !plan.hops.last().is_some_and(|hop| hop.data_may_change) {
                "`berth rollback` goes back; the data stays as it is".to_owned()
            } else if irreversible.is_empty() {
                "`berth rollback` goes back; what was written since is lost".to_owned()
            } else {
                format!(
                    "{} cannot be reversed: `berth rollback` puts the copy from before it back, \
                     and what was written since is lost",
                    list(&irreversible)
                )
            },
        );
    }
    table
}

fn changes(hop: &Hop) -> Table {
    let mut table = Table::indented(if hop.from.is_some() { 4 } else { 2 });
    let of = |action: Action| -> Vec<String> {
        let services = hop.services.iter().filter(|(_, c)| c.action == action);
        services.map(|(name, _)| name.to_string()).collect()
    };
    let mut row = |name: &str, tone: Tone, items: &[String]| {
        if !items.is_empty() {
            table.row([(Tone::Dim, name.to_owned()), (tone, items.join(", "))]);
        }
    };
    row("replaced", Tone::Strong, &of(Action::Replace));
    row("new", Tone::Strong, &of(Action::Add));
    row("removed", Tone::Warn, &of(Action::Remove));
    row("restarted", Tone::Plain, &of(Action::Cycle));
    row("not touched", Tone::Dim, &of(Action::Keep));
    let migrations: Vec<String> = hop
        .migrations
        .iter()
        .map(|m| {
            if m.reversible {
                m.name.to_string()
            } else {
                format!("{} (cannot be reversed)", m.name)
            }
        })
        .collect();
    row("migrates", Tone::Plain, &migrations);
    row("copies before", Tone::Plain, &hop.snapshot);
    row("not covered", Tone::Warn, &hop.not_covered);
    row("new volumes", Tone::Plain, &hop.new_volumes);
    if let Some((run, _)) = hop.restore {
        row(
            "puts back",
            Tone::Warn,
            &[format!("the data from before update {run}")],
        );
    }
    table
}

/// What a release asks for, one a line.
pub fn grants(grants: &[Grant]) -> Table {
    let mut table = Table::indented(2);
    for grant in grants {
        let what = match grant.kind {
            GrantKind::Privileged => "everything that root of this machine may do",
            GrantKind::HostPid => "sees the machine's processes",
            GrantKind::HostNetwork => "uses the machine's network; Berth cannot close its ports",
            GrantKind::HostIpc => "shares memory with the machine's programs",
            GrantKind::Device => "uses a device",
            GrantKind::HostPath => "reads a path of this machine",
            GrantKind::DockerSocket => "talks to Docker: everything that root may do",
            GrantKind::Capability => "has a capability beyond Docker's own",
            GrantKind::Unconfined => "runs with a confinement switched off",
        };
        let what = if grant.detail.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {}", grant.detail)
        };
        table.row([
            (Tone::Strong, grant.service.to_string()),
            (Tone::Warn, what),
        ]);
    }
    table
}

fn checks(checks: &[Check], terminal: &mut Terminal) {
    if checks.is_empty() {
        return;
    }
    let bad = checks
        .iter()
        .filter(|check| check.refusal.is_some())
        .count();
    terminal.line("");
    let sentence = match bad {
        0 => "This machine is ready: every check is good.".to_owned(),
        n => format!("This machine is not ready: {} failed.", count(n, "check")),
    };
    let sentence = terminal.paint(if bad == 0 { Tone::Good } else { Tone::Bad }, &sentence);
    terminal.line(sentence);
    let mut table = Table::indented(2);
    for check in checks {
        let (tone, word) = match &check.refusal {
            None => (Tone::Good, "good"),
            Some(_) => (Tone::Bad, "failed"),
        };
        table.row([
            (tone, word.to_owned()),
            (Tone::Plain, check.name.clone()),
            (Tone::Plain, check.summary.clone()),
        ]);
        if let Some(refusal) = &check.refusal {
            table.row([
                (Tone::Plain, String::new()),
                (Tone::Plain, String::new()),
                (Tone::Dim, refusal.next.clone()),
            ]);
        }
    }
    table.print(terminal);
}
