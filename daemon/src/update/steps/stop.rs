//! Stop: what changes goes down in reverse order, each with its own grace.
//!
//! Before the first stop every container that stops gets the restart policy `no`, durably: after
//! a killed dockerd, `always` and `on-failure` would start a container that was stopped on
//! purpose, on data that is half migrated.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::service::Restart;
use berth_format::{Name, Release};
use futures_util::future::try_join_all;

use crate::engine::Engine;
use crate::host::Host;
use crate::store::Installed;
use crate::update::context::{Context, Scene, StepError};
use crate::update::policy::stop_order;
use crate::update::resolve::DOORS;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let Some((old, installed)) = &scene.old else {
        return Ok("nothing runs yet".into());
    };
    let stops: BTreeMap<&Name, &str> = scene.hop.stops().collect();
    let going: Vec<String> = stops.values().map(|c| (*c).to_owned()).collect();
    disarm(ctx, &going).await?;

    for wave in stop_order(old) {
        let stopping = wave
            .iter()
            .filter_map(|name| Some((name, *stops.get(name)?)))
            .map(|(name, container)| one(ctx, scene, (old, installed), name, container));
        try_join_all(stopping).await?;
    }
    Ok(format!("stopped {}", stops.len()))
}

async fn one<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
    (old, installed): (&Release, &Installed),
    name: &Name,
    container: &str,
) -> Result<(), StepError> {
    let grace = grace(old, name);
    ctx.engine(|e| async move { e.stop(container, grace).await })
        .await?;
    // What keeps its doors publishes as soon as it is started again.
    if !scene.hop.data_may_change || !has_doors(old, name) {
        return Ok(());
    }
    // Also of what is replaced: a migration may start it once more (`db@old`).
    if let Some(doors) = installed.networks.get(DOORS) {
        let doors = doors.name.as_str();
        ctx.engine(|e| async move { e.disconnect(doors, container).await })
            .await?;
    }
    ctx.away
        .answer_for(&ctx.host, old, &installed.values, name)
        .await;
    Ok(())
}

/// Takes the restart policy from containers, and makes that durable.
pub async fn disarm<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    containers: &[String],
) -> Result<(), StepError> {
    for container in containers {
        let container = container.as_str();
        let result = ctx
            .engine(|e| async move { e.set_restart(container, Restart::No).await })
            .await;
        match result {
            // One that somebody removed is made again by an undo.
            Err(crate::engine::EngineError::Missing(_)) => {}
            result => result?,
        }
    }
    ctx.sync_docker().await
}

pub fn grace(release: &Release, name: &Name) -> Duration {
    let grace = release
        .services
        .get(name)
        .and_then(|s| s.container.stop_grace_ms);
    Duration::from_millis(grace.unwrap_or(10_000))
}

/// Whether a service publishes ports through Berth's doors.
pub fn has_doors(release: &Release, name: &Name) -> bool {
    release.services.get(name).is_some_and(|s| {
        !s.ports.is_empty() && matches!(s.network, berth_format::service::NetworkMode::Networks(_))
    })
}
