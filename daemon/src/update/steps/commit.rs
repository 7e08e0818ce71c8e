//! Commit: what the engine holds is on the disk; then the driver writes the one record.

use crate::engine::{ContainerState, Engine};
use crate::host::Host;
use crate::store::{Installed, Previous, Run, Store, StoreError};
use crate::update::context::{Context, Scene, StepError};
use crate::update::policy;

/// Note: a service that had done its work.
const DONE: &str = "done";

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    for (name, change) in &scene.hop.services {
        let Some(container) = change.new.as_deref() else {
            continue;
        };
        let seen = ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        if seen.is_some_and(|c| c.state == ContainerState::Exited { code: 0 }) {
            ctx.store.note(run, DONE, name.as_str(), "")?;
        }
    }
    ctx.sync_docker().await?;
    Ok(format!("{} is the installed version", scene.hop.to))
}

/// The stack that the hop makes the installed one.
pub fn installed(run: &Run, store: &Store, at: jiff::Timestamp) -> Result<Installed, StoreError> {
    let hop = &run.plan.hops[run.hop];
    let (mut services, networks) = policy::placed(hop);
    let done = store.notes(run.id, run.hop, DONE)?;
    for (name, placed) in &mut services {
        placed.done = done.contains_key(name.as_str());
    }
    let previous = store.installed()?.and_then(|old| {
        // After a rollback by hand there is nothing older to go back to; after a
        // reconfiguration the way back is where it was.
        match run.plan.kind {
            crate::update::plan::PlanKind::Rollback => None,
            crate::update::plan::PlanKind::Reconfigure => old.previous.clone(),
            _ => Some(Previous {
                version: old.version.clone(),
                release: old.release,
                values: old.values.clone(),
                since: Some(at),
                snapshot: hop.data_may_change.then_some((run.id, run.hop)),
            }),
        }
    });
    Ok(Installed {
        product: run.plan.product.clone(),
        version: hop.to.clone(),
        release: hop.release,
        generation: hop.generation,
        services,
        networks,
        values: run.values(),
        committed: at,
        previous,
    })
}
