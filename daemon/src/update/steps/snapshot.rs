//! Snapshot: a copy of each volume, on the same mount, for this update's own rollback.

use crate::engine::Engine;
use crate::host::{Host, HostError};
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    if scene.hop.snapshot.is_empty() {
        return Ok("no volume to copy".into());
    }
    let dir = ctx.snapshots(run).await?;
    ctx.host.make_dir(&dir).await?;
    let made = ctx.store.notes(run.id, run.hop, "volume")?;
    let mut bytes = 0;
    // What this hop made holds nothing yet, and goes with an undo.
    for volume in scene.hop.snapshot.iter().filter(|v| !made.contains_key(*v)) {
        let volume = volume.as_str();
        let Some(data) = ctx
            .engine(|e| async move { e.volume_path(volume).await })
            .await?
        else {
            continue;
        };
        let copy = dir.join(volume);
        let stats = match ctx.host.copy_tree(&data, &copy).await {
            // Of a try that was cut off before it was journaled: the product may have run since.
            Err(HostError::AlreadyThere { .. }) => {
                ctx.host.remove_tree(&copy).await?;
                ctx.host.copy_tree(&data, &copy).await?
            }
            result => result?,
        };
        bytes += stats.copied + stats.cloned;
        // Which folder is the copy: after an exchange that was cut off, this tells them apart.
        let identity = ctx.host.identity(&copy).await?;
        ctx.store
            .note(run, "snapshot", volume, &identity.to_string())?;
    }
    ctx.host.syncfs(&dir).await?;
    Ok(format!(
        "copied {bytes} bytes of {} volumes",
        scene.hop.snapshot.len()
    ))
}
