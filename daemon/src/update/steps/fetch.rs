//! Fetch: every image of every hop that is left is in Docker, durably, before anything stops.

use berth_format::{Code, Refusal};

use crate::engine::Engine;
use crate::host::Host;
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError};
use crate::update::drained;
use crate::update::resolve::Place;

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    // The preflight asked the first one.
    if let Some((release, installed)) = scene.old.as_ref().filter(|_| run.hop > 0) {
        drained::wait(ctx, release, installed).await?;
    }
    let mut missing = Vec::new();
    for hop in run.plan.hops.iter().skip(run.hop) {
        if !is_fetched(ctx, &hop.to).await? {
            missing.push(hop.to.clone());
        }
    }
    if missing.is_empty() {
        return Ok("every image is here".into());
    }
    let names = missing
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    let Some(bring) = &ctx.bring else {
        return Err(Refusal::new(
            Code::FetchFailed,
            format!("the images of {names} are not here"),
        )
        .next("Give the bundle that holds them.")
        .into());
    };
    bring(missing.clone()).await?;
    for version in &missing {
        ctx.store.set_fetched(version, true)?;
    }
    Ok(format!("fetched {names}"))
}

/// Whether every image of a release is in Docker: journaled as such, and still there.
pub async fn is_fetched<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    version: &semver::Version,
) -> Result<bool, StepError> {
    let Some(stored) = ctx.store.release(version)? else {
        return Ok(false);
    };
    if !stored.fetched {
        return Ok(false);
    }
    let store = ctx
        .engine(|e| async move { e.info().await })
        .await?
        .image_store;
    for id in image_ids(&stored.release, &ctx.place, store) {
        if !ctx
            .engine(|e| async move { e.image_exists(id).await })
            .await?
        {
            ctx.store.set_fetched(version, false)?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn image_ids(
    release: &berth_format::Release,
    place: &Place,
    store: crate::engine::ImageStore,
) -> Vec<berth_format::Digest> {
    let here = release
        .images
        .values()
        .filter_map(|i| i.platforms.get(&place.platform));
    here.map(|i| match store {
        crate::engine::ImageStore::GraphDriver => i.config.digest,
        crate::engine::ImageStore::Containerd => i.manifest,
    })
    .collect()
}
