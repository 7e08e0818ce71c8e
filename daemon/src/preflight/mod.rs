//! Every check of the machine before anything is touched; all failures are reported at once.

use berth_format::{Code, Refusal, Release};

use crate::api::Check;
use crate::engine::Engine;
use crate::host::Host;
use crate::update::context::{Context, Scene};
use crate::update::plan::PlanKind;
use crate::update::{Plan, drained};

mod disk;
mod machine;
mod ports;
#[cfg(test)]
mod tests;
mod volumes;

pub use volumes::uncovered_host_paths;

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
        for check in machine::requires(&release.requires, &info, ctx).await {
            // Several hops mostly ask for the same.
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
    }
    checks.extend(disk::disk(ctx, plan, releases, &info).await);
    checks.extend(volumes::volumes(ctx, plan, &info).await);
    if let Some(scene) = scene {
        checks.extend(ports::ports(ctx, scene).await);
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
    checks.push(machine::clock(ctx));
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
