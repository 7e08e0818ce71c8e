//! Whether the background migrations of a release are done: before that, the next hop must not begin.

use berth_format::{Code, Refusal, Release};
use std::time::Duration;

use super::context::{Context, StepError};
use super::gate::address;
use crate::engine::Engine;
use crate::host::{Host, ProbeTarget};
use crate::store::Installed;

/// One question.
const ANSWER: Duration = Duration::from_secs(5);

/// Between two questions.
const AGAIN: Duration = Duration::from_secs(2);

/// How long the second of two hops waits for what the first one began.
const PATIENCE: Duration = Duration::from_hours(1);

/// What it says now; `None`: it is drained, or has nothing to drain.
pub async fn undrained<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    installed: &Installed,
) -> Result<Option<Refusal>, StepError> {
    let Some(probe) = &release.upgrade.drained else {
        return Ok(None);
    };
    let container = installed.services.get(&probe.service);
    let container = container.map(|placed| placed.container.as_str());
    let seen = match container {
        Some(name) => ctx.engine(|e| async move { e.inspect(name).await }).await?,
        None => None,
    };
    let said = match seen.and_then(|seen| address(&seen, probe.port)) {
        None => "it does not run".to_owned(),
        Some(addr) => {
            let outcome = match &probe.path {
                Some(path) => {
                    let (host, path) = (probe.service.to_string(), path.clone());
                    let target = ProbeTarget { addr, host, path };
                    ctx.host.http_probe(&target, ANSWER).await
                }
                None => ctx.host.tcp_probe(addr, ANSWER).await,
            };
            if outcome.is_good() {
                return Ok(None);
            }
            format!("it {outcome}")
        }
    };
    let summary = format!(
        "{} still works on its data in the background",
        release.version
    );
    Ok(Some(
        Refusal::new(Code::NotDrained, summary).found(format!("{}: {said}", probe.service)),
    ))
}

/// Waits until it is drained.
pub async fn wait<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    installed: &Installed,
) -> Result<(), StepError> {
    let begun = ctx.host.monotonic();
    while let Some(refusal) = undrained(ctx, release, installed).await? {
        if ctx.host.monotonic().saturating_sub(begun) >= PATIENCE {
            return Err(refusal.into());
        }
        ctx.host.sleep(AGAIN).await;
    }
    Ok(())
}
