//! Answers in the place of a product that is away: 503, when to ask again, and a page that says
//! what is going on.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

/// Conversations at once; more wait for their turn.
const AT_ONCE: usize = 64;

/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds until a client should ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What a client of a product that is away gets to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwayPage {
    /// For who takes `text/html`.
    pub html: String,
    /// One line, for everyone else.
    pub text: String,
}

/// Listens until it is told to leave.
#[derive(Debug, Default)]
pub struct StandIn {
    listeners: Vec<JoinHandle<()>>,
}

impl StandIn {
    /// Listens where it can: a port that somebody else holds is left to them. The page may
    /// change at any time.
    pub async fn listen(doors: &[(Option<IpAddr>, u16)], page: &watch::Receiver<AwayPage>) -> Self {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut listeners = Vec::new();
        for (ip, port) in doors {
            match bind(*ip, *port).await {
                Ok(listener) => {
                    let serving = serve(listener, Arc::clone(&seats), page.clone());
                    listeners.push(tokio::spawn(serving));
                }
                Err(error) => log::debug!("nobody stands in at port {port}: {error}"),
            }
        }
        Self { listeners }
    }

    /// Takes over what another one listens to.
    pub fn join(&mut self, mut other: Self) {
        self.listeners.append(&mut other.listeners);
    }

    /// When it returns, the ports are free.
    pub async fn leave(mut self) {
        for listener in self.listeners.drain(..) {
            listener.abort();
            // It was told to end: that it did is all there is to know.
            let _ = listener.await;
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn bind(ip: Option<IpAddr>, port: u16) -> std::io::Result<TcpListener> {
    match ip {
        Some(ip) => TcpListener::bind((ip, port)).await,
        // Both families, or the one that there is.
        None => match TcpListener::bind(SocketAddr::from(([0; 8], port))).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        },
    }
}

async fn serve(listener: TcpListener, seats: Arc<Semaphore>, page: watch::Receiver<AwayPage>) {
    loop {
        // Never closed, so there is always a seat in the end.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, page.clone(), seat))),
            // Out of file descriptors, most likely: not at full speed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: TcpStream, page: watch::Receiver<AwayPage>, _seat: OwnedSemaphorePermit) {
    let answer = service_fn(|request: Request<hyper::body::Incoming>| {
        let page = page.borrow().clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.headers(), page)) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 << 10)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // What a client does wrong is its own affair.
    let _ = tokio::time::timeout(PATIENCE * 2, conversation).await;
}

fn answer(method: &Method, asked: &HeaderMap, page: AwayPage) -> Response<Full<Bytes>> {
    let reads_html = asked
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|a| a.contains("text/html")));
    let (kind, body) = if reads_html {
        ("text/html; charset=utf-8", page.html)
    } else {
        ("text/plain; charset=utf-8", page.text)
    };
    let body = if method == Method::HEAD {
        Bytes::new()
    } else {
        body.into()
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    for (name, value) in [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::RETRY_AFTER, RETRY_AFTER),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONNECTION, HeaderValue::from_static("close")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        ),
    ] {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener as Held;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn free_port() -> u16 {
        Held::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port()
    }

    #[tokio::test]
    async fn who_asks_is_told_what_goes_on_and_the_port_is_free_afterwards() {
        let port = free_port();
        let (say, page) = watch::channel(AwayPage {
            html: "<p>soon</p>".into(),
            text: "soon".into(),
        });
        let stand_in = StandIn::listen(&[(None, port)], &page).await;
        let request = "GET /deep?x HTTP/1.1\r\nHost: a\r\n";
        let answer = ask(port, &format!("{request}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 5"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nsoon"), "{answer}");

        say.send_replace(AwayPage {
            html: "<p>now</p>".into(),
            text: "now".into(),
        });
        let answer = ask(port, &format!("{request}Accept: text/html,*/*\r\n\r\n")).await;
        assert!(answer.ends_with("<p>now</p>"), "{answer}");
        let answer = ask(port, "\x16\x03\x01\x02\x00\x01 a hello of TLS\r\n\r\n").await;
        assert!(!answer.contains("503"), "{answer}");

        // One who asks nothing holds nothing up.
        let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stand_in.leave().await;
        drop(Held::bind(("127.0.0.1", port)).unwrap());
        drop(idle);
    }

    #[tokio::test]
    async fn a_port_of_somebody_else_is_left_alone() {
        let held = Held::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let (_say, page) = watch::channel(AwayPage::default());
        let stand_in = StandIn::listen(&[(Some([127, 0, 0, 1].into()), port)], &page).await;
        assert!(stand_in.listeners.is_empty());
    }
}
