//! Prepare: networks, volumes, files and containers of the new generation; nothing is started.

use berth_format::Release;

use crate::engine::spec::{ContainerSpec, NetworkSpec};
use crate::engine::{self, Engine};
use crate::host::{Host, LaidTree};
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError, snapshots_root};
use crate::update::resolve;

/// Freed first when something has to be undone on a full disk.
const BALLAST: u64 = 16 << 20;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let root = ctx.docker_root().await?;
    let snapshots = snapshots_root(&root, scene.new.product.as_str());
    ctx.host.make_dir(&snapshots).await?;
    ctx.host
        .ballast(&snapshots.join("ballast"), BALLAST)
        .await?;

    super::discard::sweep(ctx, scene).await?;
    networks(ctx, scene, &scene.new).await?;
    for (_, spec) in resolve::volumes(&scene.new, &scene.values)? {
        let name = spec.name.as_str();
        if ctx
            .engine(|e| async move { e.volume_path(name).await })
            .await?
            .is_none()
        {
            // Noted before it is made: an undo removes exactly the volumes that this run made.
            ctx.store.note(run, "volume", name, "")?;
        }
        let spec = &spec;
        ctx.engine(|e| async move { e.create_volume(spec).await })
            .await?;
    }
    let mut made = 0;
    for (name, _) in scene.hop.creates() {
        let (spec, laid) = scene.new_spec(name)?;
        container(ctx, &spec, &laid).await?;
        made += 1;
    }
    for migration in &scene.hop.migrations {
        let (spec, laid) = scene.migration_spec(&migration.name)?;
        container(ctx, &spec, &laid).await?;
        made += 1;
    }
    Ok(format!("created {made} containers"))
}

async fn networks<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
    release: &Release,
) -> Result<(), StepError> {
    for (label, spec) in resolve::networks(release, &scene.values)? {
        let Some(planned) = scene.hop.networks.get(&label) else {
            continue;
        };
        let generation = if planned.new { scene.hop.generation } else { 0 };
        let spec = &NetworkSpec {
            name: planned.name.clone(),
            generation,
            ..spec
        };
        ctx.engine(|e| async move { e.create_network(spec).await })
            .await?;
    }
    Ok(())
}

/// Lays down the files of a container and creates it. One of the same name that was made from
/// something else is not of this generation's making: it is replaced.
pub async fn container<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    spec: &ContainerSpec,
    laid: &[LaidTree],
) -> Result<(), StepError> {
    for tree in laid {
        ctx.host.lay(tree, &ctx.store.files_dir()).await?;
    }
    match ctx.engine(|e| async move { e.create(spec).await }).await {
        Err(engine::EngineError::Conflict(_)) => {
            let name = spec.name.as_str();
            ctx.engine(|e| async move { e.remove(name).await }).await?;
            ctx.engine(|e| async move { e.create(spec).await }).await?;
        }
        result => result?,
    }
    Ok(())
}
