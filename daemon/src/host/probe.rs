//! One HTTP request, judged.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{ProbeOutcome, ProbeTarget};

/// How much of a bad answer is kept: enough for the sentence that says why.
const BODY_START: usize = 400;

/// See [`super::Host::http_probe`].
pub async fn probe(target: &ProbeTarget, timeout: Duration) -> ProbeOutcome {
    // Kept out here: a bad status stays one, also when its body never ends.
    let mut bad = None;
    let outcome = tokio::time::timeout(timeout, ask(target, &mut bad)).await;
    match (bad, outcome) {
        (Some(Bad { status, body }), _) => ProbeOutcome::BadStatus {
            status,
            body_start: printable(&body),
        },
        (None, Ok(outcome)) => outcome,
        (None, Err(_)) => ProbeOutcome::TimedOut,
    }
}

/// See [`super::Host::tcp_probe`].
pub async fn connect(addr: SocketAddr, timeout: Duration) -> ProbeOutcome {
    match tokio::time::timeout(timeout, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => ProbeOutcome::Connected,
        Ok(Err(error)) => not_connected(&error),
        Err(_) => ProbeOutcome::TimedOut,
    }
}

struct Bad {
    status: u16,
    body: Vec<u8>,
}

async fn ask(target: &ProbeTarget, bad: &mut Option<Bad>) -> ProbeOutcome {
    let stream = match TcpStream::connect(target.addr).await {
        Ok(stream) => stream,
        Err(error) => return not_connected(&error),
    };
    match exchange(stream, target, bad).await {
        Ok(status) => ProbeOutcome::Good { status },
        Err(problem) => ProbeOutcome::BadAnswer(problem),
    }
}

fn not_connected(error: &std::io::Error) -> ProbeOutcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
        ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        _ => ProbeOutcome::Unreachable(error.to_string()),
    }
}

/// The status, if it is good; a bad one is put into `bad`, whatever else happens.
async fn exchange(
    stream: TcpStream,
    target: &ProbeTarget,
    bad: &mut Option<Bad>,
) -> Result<u16, String> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(&target.path)
        .header(header::HOST, &target.host)
        .header(header::USER_AGENT, "berth")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{} cannot be asked for: {error}", target.path))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| said(&error))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| said(&error))?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            let bad = bad.insert(Bad {
                status: status.as_u16(),
                body: Vec::new(),
            });
            read_start(response.into_body(), &mut bad.body).await;
        }
        Ok(status.as_u16())
    };
    // Driven here and not in a task, so that giving up closes the connection at once.
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

/// hyper's own message often is only "connection error"; the cause says more.
fn said(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A body that breaks off is kept as far as it came.
async fn read_start(mut body: Incoming, start: &mut Vec<u8>) {
    while start.len() < BODY_START {
        match body.frame().await {
            Some(Ok(frame)) => start.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) | None => break,
        }
    }
    start.truncate(BODY_START);
}

/// Fit for a terminal and for one line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim()
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes and hands back what was asked.
    async fn server(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let byte = stream.read_u8().await.unwrap();
                asked.push(byte);
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (addr, task)
    }

    async fn ask(addr: SocketAddr) -> ProbeOutcome {
        let target = ProbeTarget {
            addr,
            host: "frontend:3080".to_owned(),
            path: "/healthz?x=1".to_owned(),
        };
        probe(&target, Duration::from_secs(2)).await
    }

    #[tokio::test]
    async fn good_answers() {
        for (answer, status) in [
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..], 200),
            (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            (b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", 302),
            (b"HTTP/1.0 200 OK\r\n\r\nold", 200),
        ] {
            let (addr, task) = server(answer).await;
            assert_eq!(ask(addr).await, ProbeOutcome::Good { status });
            let asked = task.await.unwrap();
            assert!(
                asked.starts_with("GET /healthz?x=1 HTTP/1.1\r\n"),
                "{asked}"
            );
            assert!(asked.contains("host: frontend:3080\r\n"), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_bad_status_comes_with_its_reason() {
        let answer =
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 14\r\n\r\ndb: \x1b[31mdown\n";
        let (addr, _) = server(answer).await;
        let body_start = "db:  [31mdown".to_owned();
        assert_eq!(
            ask(addr).await,
            ProbeOutcome::BadStatus {
                status: 503,
                body_start
            }
        );
    }

    #[tokio::test]
    async fn what_is_not_http_is_said_so() {
        for answer in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"", b"HTTP/1.1 20"] {
            let (addr, _) = server(answer).await;
            let outcome = ask(addr).await;
            assert!(
                matches!(outcome, ProbeOutcome::BadAnswer(_)),
                "{answer:?}: {outcome}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_there_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(connect(addr, second).await, ProbeOutcome::Connected);
        drop(listener);
        assert_eq!(ask(addr).await, ProbeOutcome::Refused);
        assert_eq!(connect(addr, second).await, ProbeOutcome::Refused);
    }

    #[tokio::test]
    async fn silence_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let target = ProbeTarget {
            addr,
            host: "x".to_owned(),
            path: "/".to_owned(),
        };
        let outcome = probe(&target, Duration::from_millis(50)).await;
        assert_eq!(outcome, ProbeOutcome::TimedOut);
    }

    #[tokio::test]
    async fn a_bad_status_whose_body_never_ends_is_still_a_bad_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let target = ProbeTarget {
            addr,
            host: "x".to_owned(),
            path: "/".to_owned(),
        };
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\nslow";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let (outcome, _stream) =
            tokio::join!(probe(&target, Duration::from_millis(200)), answering);
        let body_start = "slow".to_owned();
        assert_eq!(
            outcome,
            ProbeOutcome::BadStatus {
                status: 500,
                body_start
            }
        );
    }

    #[tokio::test]
    async fn a_path_that_is_none_is_a_bad_answer() {
        let (addr, _) = server(b"").await;
        let target = ProbeTarget {
            addr,
            host: "x".to_owned(),
            path: "not a path".to_owned(),
        };
        let outcome = probe(&target, Duration::from_secs(1)).await;
        assert!(matches!(outcome, ProbeOutcome::BadAnswer(_)), "{outcome}");
    }
}
