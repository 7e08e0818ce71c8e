//! Crash points for tests: with the feature `crash-points`, `BERTH_TEST_HOLD=<phase>,…` makes the
//! driver stand still where such a phase's intent is journaled (`<phase>+`: where it is done, and
//! its outcome is not journaled yet), until it is killed or, where `BERTH_TEST_HOLD_DIR` names a
//! folder, until there is a file of that name in it. Compiled out of releases.

use std::path::PathBuf;
use std::time::Duration;

use super::transition::Phase;

/// Stands still if this is a phase to be killed in before it is done.
pub async fn before(phase: Phase) {
    point(phase.to_string()).await;
}

/// Stands still if this is a phase to be killed in after it is done.
pub async fn after(phase: Phase) {
    point(format!("{phase}+")).await;
}

async fn point(phase: String) {
    let held = std::env::var("BERTH_TEST_HOLD").unwrap_or_default();
    if !held.split(',').any(|held| held == phase) {
        return;
    }
    log::warn!("held at {phase}");
    let Some(dir) = std::env::var_os("BERTH_TEST_HOLD_DIR").map(PathBuf::from) else {
        return std::future::pending().await;
    };
    while !dir.join(&phase).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
