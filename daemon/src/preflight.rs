//! Every check of the machine before anything is touched; all failures are reported at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use berth_format::release::Requires;
use berth_format::service::Protocol;
use berth_format::{Code, Refusal, Release};

use crate::api::Check;
use crate::engine::spec::PortSpec;
use crate::engine::{Engine, EngineInfo};
use crate::host::Host;
use crate::update::context::{Context, Scene, installed_spec};
use crate::update::plan::PlanKind;
use crate::update::resolve::volume_name;
use crate::update::{Plan, drained};

/// Free space that is always left, bytes.
const MARGIN: u64 = 256 << 20;

/// Runs every check of a plan. `releases` are those of its hops, in order.
pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    plan: &Plan,
    releases: &[Release],
    scene: Option<&Scene>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let info = match ctx.engine.info().await {
        Ok(info) => info,
        Err(error) => {
            let refusal =
                Refusal::new(Code::EngineGone, "Docker does not answer").found(error.to_string());
            return vec![bad("engine", refusal)];
        }
    };
    for release in releases {
        for check in requires(&release.requires, &info, ctx).await {
            // Several hops mostly ask for the same.
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
    }
    checks.extend(disk(ctx, plan, releases, &info).await);
    checks.extend(volumes(ctx, plan, &info).await);
    if let Some(scene) = scene {
        checks.extend(ports(ctx, scene).await);
    }
    if let Some((release, installed)) = scene.and_then(|s| s.old.as_ref())
        && release.upgrade.drained.is_some()
        && plan.kind == PlanKind::Update
    {
        checks.push(match drained::undrained(ctx, release, installed).await {
            Ok(None) => good("drained", format!("{} has no work left", release.version)),
            Ok(Some(refusal)) => bad("drained", refusal),
            Err(error) => bad("drained", error.refusal(Code::NotDrained)),
        });
    }
    checks.push(clock(ctx));
    checks
}

/// One refusal for all that failed; `None` when nothing did.
pub fn verdict(checks: &[Check]) -> Option<Refusal> {
    let failed: Vec<&Refusal> = checks.iter().filter_map(|c| c.refusal.as_ref()).collect();
    match failed.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        many => {
            let all: Vec<String> = many
                .iter()
                .map(|r| format!("{} [{}]", r.summary, r.code))
                .collect();
            Some(
                Refusal::new(Code::PreflightFailed, "the machine is not ready")
                    .found(all.join("; ")),
            )
        }
    }
}

async fn requires<E: Engine, H: Host>(
    needs: &Requires,
    info: &EngineInfo,
    ctx: &Context<E, H>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(if needs.engine.matches(&info.version) {
        good("engine", format!("Docker {} answers", info.version_text))
    } else {
        let refusal = Refusal::new(
            Code::EngineOld,
            "Docker is not of a version that the release runs on",
        );
        bad(
            "engine",
            refusal.because(needs.engine.to_string(), info.version.to_string()),
        )
    });
    checks.push(if info.cpus >= needs.cpus {
        good("cpus", format!("{} CPUs", info.cpus))
    } else {
        let refusal = Refusal::new(Code::CpuFew, "the machine has too few CPUs");
        bad(
            "cpus",
            refusal.because(format!("{} CPUs", needs.cpus), format!("{}", info.cpus)),
        )
    });
    let memory = ctx.host.memory().await.map_or(info.memory, |m| m.total);
    // A machine that is sold with 4 GiB shows a little less: the kernel keeps some.
    checks.push(if memory.saturating_add(memory / 16) >= needs.memory {
        good("memory", format!("{} of memory", bytes(memory)))
    } else {
        let refusal = Refusal::new(Code::MemoryLow, "the machine has too little memory");
        bad(
            "memory",
            refusal.because(bytes(needs.memory), bytes(memory)),
        )
    });
    checks
}

/// Unpacked layers, snapshots and what the release asks for, together.
async fn disk<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    plan: &Plan,
    releases: &[Release],
    info: &EngineInfo,
) -> Vec<Check> {
    // A graph driver unpacks the whole load into its temporary folder first; the containerd image
    // store keeps each layer twice, as blob and as snapshot.
    let images = plan.fetch_bytes.saturating_mul(2);
    let snapshots = snapshots(ctx, plan).await;
    let asked = match plan.from {
        None => releases
            .iter()
            .map(|r| r.requires.disk)
            .max()
            .unwrap_or_default(),
        Some(_) => 0,
    };
    let data = snapshots.saturating_add(asked);
    // Where the image store is containerd's, images may lie on another filesystem.
    let store = info.data_roots.last().unwrap_or(&info.root);
    let here = ctx.host.disk(&info.root).await;
    let there = ctx.host.disk(store).await;
    let apart = match (&here, &there) {
        (Ok(here), Ok(there)) => here.filesystem != there.filesystem,
        _ => false,
    };
    let parts = |images: u64| {
        format!(
            "images {}, snapshots {}, the product {}, reserve {}",
            bytes(images),
            bytes(snapshots),
            bytes(asked),
            bytes(MARGIN)
        )
    };
    if apart {
        vec![
            room(here, &info.root, data.saturating_add(MARGIN), &parts(0)),
            room(there, store, images.saturating_add(MARGIN), "images"),
        ]
    } else {
        let wanted = images.saturating_add(data).saturating_add(MARGIN);
        vec![room(here, &info.root, wanted, &parts(images))]
    }
}

/// A volume whose copy could not take its place again is found out before it is needed.
async fn volumes<E: Engine, H: Host>(
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

fn room(
    disk: Result<crate::host::Disk, crate::host::HostError>,
    path: &Path,
    wanted: u64,
    parts: &str,
) -> Check {
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

type Door = (Option<IpAddr>, u16, Protocol);

async fn ports<E: Engine, H: Host>(ctx: &Context<E, H>, scene: &Scene) -> Vec<Check> {
    let door = |p: &PortSpec| p.published.map(|port| (p.host_ip, port, p.protocol));
    let mut held: BTreeSet<Door> = BTreeSet::new();
    if let Some((release, installed)) = &scene.old {
        for name in installed.services.keys() {
            if let Ok((spec, _)) = installed_spec(release, installed, &scene.place, name) {
                held.extend(spec.ports.iter().filter_map(door));
            }
        }
    }
    let mut checks = Vec::new();
    for name in scene.new.services.keys() {
        let Ok((spec, _)) = scene.new_spec(name) else {
            continue;
        };
        for (ip, port, protocol) in spec.ports.iter().filter_map(door) {
            // Held by the version that goes.
            if held
                .iter()
                .any(|(h, p, proto)| (p, proto) == (&port, &protocol) && (h.is_none() || *h == ip))
            {
                continue;
            }
            let what = format!("port {port}/{}", protocol.as_str());
            checks.push(match ctx.host.port_holder(ip, port, protocol).await {
                Ok(None) => good("ports", format!("{what} is free")),
                Ok(Some(holder)) => {
                    let by = match (&holder.program, holder.pid) {
                        (Some(program), Some(pid)) => format!("{program} (process {pid})"),
                        _ => "another program".to_owned(),
                    };
                    let refusal = Refusal::new(Code::PortInUse, format!("{what} is in use"))
                        .because(
                            format!("{what} free for {name}"),
                            format!("{} is held by {by}", holder.address),
                        );
                    bad("ports", refusal)
                }
                Err(error) => bad("ports", crate::api::internal(error)),
            });
        }
    }
    checks
}

/// A clock before what was already journaled is wrong.
fn clock<E: Engine, H: Host>(ctx: &Context<E, H>) -> Check {
    let now = ctx.host.now();
    match ctx.store.installed() {
        Ok(Some(installed)) if installed.committed > now => {
            let refusal = Refusal::new(Code::ClockWrong, "this machine's clock is behind")
                .because(format!("after {}", installed.committed), now.to_string());
            bad("clock", refusal)
        }
        _ => good("clock", format!("{now}")),
    }
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

fn good(name: &str, summary: String) -> Check {
    Check {
        name: name.to_owned(),
        summary,
        refusal: None,
    }
}

fn bad(name: &str, refusal: Refusal) -> Check {
    Check {
        name: name.to_owned(),
        summary: refusal.summary.clone(),
        refusal: Some(refusal),
    }
}

/// `1.5 GiB`.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" {
                format!("{n} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
