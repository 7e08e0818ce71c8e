//! Revive: the old stack runs again, in order, doors open.
//!
//! Nothing of the new generation runs, and the data is the old version's. So what does not
//! become healthy here is no reason to stop: the supervisor goes on with it.

use std::collections::BTreeMap;

use berth_format::Release;

use super::open::{arm, open};
use super::prepare::container;
use crate::engine::spec::NetworkSpec;
use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::store::Installed;
use crate::update::context::{Context, Scene, StepError, installed_spec};
use crate::update::gate::bring_up_what_can;
use crate::update::resolve::{self, DOORS};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let Some((release, installed)) = &scene.old else {
        return Ok("nothing ran before".into());
    };
    ctx.release_ballast(release.product.as_str()).await?;
    networks(ctx, release, installed).await?;
    let containers: BTreeMap<_, _> = installed
        .services
        .iter()
        .map(|(n, p)| (n.clone(), p.container.clone()))
        .collect();
    for (name, real) in &containers {
        let (spec, laid) = installed_spec(release, installed, &ctx.place, name)?;
        if ctx
            .engine(|e| async move { e.inspect(real).await })
            .await?
            .is_none()
        {
            container(ctx, &spec, &laid).await?;
            continue;
        }
        // A create that was cut off left it without some of its networks.
        let spec = &spec;
        match ctx.engine(|e| async move { e.create(spec).await }).await {
            // An older Berth described it in other words: it is the one that was committed.
            Err(EngineError::Conflict(_)) => {}
            result => result?,
        }
    }
    let wrong = bring_up_what_can(ctx, release, &containers).await?;
    let summary = match wrong.as_slice() {
        [] => format!("{} runs again", release.version),
        wrong => format!("{} runs again, but: {}", release.version, wrong.join("; ")),
    };
    // What waits for an unhealthy service was not started: the supervisor starts it later.
    let doors = installed.networks.get(DOORS).map(|n| n.name.as_str());
    match open(ctx, release, &containers, doors).await {
        Err(StepError::Engine(EngineError::PortInUse(port))) => {
            log::warn!("a door stays closed, its port is in use: {port}");
        }
        result => drop(result?),
    }
    arm(ctx, release, &containers).await?;
    Ok(summary)
}

/// The networks of the committed stack are there.
pub async fn networks<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    installed: &Installed,
) -> Result<(), StepError> {
    for (label, spec) in resolve::networks(release, &installed.values)? {
        let Some(placed) = installed.networks.get(&label) else {
            continue;
        };
        let spec = &NetworkSpec {
            name: placed.name.clone(),
            ..spec
        };
        match ctx
            .engine(|e| async move { e.create_network(spec).await })
            .await
        {
            // An older Berth described it in other words: it is the one that was committed.
            Err(EngineError::Conflict(_)) => {}
            result => result?,
        }
    }
    Ok(())
}
