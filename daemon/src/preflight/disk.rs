//! Room on every filesystem that an update writes to.

use std::collections::BTreeSet;
use std::path::Path;

use berth_format::{Code, Refusal};

use super::{Docker, bad, bytes, good};
use crate::api::Check;
use crate::engine::Engine;
use crate::host::{Disk, Host, HostError};
use crate::update::Plan;
use crate::update::context::Context;
use crate::update::planner::Planned;

/// Free space that is always left, bytes.
const MARGIN: u64 = 256 << 20;

/// Unpacked layers, snapshots and what the release asks for, together. Where Docker is gone, where
/// its data was is where it will be; what its volumes take is not known then.
pub(super) async fn disk<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    planned: &Planned,
    docker: &Docker,
) -> Vec<Check> {
    let plan = &planned.plan;
    let Some(info) = docker.known() else {
        return Vec::new();
    };
    let snapshots = match docker {
        Docker::Here(_) => snapshots(ctx, plan).await,
        Docker::Gone { .. } => 0,
    };
    // A graph driver unpacks the whole load into its temporary folder first; the containerd image
    // store keeps each layer twice, as blob and as snapshot.
    let images = plan.fetch_bytes.saturating_mul(2);
    let asked = match plan.from {
        None => planned
            .releases
            .iter()
            .map(|r| r.requires.disk)
            .max()
            .unwrap_or_default(),
        Some(_) => 0,
    };
    // Where the image store is containerd's, images may lie on another filesystem.
    let store = info.data_roots.last().unwrap_or(&info.root);
    let here = ctx.host.disk(&info.root).await;
    let there = ctx.host.disk(store).await;
    let apart = match (&here, &there) {
        (Ok(here), Ok(there)) => here.filesystem != there.filesystem,
        _ => false,
    };
    let (downloads, folder) = (downloads(ctx, plan).await, ctx.store.downloads_dir());
    let own = ctx.host.disk(&folder).await;
    let is_own = |disk: &Result<Disk, HostError>| match (disk, &own) {
        (Ok(disk), Ok(own)) => disk.filesystem == own.filesystem,
        _ => true,
    };
    // Each need, and the filesystem that it is met on.
    let mut on_here = vec![("snapshots", snapshots), ("the product", asked)];
    let mut on_there = Vec::new();
    let mut on_own = Vec::new();
    if apart {
        on_there.push(("images", images));
    } else {
        on_here.insert(0, ("images", images));
    }
    if is_own(&here) {
        on_here.push(("downloads", downloads));
    } else if apart && is_own(&there) {
        on_there.push(("downloads", downloads));
    } else {
        on_own.push(("downloads", downloads));
    }
    let mut rooms = vec![room(here, &info.root, &on_here)];
    if !on_there.is_empty() {
        rooms.push(room(there, store, &on_there));
    }
    if on_own.iter().any(|(_, bytes)| *bytes > 0) {
        rooms.push(room(own, &folder, &on_own));
    }
    rooms
}

/// Bytes that are still to come over the line. They are removed once Docker has them.
async fn downloads<E: Engine, H: Host>(ctx: &Context<E, H>, plan: &Plan) -> u64 {
    if plan.download_bytes == 0 {
        return 0;
    }
    let here = ctx.host.tree_size(&ctx.store.downloads_dir()).await;
    plan.download_bytes.saturating_sub(here.unwrap_or_default())
}

/// Bytes that copies of volumes take, in the worst case.
async fn snapshots<E: Engine, H: Host>(ctx: &Context<E, H>, plan: &Plan) -> u64 {
    let volumes: BTreeSet<&String> = plan.hops.iter().flat_map(|h| &h.snapshot).collect();
    let mut sum = 0_u64;
    for volume in volumes {
        let Ok(Some(path)) = ctx.engine.volume_path(volume).await else {
            continue;
        };
        let size = ctx.host.tree_size(&path).await.unwrap_or_default();
        let hops = plan.hops.iter().filter(|h| h.snapshot.contains(volume));
        // A rollback by hand copies the present, and then the past to put in its place.
        let copies = hops.map(|h| if h.restore.is_some() { 2 } else { 1 }).sum();
        sum = sum.saturating_add(size.saturating_mul(copies));
    }
    sum
}

fn room(disk: Result<Disk, HostError>, path: &Path, needs: &[(&str, u64)]) -> Check {
    let sum = needs
        .iter()
        .map(|(_, n)| *n)
        .fold(MARGIN, u64::saturating_add);
    let parts: Vec<String> = needs
        .iter()
        .filter(|(_, n)| *n > 0)
        .chain(&[("reserve", MARGIN)])
        .map(|(what, n)| format!("{what} {}", bytes(*n)))
        .collect();
    let (wanted, parts) = (sum, parts.join(", "));
    match disk {
        Ok(disk) if disk.free >= wanted => good(
            "disk",
            format!("{} free, {} needed", bytes(disk.free), bytes(wanted)),
        ),
        Ok(disk) => {
            let refusal = Refusal::new(Code::DiskSpace, "there is not enough disk space").because(
                format!("{} in {} ({parts})", bytes(wanted), path.display()),
                format!("{} free", bytes(disk.free)),
            );
            bad("disk", refusal)
        }
        Err(error) => bad("disk", crate::api::internal(error)),
    }
}
