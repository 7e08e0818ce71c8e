//! Migrate: databases first, then each migration in order; or the return to a kept snapshot.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::release::{Migration, MigrationPhase};
use berth_format::{Code, Name, Refusal};

use super::restore::swap_in;
use super::stop::grace;
use crate::api::{Notice, internal};
use crate::engine::{ContainerState, Engine, EngineError};
use crate::host::{Host, HostError};
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError, snapshot_dir};
use crate::update::gate::{bring_up, with_dependencies};

/// Migrations beside the running old stack.
pub async fn before<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let mut done = 0;
    for (migration, container) in of_phase(scene, MigrationPhase::Before)? {
        execute(ctx, run, migration, container).await?;
        done += 1;
    }
    Ok(format!("{done} migrations beside the old stack"))
}

/// Migrations while the product is stopped.
pub async fn stopped<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    if let Some((source, hop)) = scene.hop.restore {
        return go_back(ctx, run, (source, hop)).await;
    }
    let mut done = 0;
    for (migration, container) in of_phase(scene, MigrationPhase::Stopped)? {
        let new = migration
            .needs
            .iter()
            .filter(|n| !n.old)
            .map(|n| n.service.clone());
        let needed = with_dependencies(&scene.new, new, &scene.new_containers());
        bring_up(ctx, &scene.new, &needed).await?;
        let old: Vec<Name> = migration
            .needs
            .iter()
            .filter(|n| n.old)
            .map(|n| n.service.clone())
            .collect();
        let mut borrowed = Vec::new();
        if let Some((release, _)) = scene.old.as_ref().filter(|_| !old.is_empty()) {
            let needed = with_dependencies(release, old, &scene.old_containers());
            make_room(ctx, scene, &needed).await?;
            bring_up(ctx, release, &needed).await?;
            // Whatever is in both stacks goes on running for the new one.
            let kept = scene.new_containers();
            borrowed.extend(
                needed
                    .into_iter()
                    .filter(|(_, container)| !kept.values().any(|k| k == container))
                    .map(|(name, container)| (grace(release, &name), container)),
            );
        }
        let result = execute(ctx, run, migration, container).await;
        for (grace, container) in &borrowed {
            ctx.engine(|e| async move { e.stop(container, *grace).await })
                .await?;
        }
        result?;
        done += 1;
    }
    Ok(format!("{done} migrations"))
}

/// Stops new containers of services that run once more as the old ones: both on one volume would
/// be the end of it.
async fn make_room<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
    old: &BTreeMap<Name, String>,
) -> Result<(), StepError> {
    for (name, container) in scene.new_containers() {
        if old.get(&name).is_some_and(|old| *old != container) {
            let (container, grace) = (container.as_str(), grace(&scene.new, &name));
            ctx.engine(|e| async move { e.stop(container, grace).await })
                .await?;
        }
    }
    Ok(())
}

fn of_phase(scene: &Scene, phase: MigrationPhase) -> Result<Vec<(&Migration, &str)>, StepError> {
    scene
        .hop
        .migrations
        .iter()
        .filter(|planned| planned.phase == phase)
        .map(|planned| {
            let found = scene.new.migrations.iter().find(|m| m.name == planned.name);
            let found = found.ok_or_else(|| internal(format!("migration {}", planned.name)))?;
            Ok((found, planned.container.as_str()))
        })
        .collect()
}

/// Starts it unless it was started before: a Docker that went away while it answered may have
/// done so, and a migration is not run twice.
async fn start_once<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    container: &str,
) -> Result<(), StepError> {
    let start = async |e: E| match e.inspect(container).await? {
        Some(seen) if seen.state != ContainerState::Created => Ok(()),
        _ => e.start(container).await,
    };
    Ok(ctx.engine(start).await?)
}

async fn execute<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    migration: &Migration,
    container: &str,
) -> Result<(), StepError> {
    start_once(ctx, container).await?;
    let limit = Duration::from_millis(migration.timeout_ms);
    let ended = tokio::select! {
        biased;
        // A Docker that restarts ends the migration: then its exit code says so.
        code = ctx.engine(|e| async move { e.wait(container).await }) => Some(code?),
        () = ctx.host.sleep(limit) => None,
    };
    let log = ctx
        .engine(|e| async move { e.tail(container, 40).await })
        .await
        .unwrap_or_default();
    for line in &log {
        let (source, line) = (migration.name.to_string(), line.clone());
        ctx.tell(Notice::Log {
            run: run.id,
            source,
            line,
        });
    }
    let why = match ended {
        Some(0) => return Ok(()),
        Some(code) => format!("it ended with {code}"),
        None => {
            ctx.engine(|e| async move { e.stop(container, Duration::from_secs(10)).await })
                .await?;
            format!("it did not end within {} s", limit.as_secs())
        }
    };
    let summary = format!("migration {} failed: {why}", migration.name);
    Err(Refusal::new(Code::MigrationFailed, summary).log(log).into())
}

/// Back to a kept snapshot: a copy of it goes live, so that the snapshot itself stays as it is
/// until this rollback is committed.
async fn go_back<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    (source, hop): (i64, usize),
) -> Result<String, StepError> {
    let root = ctx.docker_root().await?;
    let kept = snapshot_dir(&root, run.plan.product.as_str(), source, hop);
    let dir = ctx.snapshots(run).await?.join("back");
    ctx.host.make_dir(&dir).await?;
    let volumes = ctx.store.notes(source, hop, "snapshot")?;
    for volume in volumes.keys() {
        let missing = {
            let volume = volume.as_str();
            ctx.engine(|e| async move { e.volume_path(volume).await })
                .await?
                .is_none()
        };
        if missing {
            return Err(EngineError::Missing(format!("volume {volume}")).into());
        }
        let copy = dir.join(volume);
        match ctx.host.copy_tree(&kept.join(volume), &copy).await {
            Ok(_) | Err(HostError::AlreadyThere { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let identity = ctx.host.identity(&copy).await?.to_string();
        swap_in(ctx, volume, &copy, &identity).await?;
    }
    Ok(format!("{} volumes are as they were", volumes.len()))
}
