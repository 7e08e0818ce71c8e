//! SIGTERM and SIGINT as a value that every task can wait for.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long open requests may go on after the signal.
const DRAIN: Duration = Duration::from_secs(3);

/// Whether this process was told to stop.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Installs the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            println!("told to stop");
            let _ = sender.send(true);
            // Kept open, for a closed channel would read as a signal too.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Returns when the process was told to stop.
    pub async fn wait(mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Serves until told to stop, then lets open requests end, but not for ever.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        app: axum::Router,
    ) -> std::io::Result<()> {
        let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
        let serving = axum::serve(listener, app)
            .with_graceful_shutdown(self.clone().wait())
            .into_future();
        tokio::select! {
            ended = serving => ended,
            () = async { self.wait().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    }
}
