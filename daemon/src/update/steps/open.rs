//! Open: front services join the bridge that publishes their ports; restart policies are set.

use berth_format::{Name, Release};

use super::stop::has_doors;
use crate::engine::Engine;
use crate::host::Host;
use crate::update::context::{Context, Scene, StepError};
use crate::update::resolve::DOORS;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let doors = scene.hop.networks.get(DOORS).map(|n| n.name.as_str());
    let containers = scene.new_containers();
    let opened = open(ctx, &scene.new, &containers, doors).await?;
    arm(ctx, &scene.new, &containers).await?;
    Ok(format!("{opened} doors are open"))
}

/// Connects every front service to the doors.
pub async fn open<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    release: &Release,
    containers: &std::collections::BTreeMap<Name, String>,
    doors: Option<&str>,
) -> Result<usize, StepError> {
    let Some(doors) = doors else { return Ok(0) };
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
    containers: &std::collections::BTreeMap<Name, String>,
) -> Result<(), StepError> {
    for (name, container) in containers {
        let Some(service) = release.services.get(name) else {
            continue;
        };
        let policy = service.restart;
        ctx.engine(|e| async move { e.set_restart(container, policy).await })
            .await?;
    }
    Ok(())
}
