//! One file a step. Each is idempotent, and says what it did in a few words.

use super::context::{Context, Scene, StepError};
use super::transition::{Step, Undo};
use crate::engine::Engine;
use crate::host::Host;
use crate::store::Run;

mod commit;
mod discard;
mod fetch;
mod halt;
mod migrate;
pub mod open;
mod prepare;
mod prune;
mod restore;
mod revive;
mod snapshot;
mod start;
pub mod stop;

pub use commit::installed;
pub use fetch::is_fetched;
pub use prepare::container as prepare_container;
pub use revive::networks as ensure_networks;
pub use stop::{grace as stop_grace, has_doors};

/// Does a step.
pub async fn forward<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    step: Step,
) -> Result<String, StepError> {
    let scene = Scene::load(&ctx.store, run, &ctx.place)?;
    match step {
        Step::Fetch => fetch::run(ctx, run, &scene).await,
        Step::Prepare => prepare::run(ctx, run, &scene).await,
        Step::Premigrate => migrate::before(ctx, run, &scene).await,
        Step::Stop => stop::run(ctx, &scene).await,
        Step::Snapshot => snapshot::run(ctx, run, &scene).await,
        Step::Migrate => migrate::stopped(ctx, run, &scene).await,
        Step::Start => start::run(ctx, run, &scene).await,
        Step::Commit => commit::run(ctx, run, &scene).await,
        Step::Open => open::run(ctx, &scene).await,
        Step::Prune => prune::run(ctx, run, &scene).await,
    }
}

/// Undoes.
pub async fn back<E: Engine, H: Host>(
    ctx: &Context<E, H>,
    run: &Run,
    undo: Undo,
) -> Result<String, StepError> {
    let scene = Scene::load(&ctx.store, run, &ctx.place)?;
    match undo {
        Undo::Halt => halt::run(ctx, &scene).await,
        Undo::Restore => restore::run(ctx, run).await,
        Undo::Revive => revive::run(ctx, &scene).await,
        Undo::Discard => discard::run(ctx, run, &scene).await,
    }
}
