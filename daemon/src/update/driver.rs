//! Runs the steps: the only place that does, and it journals the intent first, the outcome after.

use berth_format::{Code, Effect, Refusal};

use super::context::{Context, StepError};
use super::steps;
use super::transition::{Event, Phase, Step, next};
use crate::api::Notice;
use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::store::{Run, StoreError};

/// How often an undo is tried before Berth stands still.
const UNDO_TRIES: u32 = 5;

/// Between two tries of an undo.
const UNDO_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// Drives a run to its end, or to a halt. Its intent is in the journal already.
///
/// An error is one of the journal itself: nothing more is done, the next start goes on from there.
pub async fn drive<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &mut Run,
) -> Result<(), StoreError> {
    loop {
        #[cfg(feature = "crash-points")]
        super::hold::before(run.phase).await;
        ctx.away.say(run);
        let (event, detail) = match run.phase {
            Phase::Idle | Phase::Halted(_) => return Ok(()),
            Phase::Forward(step) => match attempt(ctx, run, step).await {
                Ok(detail) => (Event::Done, detail),
                Err(error) => {
                    // Only steps that judged a release say it in full.
                    let judged = matches!(error, StepError::Refused(_));
                    let refusal = explain(error, step, run);
                    if judged {
                        quarantine(ctx, run, step, &refusal)?;
                    }
                    let summary = refusal.summary.clone();
                    // Past the commit the new version runs: what is left over is mended or
                    // removed later, and is no failure of the update.
                    if step <= Step::Commit {
                        run.failure.get_or_insert(refusal);
                    } else {
                        log::warn!("{} failed past the commit: {refusal}", step.as_str());
                    }
                    (Event::Failed, summary)
                }
            },
            Phase::Back(undo) => match undo_patiently(ctx, run, undo).await {
                Ok(detail) => (Event::Done, detail),
                Err(error) => {
                    let why = error.refusal(Code::RollbackFailed);
                    let summary = format!("{}: {}", why.summary, why.found.unwrap_or_default());
                    if let Some(failure) = &mut run.failure
                        && undo != super::Undo::Discard
                    {
                        failure.effect = Effect::Halted;
                        failure.next = Code::RollbackFailed.next().into();
                    }
                    (Event::Failed, summary)
                }
            },
        };
        #[cfg(feature = "crash-points")]
        super::hold::after(run.phase).await;
        record(ctx, run, event, &detail)?;
    }
}

/// A step forward. Where Docker itself went away in the middle, what is said of the release
/// (ended with 137, never healthy) is said of Docker.
async fn attempt<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    step: Step,
) -> Result<String, StepError> {
    let outages = ctx.outages.count();
    match steps::forward(ctx, run, step).await {
        Err(StepError::Refused(judged))
            if judges_release(judged.code) && ctx.outages.count() > outages =>
        {
            let summary = "Docker went away and came back in the middle of the update";
            let refusal = Refusal::new(Code::Interrupted, summary)
                .found(judged.summary)
                .log(judged.log);
            Err(refusal.into())
        }
        result => result,
    }
}

/// Whether a refusal says that the release itself does not work.
fn judges_release(code: Code) -> bool {
    matches!(code, Code::MigrationFailed | Code::Unhealthy)
}

/// Takes a run up again that was cut off.
pub fn recover<E: Engine, H: Host>(ctx: &Context<E, H>, run: &mut Run) -> Result<(), StoreError> {
    if let Phase::Forward(step) = run.phase
        && step <= Step::Commit
    {
        let (from, to) = names(run);
        let refusal = Refusal::new(
            Code::Interrupted,
            format!(
                "the update to {to} was cut off in its step {}",
                step.as_str()
            ),
        );
        run.failure
            .get_or_insert(refusal.effect(undone(step, from)));
    }
    record(ctx, run, Event::Cut, "")
}

/// Takes a halted run up again.
pub fn resume<E: Engine, H: Host>(ctx: &Context<E, H>, run: &mut Run) -> Result<(), StoreError> {
    let (from, _) = names(run);
    if let Some(failure) = &mut run.failure {
        failure.effect = from.map_or(Effect::NothingChanged, Effect::RolledBackTo);
        failure.next = failure.code.next().into();
    }
    record(ctx, run, Event::Resumed, "")
}

async fn undo_patiently<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    undo: super::Undo,
) -> Result<String, StepError> {
    let mut tries = 1;
    loop {
        match steps::back(ctx, run, undo).await {
            // Not a try: when Docker is back, so is the old stack.
            Err(StepError::Engine(EngineError::Gone(why))) => {
                log::warn!("{} waits for Docker: {why}", undo.as_str());
                ctx.host.sleep(UNDO_PAUSE).await;
            }
            Err(error) if tries < UNDO_TRIES => {
                log::warn!("{} failed, trying again: {error}", undo.as_str());
                tries += 1;
                ctx.host.sleep(UNDO_PAUSE).await;
            }
            result => return result,
        }
    }
}

fn record<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &mut Run,
    event: Event,
    detail: &str,
) -> Result<(), StoreError> {
    let at = ctx.host.now();
    let after = match next(run.phase, event) {
        Ok(after) => after,
        Err(refused) => {
            // The match is exhaustive and the driver gives only events that have a place.
            log::error!("{refused}");
            return Ok(());
        }
    };
    let before = ctx.store.last_entry()?;
    let commit = match (run.phase, event) {
        (Phase::Forward(Step::Commit), Event::Done) => Some(steps::installed(run, &ctx.store, at)?),
        _ => None,
    };
    ctx.store
        .advance(run, event, after, detail, commit.as_ref(), at)?;
    for entry in ctx.store.entries(run.id, before, u32::MAX)? {
        log::info!(
            RUN = entry.run, STEP = entry.phase.to_string();
            "{} {:?} {}", entry.phase, entry.event, entry.detail
        );
        ctx.tell(Notice::Journal(entry));
    }
    Ok(())
}

fn names(run: &Run) -> (Option<String>, String) {
    let hop = run.plan.hops.get(run.hop);
    let from = hop.and_then(|h| h.from.as_ref()).map(ToString::to_string);
    let to = hop.map_or_else(|| run.plan.to.to_string(), |h| h.to.to_string());
    (from, to)
}

fn undone(step: Step, from: Option<String>) -> Effect {
    match from {
        // A migration may have run already.
        Some(from) if step >= Step::Premigrate => Effect::RolledBackTo(from),
        _ => Effect::NothingChanged,
    }
}

fn explain(error: StepError, step: Step, run: &Run) -> Refusal {
    let code = match step {
        Step::Fetch => Code::FetchFailed,
        Step::Prepare => Code::PrepareFailed,
        Step::Stop => Code::StopFailed,
        Step::Snapshot => Code::SnapshotFailed,
        Step::Premigrate | Step::Migrate => Code::MigrationFailed,
        Step::Start => Code::Unhealthy,
        Step::Commit | Step::Open | Step::Prune => Code::Internal,
    };
    let code = match error {
        StepError::Engine(EngineError::Gone(_)) => Code::EngineGone,
        // The machine's fault, not the release's.
        StepError::Engine(_) if code == Code::Unhealthy => Code::EngineRefused,
        _ => code,
    };
    let mut refusal = error.refusal(code);
    if step <= Step::Commit {
        refusal.effect = undone(step, names(run).0);
    }
    refusal
}

/// A release that failed by itself is not offered again; a machine that failed is no fault of it.
fn quarantine<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    step: Step,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    let forward = run.plan.kind != super::plan::PlanKind::Rollback;
    if judges_release(refusal.code)
        && forward
        && step <= Step::Commit
        && let Some(hop) = run.plan.hops.get(run.hop)
        && hop.from.as_ref() != Some(&hop.to)
    {
        ctx.store.set_failed(&hop.to, Some(&refusal.summary))?;
    }
    Ok(())
}
