//! Discard: what this hop made is removed.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::host::Host;
use crate::store::{Outcome, Run};
use crate::update::context::{Context, Scene, StepError, snapshot_dir};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    // Also what an earlier one could not remove: this one may have failed before it came to that.
    sweep(ctx, scene).await?;
    remove_volumes(ctx, run.id, run.hop).await?;
    let root = ctx.docker_root().await?;
    let product = scene.new.product.as_str();
    ctx.release_ballast(product).await?;
    let snapshots = snapshot_dir(&root, product, run.id, run.hop);
    ctx.host.remove_tree(&snapshots).await?;
    // A power cut must not bring it back, half of it perhaps: only then the notes may go.
    ctx.host.syncfs(&root).await?;
    ctx.store.forget_notes(run.id, run.hop, "volume")?;
    Ok("removed what the update made".into())
}

/// Removes what is left of updates whose own discard could not be done: their containers and
/// networks would pass for those of the next one of the same generation, and their volumes for
/// data of the product.
pub async fn sweep<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<(), StepError> {
    leftovers(ctx, scene).await?;
    for earlier in ctx.store.history(u32::MAX)? {
        let undone = earlier.ended.map(|e| e.outcome) == Some(Outcome::RolledBack);
        if undone && remove_volumes(ctx, earlier.id, earlier.hop).await? {
            ctx.sync_docker().await?;
            ctx.store.forget_notes(earlier.id, earlier.hop, "volume")?;
        }
    }
    Ok(())
}

/// Removes every container and network that is not of the committed stack.
async fn leftovers<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<(), StepError> {
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
    for name in ctx
        .engine(|e| async move { e.networks(product).await })
        .await?
    {
        if !networks.contains(name.as_str()) {
            let name = name.as_str();
            ctx.engine(|e| async move { e.remove_network(name).await })
                .await?;
        }
    }
    Ok(())
}

/// Removes the volumes that a hop made; whether there were any.
async fn remove_volumes<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: i64,
    hop: usize,
) -> Result<bool, StepError> {
    let volumes = ctx.store.notes(run, hop, "volume")?;
    for volume in volumes.keys() {
        ctx.engine(|e| async move { e.remove_volume(volume).await })
            .await?;
    }
    Ok(!volumes.is_empty())
}
