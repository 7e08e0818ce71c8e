//! Open: front services join the bridge that publishes their ports; restart policies are set.
//!
//! It is the one step that is done again after a crash, so it also starts what went down
//! meanwhile: without a restart policy nobody else does after a power cut.

use std::collections::BTreeMap;

use berth_format::{Name, Release};

use super::stop::has_doors;
use crate::engine::{ContainerState, Engine};
use crate::host::Host;
use crate::update::context::{Context, Scene, StepError};
use crate::update::gate::{bring_up, is_one_off};
use crate::update::resolve::DOORS;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let doors = scene.hop.networks.get(DOORS).map(|n| n.name.as_str());
    let containers = scene.new_containers();
    if is_down(ctx, &scene.new, &containers).await? {
        match bring_up(ctx, &scene.new, &containers).await {
            // Past the commit there is no way back: the supervisor goes on with it.
            Err(StepError::Refused(refusal)) => log::warn!("{}", refusal.summary),
            result => result?,
        }
    }
    let opened = open(ctx, &scene.new, &containers, doors).await?;
    arm(ctx, &scene.new, &containers).await?;
    Ok(format!("{opened} doors are open"))
}

/// Connects every front service to the doors.
pub async fn open<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
    doors: Option<&str>,
) -> Result<usize, StepError> {
    let Some(doors) = doors else { return Ok(0) };
    ctx.away.leave().await;
    let fronts = containers
        .iter()
        .filter(|(name, _)| has_doors(release, name));
    let mut opened = 0;
    for (_, container) in fronts {
        ctx.engine(|e| async move { e.connect(doors, container, &[]).await })
            .await?;
        opened += 1;
    }
    Ok(opened)
}

/// Gives every container the restart policy of its release: from here on the product lives
/// without Berth.
pub async fn arm<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
) -> Result<(), StepError> {
    for (name, container) in containers {
        let Some(service) = release.services.get(name) else {
            continue;
        };
        let policy = service.restart;
        ctx.engine(|e| async move { e.set_restart(container, policy).await })
            .await?;
    }
    // A power cut must not take the policies back.
    ctx.sync_docker().await
}

/// Whether a container is there and does not run, though it should.
async fn is_down<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &BTreeMap<Name, String>,
) -> Result<bool, StepError> {
    for (name, container) in containers {
        let seen = ctx
            .engine(|e| async move { e.inspect(container).await })
            .await?;
        let fine = match seen.map(|s| s.state) {
            Some(ContainerState::Running | ContainerState::Restarting) => true,
            Some(ContainerState::Exited { code: 0 }) => {
                release.services.get(name).is_some_and(is_one_off)
            }
            _ => false,
        };
        if !fine {
            return Ok(true);
        }
    }
    Ok(false)
}
