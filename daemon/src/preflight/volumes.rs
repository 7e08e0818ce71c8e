//! Volumes: whether an update of them can be undone.

use std::collections::BTreeSet;

use berth_format::{Code, Refusal, Release};

use super::bad;
use crate::api::Check;
use crate::engine::{Engine, EngineInfo};
use crate::host::Host;
use crate::update::Plan;
use crate::update::context::Context;
use crate::update::resolve::volume_name;

/// A volume whose copy could not take its place again is found out before it is needed.
pub(super) async fn volumes<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    plan: &Plan,
    info: &EngineInfo,
) -> Vec<Check> {
    let volumes: BTreeSet<&String> = plan.hops.iter().flat_map(|h| &h.snapshot).collect();
    let mut elsewhere = Vec::new();
    for volume in volumes {
        if let Ok(Some(path)) = ctx.engine.volume_path(volume).await
            && let Ok(false) = ctx.host.same_mount(&path, &info.root).await
        {
            let summary = format!("volume {volume} lies on a mount of its own");
            let refusal = Refusal::new(Code::VolumeElsewhere, summary).because(
                format!("the mount of {}", info.root.display()),
                path.display().to_string(),
            );
            elsewhere.push(bad("volumes", refusal));
        }
    }
    elsewhere
}

/// Volumes that nothing covers, for a plan's warnings.
pub fn uncovered_host_paths(release: &Release) -> Vec<String> {
    let mounts = release.services.values().flat_map(|s| &s.mounts);
    let mut all: Vec<String> = mounts
        .filter_map(|mount| match mount {
            berth_format::service::Mount::Host {
                path, data: true, ..
            } => Some(path.source().to_owned()),
            _ => None,
        })
        .collect();
    let options = release
        .volumes
        .iter()
        .filter(|(_, v)| !v.driver_opts.is_empty());
    all.extend(options.map(|(name, _)| volume_name(&release.product, name)));
    all.sort();
    all.dedup();
    all
}
