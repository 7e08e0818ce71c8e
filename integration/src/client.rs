//! A user of the product: plain HTTP to its gateway, in the engine's network.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Between two questions of a [`Watch`].
const PAUSE: Duration = Duration::from_millis(10);

/// Nobody watches longer.
const LONGEST: Duration = Duration::from_mins(3);

/// Asks `127.0.0.1:port` in a network namespace.
#[derive(Debug, Clone)]
pub struct Client {
    netns: PathBuf,
    port: u16,
}

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub fn new(netns: PathBuf, port: u16) -> Self {
        Self { netns, port }
    }

    /// Whether anything listens.
    pub fn connects(&self) -> bool {
        self.in_netns(|client| client.connect().is_ok())
    }

    /// Takes the port away from the product, until it is dropped.
    pub fn occupy(&self) -> Result<TcpListener> {
        self.occupy_port(self.port)
    }

    /// Takes any port, until it is dropped.
    pub fn occupy_port(&self, port: u16) -> Result<TcpListener> {
        let address = (Ipv4Addr::UNSPECIFIED, port);
        Ok(self.in_netns(|_| TcpListener::bind(address))?)
    }

    pub fn get(&self, path: &str) -> Result<Response> {
        self.in_netns(|client| client.ask("GET", path, ""))
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Response> {
        let body = body.to_string();
        self.in_netns(|client| client.ask("POST", path, &body))
    }

    /// Names of the documents that are found.
    pub fn search(&self, query: &str) -> Result<Vec<String>> {
        let response = self.get(&format!("/api/search?q={query}"))?;
        ensure!(response.status == 200, "{response:?}");
        let value: Value = serde_json::from_str(&response.body)?;
        let hits = value["hits"].as_array().context("hits")?;
        let mut names: Vec<String> = hits
            .iter()
            .filter_map(|hit| Some(hit["name"].as_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Writes a document.
    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        let body = serde_json::json!({"name": name, "text": text});
        let response = self.post("/api/docs", &body)?;
        ensure!(response.status == 201, "{response:?}");
        Ok(())
    }

    /// Version and schema, as the product says them.
    pub fn version(&self) -> Result<(String, i64)> {
        let response = self.get("/version")?;
        ensure!(response.status == 200, "{response:?}");
        let value: Value = serde_json::from_str(&response.body)?;
        let version = value["version"].as_str().context("version")?.to_owned();
        Ok((version, value["schema"].as_i64().context("schema")?))
    }

    /// Asks for `path` again and again until told to stop.
    pub fn watch(&self, path: &str) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, path, end) = (self.clone(), path.to_owned(), stop.clone());
        let thread = std::thread::spawn(move || {
            client.enter();
            let begin = Instant::now();
            let mut seen = Vec::new();
            while !end.load(Ordering::Relaxed) && begin.elapsed() < LONGEST {
                let asked = begin.elapsed();
                let status = client.ask("GET", &path, "").map_or(0, |r| r.status);
                seen.push((asked, begin.elapsed(), status));
                std::thread::sleep(PAUSE);
            }
            seen
        });
        Watch { stop, thread }
    }

    // A socket stays in the namespace where it was made, a thread is a cheap place to change it.
    fn in_netns<T: Send>(&self, act: impl FnOnce(&Self) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                self.enter();
                act(self)
            });
            asked.join().expect("the client does not panic")
        })
    }

    /// Takes this thread, and those that it starts, into the network namespace.
    pub(crate) fn enter(&self) {
        let netns = File::open(&self.netns).expect("the engine's network namespace");
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may change its network namespace");
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Response> {
        let mut stream = self.connect()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        Ok(Response {
            status,
            head: head.to_owned(),
            body: if chunked {
                joined(body)
            } else {
                body.to_owned()
            },
        })
    }
}

fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        body.push_str(&rest[..size]);
        chunks = rest[size..].trim_start_matches("\r\n");
    }
    body
}

/// A client that keeps asking.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Duration, Duration, u16)>>,
}

/// What a client that kept asking has seen.
#[derive(Debug, Clone, Default)]
pub struct Outage {
    /// Questions.
    pub asked: usize,
    /// Answers other than 2xx by status; 0: no answer.
    pub failed: std::collections::BTreeMap<u16, usize>,
    /// All time from the last good answer before a failure to the next good one.
    pub total: Duration,
    /// The longest such time.
    pub longest: Duration,
    /// Whether the last answer was good.
    pub ended_well: bool,
}

impl Watch {
    /// Stops asking.
    pub fn stop(self) -> Outage {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().expect("the client does not panic");
        outage(&seen)
    }
}

fn outage(seen: &[(Duration, Duration, u16)]) -> Outage {
    let mut outage = Outage {
        asked: seen.len(),
        ended_well: true,
        ..Outage::default()
    };
    let mut last_good = Duration::ZERO;
    for (_, answered, status) in seen {
        if (200..300).contains(status) {
            if !outage.ended_well {
                let time = answered.saturating_sub(last_good);
                outage.total += time;
                outage.longest = outage.longest.max(time);
            }
            (outage.ended_well, last_good) = (true, *answered);
        } else {
            *outage.failed.entry(*status).or_default() += 1;
            outage.ended_well = false;
        }
    }
    outage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_from_good_to_good() {
        let at = |ms: u64, status| {
            (
                Duration::from_millis(ms),
                Duration::from_millis(ms + 1),
                status,
            )
        };
        let seen = [at(0, 200), at(10, 503), at(20, 0), at(30, 200), at(40, 200)];
        let outage = outage(&seen);
        assert_eq!(outage.total, Duration::from_millis(30));
        assert_eq!(outage.failed.values().sum::<usize>(), 2);
        assert!(outage.ended_well);
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(joined("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"), "abcd");
    }
}
