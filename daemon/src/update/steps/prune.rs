//! Prune: what is past its keep goes. Volumes never do.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::host::Host;
use crate::store::Run;
use crate::update::context::{Context, Scene, StepError, snapshot_dir};
use crate::update::resolve::{DOORS, EGRESS, volume_name};

pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<String, StepError> {
    let product = &scene.new.product;
    let keep: BTreeSet<String> = scene.new_containers().into_values().collect();
    let mut removed = 0;
    for container in ctx
        .engine(|e| async move { e.containers(product).await })
        .await?
    {
        if !keep.contains(&container.name) {
            let name = container.name.as_str();
            ctx.engine(|e| async move { e.remove(name).await }).await?;
            removed += 1;
        }
    }
    let mut networks: BTreeSet<String> = scene
        .hop
        .networks
        .values()
        .map(|n| n.name.clone())
        .collect();
    networks.extend([EGRESS, DOORS].map(|label| format!("{product}-{}", &label[1..])));
    for network in ctx
        .engine(|e| async move { e.networks(product).await })
        .await?
    {
        if !networks.contains(&network) {
            let network = network.as_str();
            ctx.engine(|e| async move { e.remove_network(network).await })
                .await?;
        }
    }
    if let Some((source, hop)) = scene.hop.restore {
        left_behind(ctx, scene, (source, hop)).await?;
    }
    snapshots(ctx, run, scene).await?;
    images(ctx, run, scene).await?;
    Ok(format!("removed {removed} containers"))
}

/// Removes volumes that came with the version that was left: a later update would start on them
/// beside older data.
async fn left_behind<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    scene: &Scene,
    (run, hop): (i64, usize),
) -> Result<(), StepError> {
    let mine: BTreeSet<String> = scene
        .new
        .volumes
        .keys()
        .map(|name| volume_name(&scene.new.product, name))
        .collect();
    let made = ctx.store.notes(run, hop, "volume")?;
    for volume in made.keys().filter(|volume| !mine.contains(*volume)) {
        ctx.engine(|e| async move { e.remove_volume(volume).await })
            .await?;
    }
    Ok(ctx.store.forget_notes(run, hop, "volume")?)
}

/// One snapshot is kept: that of the way back.
async fn snapshots<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<(), StepError> {
    let product = scene.new.product.as_str();
    let root = ctx.docker_root().await?;
    let kept = ctx
        .store
        .installed()?
        .and_then(|i| i.previous?.snapshot)
        .map(|(run, hop)| snapshot_dir(&root, product, run, hop));
    for earlier in ctx.store.history(u32::MAX)? {
        for hop in 0..earlier.plan.hops.len() {
            let dir = snapshot_dir(&root, product, earlier.id, hop);
            let past = (earlier.id, hop) <= (run.id, run.hop);
            if !past || Some(&dir) == kept.as_ref() {
                continue;
            }
            // A removal that was cut off left it under its other name.
            let mut trash = dir.clone().into_os_string();
            trash.push(".trash");
            if ctx.host.exists(&dir).await? || ctx.host.exists(trash.as_ref()).await? {
                ctx.host.remove_tree(&dir).await?;
            }
        }
    }
    ctx.release_ballast(product).await
}

/// Images of releases older than the way back go.
async fn images<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    scene: &Scene,
) -> Result<(), StepError> {
    let Some(installed) = ctx.store.installed()? else {
        return Ok(());
    };
    let oldest = installed.previous.map_or(installed.version.clone(), |p| {
        p.version.min(installed.version)
    });
    let later: BTreeSet<_> = run.plan.hops.iter().skip(run.hop).map(|h| &h.to).collect();
    let product = &scene.new.product;
    for stored in ctx.store.releases()? {
        let release = &stored.release;
        if !stored.fetched || release.version >= oldest || later.contains(&release.version) {
            continue;
        }
        // The mark goes first: images that are half gone must not count as fetched.
        ctx.store.set_fetched(&release.version, false)?;
        for tag in ctx
            .engine(|e| async move { e.image_tags(product).await })
            .await?
        {
            if release.images.values().any(|image| image.tag == tag) {
                let tag = tag.as_str();
                ctx.engine(|e| async move { e.remove_image(tag).await })
                    .await?;
            }
        }
    }
    Ok(())
}
