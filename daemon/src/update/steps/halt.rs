//! Halt: everything that this hop may have started is stopped, before its data is taken away.

use futures_util::future::try_join_all;

use super::stop::{disarm, grace};
use crate::engine::{ContainerState, Engine};
use crate::host::Host;
use crate::update::context::{Context, Scene, StepError};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
) -> Result<String, StepError> {
    let product = &scene.new.product;
    ctx.release_ballast(product.as_str()).await?;
    let all = ctx
        .engine(|e| async move { e.containers(product).await })
        .await?;
    let mine: Vec<_> = all.iter().filter(|c| !scene.keeps(&c.name)).collect();
    let names: Vec<String> = mine.iter().map(|c| c.name.clone()).collect();
    disarm(ctx, &names).await?;
    let stop = |container: &&crate::engine::Container| {
        let (name, grace) = (
            container.name.clone(),
            grace(&scene.new, &container.service),
        );
        let runs = !matches!(
            container.state,
            ContainerState::Created | ContainerState::Exited { .. } | ContainerState::Dead
        );
        async move {
            if runs {
                let name = name.as_str();
                ctx.engine(|e| async move { e.stop(name, grace).await })
                    .await?;
            }
            Ok::<_, StepError>(())
        }
    };
    try_join_all(mine.iter().map(stop)).await?;
    // After a crash nobody does yet.
    if let Some((old, installed)) = scene.old.as_ref().filter(|_| scene.hop.data_may_change) {
        for (name, placed) in &installed.services {
            if !scene.keeps(&placed.container) {
                let (host, values) = (&ctx.host, &installed.values);
                ctx.away.answer_for(host, old, values, name).await;
            }
        }
    }
    Ok(format!("stopped {}", mine.len()))
}
