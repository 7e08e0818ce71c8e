//! Around every request: who asked, and an answer whatever happens.

use axum::extract::{ConnectInfo, Request, connect_info::Connected};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use berth_format::{Code, Refusal};
use tokio::net::UnixListener;

use super::json::{Refused, usage};
use crate::api::internal;

/// The process at the other end, as the kernel knows it (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(Option<(u32, Option<i32>)>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let cred = stream.io().peer_cred().ok();
        Self(cred.map(|cred| (cred.uid(), cred.pid())))
    }
}

/// Answers in a task of its own: a client that goes away drops the connection, not the work; and
/// a panic becomes a refusal where panics unwind.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .and_then(|ConnectInfo(Peer(peer))| *peer);
    match tokio::spawn(next.run(request)).await {
        Ok(response) => {
            if method != Method::GET {
                let (uid, pid) = peer.map_or((-1, -1), |(uid, pid)| {
                    (i64::from(uid), i64::from(pid.unwrap_or(-1)))
                });
                let status = response.status().as_u16();
                log::info!(peer_uid = uid, peer_pid = pid, status; "{method} {path}: {status}, asked by uid {uid}, pid {pid}");
            }
            response
        }
        Err(error) => {
            log::error!("{method} {path}: {error}");
            Refused(internal("the request ended in a panic")).into_response()
        }
    }
}

pub(super) async fn no_route(uri: Uri) -> Refused {
    Refusal::new(Code::NotFound, "the API has no such address")
        .found(uri.path().to_owned())
        .into()
}

pub(super) async fn no_method(method: Method, uri: Uri) -> Refused {
    usage("the address does not take this method")
        .found(format!("{method} {}", uri.path()))
        .into()
}
