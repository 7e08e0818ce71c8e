//! Crash points for tests: with the feature `crash-points`, `BERTH_TEST_HOLD=<phase>` makes the
//! driver stand still where that phase's intent is journaled, until it is killed. Compiled out
//! of releases.

use super::transition::Phase;

/// Stands still if this is the phase to be killed in.
pub async fn point(phase: Phase) {
    if std::env::var("BERTH_TEST_HOLD").is_ok_and(|held| held == phase.to_string()) {
        log::warn!("held at {phase}");
        std::future::pending::<()>().await;
    }
}
