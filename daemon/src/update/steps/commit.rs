//! Commit: what the engine holds is on the disk; then the driver writes the one record.

use crate::engine::Engine;
use crate::host::Host;
use crate::store::{Installed, Previous, Run, Store, StoreError};
use crate::update::context::{Context, Scene, StepError};
use crate::update::policy;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    ctx.sync_docker().await?;
    Ok(format!("{} is the installed version", scene.hop.to))
}

/// The stack that the hop makes the installed one.
pub fn installed(run: &Run, store: &Store, at: jiff::Timestamp) -> Result<Installed, StoreError> {
    let hop = &run.plan.hops[run.hop];
    let (services, networks) = policy::placed(hop);
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
        values: run.values.clone(),
        committed: at,
        previous,
    })
}
