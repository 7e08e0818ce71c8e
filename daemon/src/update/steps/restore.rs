//! Restore: each volume that has a snapshot is exchanged for it, atomically.

use crate::api::internal;
use crate::engine::Engine;
use crate::host::Host;
use crate::store::Run;
use crate::update::context::{Context, StepError};

pub async fn run<E: Engine, H: Host>(ctx: &Context<E, H>, run: &Run) -> Result<String, StepError> {
    let notes = ctx.store.notes(run.id, run.hop, "snapshot")?;
    let dir = ctx.snapshots(run).await?;
    for (volume, identity) in &notes {
        swap_in(ctx, volume, &dir.join(volume), identity).await?;
    }
    Ok(format!("restored {} volumes", notes.len()))
}

/// Puts `copy` in the place of a volume's data, unless it is there already: exchanging twice would
/// undo itself, so the folder's identity decides.
pub async fn swap_in<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    volume: &str,
    copy: &std::path::Path,
    identity: &str,
) -> Result<(), StepError> {
    let Some(data) = ctx
        .engine(|e| async move { e.volume_path(volume).await })
        .await?
    else {
        return Err(internal(format!("volume {volume} is gone")).into());
    };
    if ctx.host.identity(&data).await?.to_string() == identity {
        return Ok(());
    }
    if ctx.host.identity(copy).await?.to_string() != identity {
        return Err(internal(format!(
            "the snapshot of {volume} is not the one that was taken"
        ))
        .into());
    }
    ctx.host.exchange(&data, copy).await?;
    Ok(ctx.host.syncfs(&data).await?)
}
