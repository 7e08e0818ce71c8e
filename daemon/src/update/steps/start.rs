//! Start: the new stack comes up in dependency order, each gated on health, doors closed.

use crate::engine::Engine;
use crate::host::Host;
use crate::update::context::{Context, Scene, StepError};
use crate::update::gate::bring_up;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let containers = scene.new_containers();
    bring_up(ctx, &scene.new, &containers).await?;
    Ok(format!("{} services are healthy", containers.len()))
}
