//! Prepare: networks, volumes, files and containers of the new generation; nothing is started.

use berth_format::Release;

use crate::engine::spec::{ContainerSpec, MountSpec, NetworkSpec};
use crate::engine::{ContainerState, Engine, EngineError, Health};
use crate::host::{Host, LaidTree};
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError, snapshots_root};
use crate::update::gate::is_one_off;
use crate::update::plan::Action;
use crate::update::resolve;

/// Note: a service that is not touched, and was not well when the update began.
pub const ILL: &str = "ill";

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let root = ctx.docker_root().await?;
    let snapshots = snapshots_root(&root, scene.new.product.as_str());
    ctx.host.make_dir(&snapshots).await?;
    ctx.hold_ballast(scene.new.product.as_str()).await?;

    super::discard::sweep(ctx, scene).await?;
    note_the_ill(ctx, run, scene).await?;
    networks(ctx, scene, &scene.new).await?;
    for spec in resolve::volumes(&scene.new, &scene.values) {
        let spec = spec?;
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

/// Notes what is not touched and was not well before: no update is judged by it.
async fn note_the_ill<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<(), StepError> {
    for (name, change) in &scene.hop.services {
        let (Action::Keep, Some(container)) = (change.action, change.new.as_deref()) else {
            continue;
        };
        let seen = ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        let one_off = scene.new.services.get(name).is_some_and(is_one_off);
        let well = seen.is_some_and(|c| match c.state {
            ContainerState::Running => c.health != Health::Unhealthy,
            ContainerState::Exited { code: 0 } => one_off,
            _ => false,
        });
        if !well {
            ctx.store.note(run, ILL, name.as_str(), "")?;
        }
    }
    Ok(())
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
    for mount in &spec.mounts {
        // Docker would make an empty one, and the product would run on it as if nothing were gone.
        if let MountSpec::Volume { name, .. } = mount {
            let there = ctx
                .engine(|e| async move { e.volume_path(name).await })
                .await?;
            if there.is_none() {
                return Err(EngineError::Missing(format!("volume {name}")).into());
            }
        }
    }
    match ctx.engine(|e| async move { e.create(spec).await }).await {
        Err(EngineError::Conflict(_)) => {
            let name = spec.name.as_str();
            // One that is not of Berth's making is an error here: it stays.
            ctx.engine(|e| async move { e.inspect(name).await }).await?;
            ctx.engine(|e| async move { e.remove(name).await }).await?;
            ctx.engine(|e| async move { e.create(spec).await }).await?;
        }
        result => result?,
    }
    Ok(())
}
