//! The gateway: the published port. Passes requests and answers on as they stream.
//!
//! Each request gets a connection of its own to the frontend, whose name is resolved anew: an
//! update gives the frontend another address, and a kept connection would lead to a dead one.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::settings::var_or;
use crate::shutdown::Shutdown;

const CONNECT: Duration = Duration::from_secs(2);

/// Headers that speak of one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why there is no answer of the frontend.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no connection within {} s", CONNECT.as_secs())]
    Timeout,
    #[error("{0}")]
    Connect(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Serves until told to stop.
pub async fn run(shutdown: Shutdown) -> std::io::Result<()> {
    let listener = TcpListener::bind(var_or("LANTERN_LISTEN", "0.0.0.0:8080")).await?;
    let upstream = var_or("LANTERN_UPSTREAM", "frontend:3080");
    println!("gateway on {} for {upstream}", listener.local_addr()?);
    shutdown.serve(listener, app(upstream)).await
}

fn app(upstream: String) -> Router {
    Router::new().fallback(pass).with_state(upstream)
}

async fn pass(
    State(upstream): State<String>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    match forward(&upstream, client, request).await {
        Ok(response) => response,
        Err(error) => {
            eprintln!("{upstream}: {error}");
            let text = format!("502 Bad Gateway: {upstream} is away\n");
            (StatusCode::BAD_GATEWAY, text).into_response()
        }
    }
}

async fn forward(
    upstream: &str,
    client: SocketAddr,
    mut request: Request,
) -> Result<Response, Error> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(upstream))
        .await
        .map_err(|_| Error::Timeout)??;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    tokio::spawn(connection);

    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    strip(request.headers_mut());
    if let Ok(address) = HeaderValue::from_str(&client.ip().to_string()) {
        request.headers_mut().append("x-forwarded-for", address);
    }
    let mut response = sender.send_request(request).await?.map(Body::new);
    strip(response.headers_mut());
    Ok(response)
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    fn get() -> Request {
        let mut request = Request::get("/a?b=c")
            .header("connection", "x-one")
            .body(Body::empty())
            .unwrap();
        request
            .headers_mut()
            .insert("x-one", HeaderValue::from_static("1"));
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 1))));
        request
    }

    #[tokio::test]
    async fn a_frontend_that_is_away_is_a_502_and_is_asked_again_each_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let gateway = app(address.to_string());
        let response = gateway.clone().oneshot(get()).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);

        let echo = Router::new().fallback(async |request: Request| {
            format!("{} {:?}", request.uri(), request.headers())
        });
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(axum::serve(listener, echo).into_future());
        let response = gateway.oneshot(get()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(body.starts_with("/a?b=c"), "{body}");
        assert!(
            body.contains("192.0.2.7") && !body.contains("x-one"),
            "{body}"
        );
    }
}
