//! Brings a run to its end whatever becomes of the journal: what the driver cannot write down it
//! does not do, and it is taken up again from what is written.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::context::Context;
use super::driver;
use crate::engine::Engine;
use crate::host::Host;
use crate::store::{Run, StoreError};

/// Before a run is taken up again that its journal could not follow; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// Takes up a run that was cut off; whether there is still something to do.
pub async fn recover<E: Engine, H: Host>(ctx: &Context<E, H>, run: &mut Run) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        match read_again(ctx, run) {
            Ok(more) => return more,
            Err(error) => log::error!("the journal cannot be read or written: {error}"),
        }
        // Held for this very moment; what cannot be let go changes nothing.
        drop(ctx.host.release_ballast(&ctx.store.ballast()).await);
        ctx.host.sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Drives a run until the journal says that it has ended or stands still. A journal that
/// cannot be written (a full disk), or a step that panics, cuts it like a crash does: it is
/// taken up again from what the journal has.
pub async fn to_its_end<E: Engine, H: Host>(ctx: &Context<E, H>, run: &mut Run) {
    let mut pause = FIRST_PAUSE;
    loop {
        let driven = AssertUnwindSafe(driver::drive(ctx, run)).catch_unwind();
        let why = match driven.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("the journal cannot be written: {error}"),
            // A bug, and no fault that a test made.
            #[cfg(test)]
            Err(panic) => std::panic::resume_unwind(panic),
            #[cfg(not(test))]
            Err(_) => "a step panicked".to_owned(),
        };
        log::error!("run {} is taken up again: {why}", run.id);
        drop(ctx.host.release_ballast(&ctx.store.ballast()).await);
        // What fails at once each time is not tried without a rest.
        ctx.host.sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
        if !recover(ctx, run).await {
            return;
        }
    }
}

/// What the journal has of a run; whether there is still something to do.
fn read_again<E: Engine, H: Host>(ctx: &Context<E, H>, run: &mut Run) -> Result<bool, StoreError> {
    let Some(found) = ctx.store.run(run.id)? else {
        return Ok(false);
    };
    *run = found;
    if run.ended.is_some() {
        return Ok(false);
    }
    driver::recover(ctx, run)?;
    Ok(true)
}
