//! Every check of the machine before anything is touched; all failures are reported at once.

use berth_format::{Code, Refusal, Release};

use crate::api::Check;
use crate::engine::{Engine, EngineError, EngineInfo};
use crate::host::Host;
use crate::store::Installed;
use crate::update::context::Context;
use crate::update::drained;
use crate::update::plan::PlanKind;
use crate::update::planner::Planned;

mod disk;
mod fit;
mod machine;
mod ports;
#[cfg(test)]
mod tests;
mod volumes;

pub use volumes::uncovered_host_paths;

/// Docker, as far as it is known.
pub enum Docker {
    Here(EngineInfo),
    Gone {
        error: EngineError,
        /// What it said when it was last here.
        last: Option<EngineInfo>,
    },
}

impl Docker {
    /// What it says of itself, or said when it was last here.
    pub fn known(&self) -> Option<&EngineInfo> {
        match self {
            Self::Here(info) => Some(info),
            Self::Gone { last, .. } => last.as_ref(),
        }
    }
}

/// Runs every check of a plan. `old`: the stack that runs. Where Docker is gone, what needs no
/// Docker is checked all the same.
pub async fn run<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    planned: &Planned,
    old: Option<&(Release, Installed)>,
    docker: &Docker,
) -> Vec<Check> {
    let mut checks = fit::fit(planned, &ctx.place);
    if let Docker::Gone { error, .. } = docker {
        let refusal = Refusal::new(Code::EngineGone, "Docker does not answer");
        checks.push(bad("engine", refusal.found(error.to_string())));
    }
    for release in &planned.releases {
        for check in machine::requires(&release.requires, docker, ctx).await {
            // Several hops mostly ask for the same.
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
    }
    checks.extend(disk::disk(ctx, planned, docker).await);
    checks.extend(ports::ports(ctx, planned, old).await);
    if let Docker::Here(info) = docker {
        checks.extend(volumes::volumes(ctx, &planned.plan, info).await);
        checks.extend(drained(ctx, planned, old).await);
    }
    checks.push(machine::clock(ctx));
    checks
}

/// Whether what runs has work left that the next hop must not cut off.
async fn drained<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    planned: &Planned,
    old: Option<&(Release, Installed)>,
) -> Option<Check> {
    let (release, installed) = old?;
    if release.upgrade.drained.is_none() || planned.plan.kind != PlanKind::Update {
        return None;
    }
    Some(match drained::undrained(ctx, release, installed).await {
        Ok(None) => good("drained", format!("{} has no work left", release.version)),
        Ok(Some(refusal)) => bad("drained", refusal),
        Err(error) => bad("drained", error.refusal(Code::NotDrained)),
    })
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
