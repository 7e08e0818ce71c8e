//! The API over HTTP: the only way in, on a Unix socket.
//!
//! ```text
//! GET  /                              a page for people
//! GET  /v1/status                     POST /v1/plan
//! GET  /v1/trust     PUT /v1/trust    POST /v1/apply        202, goes on without the client
//! POST /v1/bundles                    POST /v1/resume       202
//! POST /v1/bundles/verify   ndjson    GET  /v1/history?limit=
//! GET  /v1/bundles/{id}/form?version= GET  /v1/runs/{id}
//! GET  /v1/releases                   GET  /v1/runs/{id}/events?after=   SSE
//! GET  /v1/config    PATCH /v1/config GET  /v1/events                    SSE
//! GET  /v1/notifications              PUT, DELETE /v1/notifications/receivers/{name}
//! POST /v1/notifications/test         GET  /v1/notifications/deliveries?limit=
//!                                     GET  /v1/services/{name}/logs?tail=&follow=   ndjson
//! ```
//!
//! A bundle is never a path: it comes as an open file over [`handover`], which gives a token for
//! it. Every request is answered in a task of its own, so a client that goes away cancels nothing.
//! Every answer that is not a success is a [`berth_format::Refusal`].

use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::watch;

use crate::api::Api;

#[cfg(test)]
pub(crate) mod fake;
mod guard;
pub mod handover;
mod json;
mod notify;
mod page;
mod routes;
mod sockets;
mod stream;
#[cfg(test)]
mod tests;
pub mod wire;

pub use handover::Handover;
pub use sockets::{SocketError, Sockets};

/// How long open answers may take to end after a shutdown was asked for.
const DEADLINE: Duration = Duration::from_secs(5);

/// The most bytes of a request's body.
const BODY: usize = 64 << 10;
/// The most bytes of a change of config: a few fields that hold files.
const CONFIG_BODY: usize = 8 << 20;

/// What the handlers share.
#[derive(Clone)]
struct Server<A> {
    api: A,
    handover: Handover,
    /// True: streams end.
    shutdown: watch::Receiver<bool>,
}

/// The API as a router. `handover` holds the files that tokens stand for; streams end when
/// `shutdown` turns true.
pub fn router<A: Api>(api: A, handover: Handover, shutdown: watch::Receiver<bool>) -> Router {
    let v1 = Router::new()
        .route("/status", get(routes::status::<A>))
        .route(
            "/trust",
            get(routes::trust_info::<A>).put(routes::trust::<A>),
        )
        .route("/bundles", post(routes::open_bundle::<A>))
        .route("/bundles/verify", post(routes::verify_bundle::<A>))
        .route("/bundles/{id}/form", get(routes::bundle_form::<A>))
        .route("/releases", get(routes::releases::<A>))
        .route("/plan", post(routes::plan::<A>))
        .route("/apply", post(routes::apply::<A>))
        .route("/resume", post(routes::resume::<A>))
        .route(
            "/channel",
            get(routes::channel::<A>)
                .put(routes::set_channel::<A>)
                .delete(routes::forget_channel::<A>),
        )
        .route("/channel/check", post(routes::check_channel::<A>))
        .route(
            "/policy",
            get(routes::policy::<A>).put(routes::set_policy::<A>),
        )
        .nest("/notifications", notify::routes::<A>())
        .route("/channel/form", get(routes::channel_form::<A>))
        .route("/history", get(routes::history::<A>))
        .route("/mended", get(routes::mended::<A>))
        .route("/runs/{id}", get(routes::run::<A>))
        .route("/runs/{id}/events", get(routes::run_events::<A>))
        .route("/events", get(routes::events::<A>))
        .route(
            "/config",
            get(routes::config::<A>)
                .patch(routes::set_config::<A>)
                .layer(axum::extract::DefaultBodyLimit::max(CONFIG_BODY)),
        )
        .route("/services/{name}/logs", get(routes::logs::<A>));
    Router::new()
        .route("/", get(page::home::<A>))
        .nest("/v1", v1)
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn(guard::guard))
        .with_state(Server {
            api,
            handover,
            shutdown,
        })
}

/// Serves until `shutdown` turns true and the answers under way have ended, or five seconds later.
pub async fn run<A: Api>(
    sockets: Sockets,
    api: A,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let handover = Handover::default();
    let app = router(api, handover.clone(), shutdown.clone())
        .into_make_service_with_connect_info::<guard::Peer>();
    let (listener, files, _held) = sockets.into_parts();
    let taking = tokio::spawn(handover::serve(files, handover));
    let mut stopped = shutdown.clone();
    let served =
        axum::serve(listener, app).with_graceful_shutdown(async move { until(&mut stopped).await });
    let result = tokio::select! {
        result = async { served.await } => result,
        () = async {
            until(&mut shutdown).await;
            tokio::time::sleep(DEADLINE).await;
        } => {
            log::warn!("some clients were still connected at the end");
            Ok(())
        }
    };
    taking.abort();
    result
}

/// Waits until it is true, or until nobody can make it true any more.
async fn until(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
