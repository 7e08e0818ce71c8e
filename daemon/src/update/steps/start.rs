//! Start: the new stack comes up in dependency order, each gated on health, doors closed.

use super::prepare::ILL;
use crate::engine::{ContainerState, Engine};
use crate::host::Host;
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError};
use crate::update::gate::{bring_up, is_one_off};
use crate::update::plan::Action;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let mut containers = scene.new_containers();
    for name in ctx.store.notes(run.id, run.hop, ILL)?.keys() {
        log::warn!("{name} was not well before the update: the update is not judged by it");
        containers.retain(|service, _| service.as_str() != name);
    }
    for (name, change) in &scene.hop.services {
        // What is kept and has ended is not run once more.
        let Some(container) = change
            .new
            .as_deref()
            .filter(|_| change.action == Action::Keep)
        else {
            continue;
        };
        let seen = ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        let ended = seen.is_some_and(|c| c.state == ContainerState::Exited { code: 0 });
        if ended && scene.new.services.get(name).is_some_and(is_one_off) {
            containers.remove(name);
        }
    }
    bring_up(ctx, &scene.new, &containers).await?;
    Ok(format!("{} services are healthy", containers.len()))
}
