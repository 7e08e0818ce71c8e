//! A web server that does exactly what a script says, one request a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What it does with a connection; then it closes it.
pub(super) enum Act {
    Send(Vec<u8>),
    /// The same again and again.
    Endless(Vec<u8>),
    /// Byte by byte.
    Drip(Vec<u8>, Duration),
    /// Nothing, for ever.
    Hang,
    /// Everything to and from there, as a proxy does after CONNECT.
    Tunnel(SocketAddr),
}

/// What it was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Where the wanted range begins.
    pub(super) fn from(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.split('-').next()?.parse().ok()
    }
}

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    secure: bool,
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `script` gets the number of the request, from 0, and the request.
    pub(super) async fn start(
        script: impl Fn(usize, &Asked) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, script).await
    }

    pub(super) async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl Fn(usize, &Asked) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(acceptor), script).await
    }

    async fn listen(
        acceptor: Option<TlsAcceptor>,
        script: impl Fn(usize, &Asked) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, sent) = (Arc::default(), Arc::default());
        let secure = acceptor.is_some();
        let (seen, count) = (Arc::clone(&asked), Arc::clone(&sent));
        let script = Arc::new(script);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
                let (script, acceptor) = (Arc::clone(&script), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => answer(stream, &*script, &seen, &count).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => answer(stream, &*script, &seen, &count).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            addr,
            secure,
            asked,
            sent,
            task,
        }
    }

    pub(super) fn url(&self) -> String {
        if self.secure {
            format!("https://localhost:{}/lantern", self.addr.port())
        } else {
            format!("http://{}/lantern", self.addr)
        }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Bytes that were sent, with heads.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// `None` when the other side is gone, which is no failure.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    script: &(impl Fn(usize, &Asked) -> Vec<Act> + Send + Sync),
    seen: &Mutex<Vec<Asked>>,
    count: &AtomicU64,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let asked = Asked { line, headers };
    let acts = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        let number = seen.len() - 1;
        script(number, &asked)
    };
    for act in acts {
        match act {
            Act::Send(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Act::Endless(bytes) => loop {
                stream.write_all(&bytes).await.ok()?;
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            },
            Act::Drip(bytes, every) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await.ok()?;
                    stream.flush().await.ok()?;
                    tokio::time::sleep(every).await;
                }
            }
            Act::Hang => std::future::pending::<()>().await,
            Act::Tunnel(to) => {
                let mut other = TcpStream::connect(to).await.ok()?;
                tokio::io::copy_bidirectional(&mut stream, &mut other)
                    .await
                    .ok()?;
            }
        }
    }
    stream.shutdown().await.ok()?;
    Some(())
}

/// An answer that says what it is.
pub(super) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn ok(body: &[u8]) -> Vec<Act> {
    vec![Act::Send(reply("200 OK", "", body))]
}

pub(super) fn status(status: &str) -> Vec<Act> {
    vec![Act::Send(reply(status, "", b""))]
}

/// A file as nginx serves it: with a strong `ETag` and ranges.
pub(super) fn file(body: &[u8], etag: &str, asked: &Asked) -> Vec<u8> {
    let etag = format!("\"{etag}\"");
    let same = asked.header("if-range").is_none_or(|wanted| wanted == etag);
    let headers = format!("etag: {etag}\r\n");
    match asked.from().filter(|_| same) {
        None => reply("200 OK", &headers, body),
        Some(from) if from >= body.len() => reply("416 Range Not Satisfiable", "", b""),
        Some(from) => {
            let (last, size) = (body.len() - 1, body.len());
            let headers = format!("{headers}content-range: bytes {from}-{last}/{size}\r\n");
            reply("206 Partial Content", &headers, &body[from..])
        }
    }
}
