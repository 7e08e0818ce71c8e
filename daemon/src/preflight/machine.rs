//! What the release asks of the machine itself: Docker, CPUs, memory, and a clock that is right.

use berth_format::release::Requires;
use berth_format::{Code, Refusal};

use super::{bad, bytes, good};
use crate::api::Check;
use crate::engine::{Engine, EngineInfo};
use crate::host::Host;
use crate::update::context::Context;

pub(super) async fn requires<E: Engine, H: Host>(
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
