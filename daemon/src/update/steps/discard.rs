//! Discard: what this hop made is removed.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::host::Host;
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let product = &scene.new.product;
    let keep: BTreeSet<String> = scene.old_containers().into_values().collect();
    for container in ctx
        .engine(|e| async move { e.containers(product).await })
        .await?
    {
        if !keep.contains(&container.name) {
            let name = container.name.as_str();
            ctx.engine(|e| async move { e.remove(name).await }).await?;
        }
    }
    let networks: BTreeSet<&str> = scene
        .old
        .iter()
        .flat_map(|(_, installed)| installed.networks.values())
        .map(|n| n.name.as_str())
        .collect();
    for network in scene.hop.networks.values().filter(|n| n.new) {
        let name = network.name.as_str();
        if !networks.contains(name) {
            ctx.engine(|e| async move { e.remove_network(name).await })
                .await?;
        }
    }
    for volume in ctx.store.notes(run.id, run.hop, "volume")?.keys() {
        ctx.engine(|e| async move { e.remove_volume(volume).await })
            .await?;
    }
    let snapshots = ctx.snapshots(run).await?;
    ctx.host.remove_tree(&snapshots).await?;
    Ok("removed what the update made".into())
}
