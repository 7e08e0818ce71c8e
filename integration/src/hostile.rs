//! A vendor's folder behind a web server that is the attacker's.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::Client;

/// How the server treats a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it is.
    Honest,
    /// The line is cut in the middle, each time.
    Cut,
    /// Half of it, said to be all.
    Short,
    /// Said to be longer than what comes, and then silence.
    Long,
    /// Once more behind its own end.
    Twice,
    /// Without an end.
    Endless,
    /// A byte a second.
    Drip,
    /// "It is over there": on this machine, at another port.
    Redirect,
    /// "It is over there": here, again and again.
    Round,
    /// Another file, well signed: the first release in place of each.
    Swapped,
    /// Not what HTTP is.
    Garbage,
    /// "Not modified", whatever was asked.
    Unmodified,
}

/// The server. It ends with the test's process.
#[derive(Debug, Clone)]
pub struct Hostile {
    port: u16,
    treat: Arc<Mutex<(String, Mood)>>,
}

/// The most bytes that a file without an end has here.
const ENOUGH: usize = 256 << 20;

impl Hostile {
    /// Serves a folder on a port of a network namespace.
    pub fn start(client: &Client, port: u16, folder: &Path) -> Result<Self> {
        let listener = client.occupy_port(port)?;
        let server = Self {
            port,
            treat: Arc::new(Mutex::new((String::new(), Mood::Honest))),
        };
        let (own, client, folder) = (server.clone(), client.clone(), folder.to_owned());
        std::thread::spawn(move || {
            client.enter();
            for caller in listener.incoming().flatten() {
                let (own, folder) = (own.clone(), folder.clone());
                // Whoever hangs up ends his answer.
                std::thread::spawn(move || own.answer(&caller, &folder));
            }
        });
        Ok(server)
    }

    /// Treats files whose path ends so, or that are in this folder (`layers/`), like this, and
    /// others honestly.
    pub fn treat(&self, what: &str, mood: Mood) {
        *self.lock() = (what.to_owned(), mood);
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (String, Mood)> {
        self.treat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, mut caller: &TcpStream, folder: &Path) -> std::io::Result<()> {
        caller.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut lines = BufReader::new(caller).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut from = 0;
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if let Some(range) = line.strip_prefix("range: bytes=") {
                from = range.split('-').next().unwrap_or("").parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let path = first
            .split(' ')
            .nth(1)
            .unwrap_or("/")
            .trim_start_matches('/');
        let (what, mood) = self.lock().clone();
        let is_meant = path.ends_with(&what) || (what.ends_with('/') && path.starts_with(&what));
        let mood = if is_meant { mood } else { Mood::Honest };
        let file: PathBuf = match mood {
            Mood::Swapped => folder.join("release-1.0.0.json"),
            _ => folder.join(path),
        };
        let Ok(bytes) = fs::read(file) else {
            return caller.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        };
        let from = from.min(bytes.len());
        let body = &bytes[from..];
        let head = |length: usize| {
            let status = if from > 0 {
                let last = bytes.len().saturating_sub(1);
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {from}-{last}/{}",
                    bytes.len()
                )
            } else {
                "200 OK".to_owned()
            };
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
        };
        let half = &body[..body.len() / 2];
        match mood {
            Mood::Honest | Mood::Swapped => {
                caller.write_all(head(body.len()).as_bytes())?;
                caller.write_all(body)
            }
            Mood::Cut => {
                caller.write_all(head(body.len()).as_bytes())?;
                caller.write_all(half)
            }
            Mood::Short => {
                caller.write_all(head(half.len()).as_bytes())?;
                caller.write_all(half)
            }
            Mood::Long => {
                caller.write_all(head(body.len() + 1000).as_bytes())?;
                caller.write_all(body)
            }
            Mood::Twice => {
                caller.write_all(head(body.len() * 2).as_bytes())?;
                caller.write_all(body)?;
                caller.write_all(body)
            }
            Mood::Endless => {
                caller.write_all(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
                )?;
                let chunk = vec![b' '; 64 << 10];
                for _ in 0..ENOUGH / chunk.len() {
                    write!(caller, "{:x}\r\n", chunk.len())?;
                    caller.write_all(&chunk)?;
                    caller.write_all(b"\r\n")?;
                }
                Ok(())
            }
            Mood::Drip => {
                caller.write_all(head(body.len()).as_bytes())?;
                for byte in body {
                    caller.write_all(&[*byte])?;
                    std::thread::sleep(Duration::from_secs(1));
                }
                Ok(())
            }
            Mood::Redirect => {
                let to = format!("http://127.0.0.1:{}/{path}", self.port + 1);
                write!(
                    caller,
                    "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            }
            Mood::Round => write!(
                caller,
                "HTTP/1.1 302 Found\r\nLocation: /{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
            Mood::Garbage => caller.write_all(&[0xff; 4096]),
            Mood::Unmodified => {
                caller.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n")
            }
        }
    }
}
