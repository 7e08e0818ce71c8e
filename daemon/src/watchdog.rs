//! What systemd is told: ready, alive, stopping. Without systemd all of it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// The API answers.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A stop was asked for, and is being done.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One line of `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// Asks for more time to start or to stop than the unit gives.
pub fn extend(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Says "alive" at a third of the unit's interval, from the runtime that does the work: a runtime
/// that no longer turns is restarted. `None`: nobody watches.
pub fn keep_alive() -> Option<JoinHandle<()>> {
    let interval = sd_notify::watchdog_enabled()?;
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval / 3);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }))
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd does not listen: {error}");
    }
}
