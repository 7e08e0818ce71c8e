//! What the release asks of the machine itself: Docker, CPUs, memory, and a clock that is right.

use berth_format::release::Requires;
use berth_format::{Code, Refusal};

use super::{Docker, bad, bytes, good};
use crate::api::Check;
use crate::engine::{Engine, EngineInfo};
use crate::host::Host;
use crate::update::context::Context;

pub(super) async fn requires<E: Engine, H: Host>(
    needs: &Requires,
    docker: &Docker,
    ctx: &Context<E, H>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let (cpus, memory) = match docker {
        Docker::Here(info) => {
            checks.push(engine(needs, info));
            (info.cpus, Some(info.memory))
        }
        Docker::Gone { .. } => (ctx.host.cpus(), None),
    };
    checks.push(if cpus >= needs.cpus {
        good("cpus", format!("{cpus} CPUs"))
    } else {
        let refusal = Refusal::new(Code::CpuFew, "the machine has too few CPUs");
        bad(
            "cpus",
            refusal.because(format!("{} CPUs", needs.cpus), format!("{cpus}")),
        )
    });
    let memory = match (ctx.host.memory().await, memory) {
        (Ok(memory), _) => memory.total,
        (Err(_), Some(memory)) => memory,
        (Err(error), None) => {
            checks.push(bad("memory", crate::api::internal(error)));
            return checks;
        }
    };
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

fn engine(needs: &Requires, info: &EngineInfo) -> Check {
    if needs.engine.matches(&info.version) {
        return good("engine", format!("Docker {} answers", info.version_text));
    }
    let summary = "Docker is not of a version that the release runs on";
    let refusal = Refusal::new(Code::EngineOld, summary);
    bad(
        "engine",
        refusal.because(needs.engine.to_string(), info.version.to_string()),
    )
}

/// A clock before what was already journaled is wrong.
pub(super) fn clock<E: Engine, H: Host>(ctx: &Context<E, H>) -> Check {
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
