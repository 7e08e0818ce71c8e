//! The life of berthd: the API answers first, then recovery and supervision, until a signal.
//!
//! A stop leaves the product as it is: containers run without berthd. An update that a stop cuts
//! is found in the journal at the next start.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::Api;
use crate::http::{self, Sockets};
use crate::watchdog;

/// How long work may take to come to rest after a signal. Below systemd's own 90 s, after which
/// it would kill.
const DEADLINE: Duration = Duration::from_secs(20);

/// Serves until SIGTERM or SIGINT, with `work` beside it. `work` is given what turns true at the end.
pub async fn live<A, W>(
    sockets: Sockets,
    api: A,
    work: impl FnOnce(watch::Receiver<bool>) -> W,
) -> io::Result<()>
where
    A: Api,
    W: Future<Output = ()> + Send + 'static,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopped) = watch::channel(false);

    let mut serving = tokio::spawn(http::run(sockets, api, stopped.clone()));
    let working = tokio::spawn(work(stopped));
    watchdog::ready();
    let alive = watchdog::keep_alive();
    log::info!("berthd {} is ready", env!("CARGO_PKG_VERSION"));

    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        ended = &mut serving => {
            let why = match ended {
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(io::Error::other(format!("the API no longer answers: {why}")));
        }
    };
    log::info!("{name}: stopping; the product goes on");
    watchdog::stopping();
    // An error means that nobody listens any more, which is what is wanted.
    let _ = stop.send(true);
    let rest = async {
        let _ = serving.await;
        let _ = working.await;
    };
    if timeout(DEADLINE, rest).await.is_err() {
        log::warn!("work was still under way after {DEADLINE:?}; the next start takes it up");
    }
    if let Some(alive) = alive {
        alive.abort();
    }
    Ok(())
}
