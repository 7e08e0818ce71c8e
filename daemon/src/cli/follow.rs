//! Follows a run to its end: through restarts of berthd, until Ctrl-C.

use std::time::Duration;

use berth_format::{Code, Effect, Refusal};
use hyper::Method;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::client::Client;
use super::describe::way;
use super::progress::View;
use super::terminal::{Terminal, Tone};
use super::text::duration;
use super::{DETACHED, Done};
use crate::api::{Notice, Result, RunDetail, RunSummary};
use crate::store::{Entry, Outcome};
use crate::update::plan::PlanKind;
use crate::update::{Event, Phase, Step, Undo};

/// How long berthd may be away while a run is followed.
const PATIENCE: Duration = Duration::from_mins(2);

/// What became of the run.
enum End {
    Ended(RunSummary),
    Halted,
    /// By Ctrl-C.
    Left,
}

/// Follows a run to its end, and says how it ended.
pub async fn run(summary: &RunSummary, client: &Client, terminal: &mut Terminal) -> Done {
    let detail = begun(summary, client).await?;
    from(&detail, 0, client, terminal).await
}

/// Follows a run that stood still and was taken up again: from its halt on.
pub async fn resumed(summary: &RunSummary, client: &Client, terminal: &mut Terminal) -> Done {
    let detail = begun(summary, client).await?;
    let halt = detail.entries.iter().rev().find(|entry| is_halt(entry));
    let after = halt.map_or(0, |entry| entry.seq);
    from(&detail, after, client, terminal).await
}

/// The run, of which is known that it goes on whatever becomes of the question.
async fn begun(summary: &RunSummary, client: &Client) -> Result<RunDetail> {
    let answer = client.get(&format!("/v1/runs/{}", summary.id)).await;
    answer.map_err(|refusal: Refusal| match refusal.code {
        Code::BerthdGone => refusal.effect(Effect::UnderWay),
        _ => refusal,
    })
}

/// The line of the journal with which Berth begins to stand still.
fn is_halt(entry: &Entry) -> bool {
    matches!(entry.phase, Phase::Halted(_)) && entry.event == Event::Begun
}

async fn from(detail: &RunDetail, after: i64, client: &Client, terminal: &mut Terminal) -> Done {
    let id = detail.run.id;
    let hops = detail.plan.hops.iter().map(way).collect();
    let mut view = View::new(hops, terminal);
    // The run goes on whoever looks: Ctrl-C leaves it alone.
    let end = tokio::select! {
        end = events(id, after, client, &mut view, terminal) => Some(end),
        _ = tokio::signal::ctrl_c() => None,
    };
    view.clear();
    drop(view);
    match end.unwrap_or(Ok(End::Left))? {
        End::Ended(run) => ended(&run, client, terminal).await,
        End::Halted => {
            let detail: RunDetail = client.get(&format!("/v1/runs/{id}")).await?;
            Err(halted(&detail))
        }
        End::Left => {
            terminal.note("\nIt goes on without you: `berth events -f` shows it.");
            Ok(DETACHED)
        }
    }
}

/// That the rollback could not finish, why, and why there was one.
fn halted(detail: &RunDetail) -> Refusal {
    let why = detail
        .entries
        .iter()
        .rev()
        .find(|entry| matches!(entry.phase, Phase::Back(_)) && entry.event == Event::Failed);
    let mut found: Vec<String> = why.iter().map(|entry| entry.detail.clone()).collect();
    if let Some(failure) = &detail.run.failure {
        found.push(format!("it went back because: {}", failure.summary));
    }
    Refusal::new(Code::RollbackFailed, "the rollback could not finish")
        .found(found.join("; "))
        .effect(Effect::Halted)
}

async fn events(
    id: i64,
    after: i64,
    client: &Client,
    view: &mut View,
    terminal: &mut Terminal,
) -> Result<End> {
    let mut last = after;
    let mut wait = Duration::from_millis(200);
    let mut since: Option<Instant> = None;
    loop {
        let lost = match stream(id, &mut last, client, view, terminal).await {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => None,
            Err(refusal) if refusal.code == Code::BerthdGone => Some(refusal),
            Err(refusal) => return Err(refusal),
        };
        match (since, lost) {
            // It answered, and ended the stream: it is going down.
            (_, None) => {
                since = None;
                wait = Duration::from_millis(200);
            }
            (None, Some(_)) => {
                since = Some(Instant::now());
                if !terminal.json {
                    view.say(
                        "  berthd does not answer; it takes the update up when it is back",
                        terminal,
                    );
                }
            }
            (Some(start), Some(refusal)) if start.elapsed() > PATIENCE => {
                return Err(refusal.effect(Effect::UnderWay).next(
                    "Look at `systemctl status berthd`; it takes the update up again by itself.",
                ));
            }
            (Some(_), Some(_)) => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// One connection's worth of events; `None`: it ended before the run did.
async fn stream(
    id: i64,
    last: &mut i64,
    client: &Client,
    view: &mut View,
    terminal: &mut Terminal,
) -> Result<Option<End>> {
    let path = format!("/v1/runs/{id}/events?after={last}");
    let mut lines = client.lines(Method::GET, &path, None::<&()>).await?;
    while let Some((name, data)) = lines.event().await? {
        if name == "missed" {
            continue;
        }
        let notice: Notice = serde_json::from_str(&data).map_err(crate::api::internal)?;
        view.notice(&notice, terminal)?;
        match notice {
            Notice::Journal(entry) => {
                *last = entry.seq;
                if is_halt(&entry) {
                    return Ok(Some(End::Halted));
                }
            }
            Notice::Ended(run) => return Ok(Some(End::Ended(run))),
            _ => {}
        }
    }
    Ok(None)
}

async fn ended(run: &RunSummary, client: &Client, terminal: &mut Terminal) -> Done {
    let outcome = run.ended.map(|ended| ended.outcome);
    if outcome == Some(Outcome::Committed) {
        if !terminal.json {
            let detail: Option<RunDetail> = client.get(&format!("/v1/runs/{}", run.id)).await.ok();
            say_committed(run, detail.as_ref(), terminal);
        }
        return Ok(0);
    }
    Err(run.failure.clone().unwrap_or_else(|| {
        let back = run.from.as_ref().map(ToString::to_string);
        Refusal::new(Code::Interrupted, "the update was undone")
            .effect(back.map_or(Effect::NothingChanged, Effect::RolledBackTo))
    }))
}

fn say_committed(run: &RunSummary, detail: Option<&RunDetail>, terminal: &mut Terminal) {
    let title = detail.map_or("The product", |d| d.plan.title.as_str());
    let verb = match run.kind {
        PlanKind::Install => "is installed and runs",
        PlanKind::Update | PlanKind::Reconfigure => "runs",
        PlanKind::Rollback => "runs again",
    };
    let away = detail.and_then(away).map_or_else(String::new, |d| {
        format!(" It was away for {}.", duration(d))
    });
    let sentence = terminal.paint(Tone::Good, &format!("{title} {} {verb}.", run.to));
    terminal.line(format!("{sentence}{away}"));
    if let Some(failure) = &run.failure {
        terminal.note(format!(
            "It is committed, but not all went well: {} [{}]",
            failure.summary, failure.code
        ));
    }
}

/// How long services were stopped in a run: from the first stop to the open doors, hop by hop.
/// `None`: nothing was.
pub fn away(detail: &RunDetail) -> Option<SignedDuration> {
    let mut sum = SignedDuration::ZERO;
    for (at, hop) in detail.plan.hops.iter().enumerate() {
        if hop.stops().next().is_none() {
            continue;
        }
        let time = |phase: Phase, event: Event| {
            let mut entries = detail.entries.iter().filter(|e| e.hop == at);
            entries.find(|e| e.phase == phase && e.event == event)
        };
        let Some(stop) = time(Phase::Forward(Step::Stop), Event::Begun) else {
            continue;
        };
        let up = time(Phase::Forward(Step::Open), Event::Done)
            .or_else(|| time(Phase::Back(Undo::Revive), Event::Done));
        if let Some(up) = up {
            sum += up.at.duration_since(stop.at);
        }
    }
    (!sum.is_zero()).then_some(sum)
}
