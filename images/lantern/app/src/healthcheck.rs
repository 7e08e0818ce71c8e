//! `lantern healthcheck URL`: the images have no curl.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(8);

/// Why the service is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}: not an address like http://host:port/path")]
    Address(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Status(String),
}

/// One GET; anything but a 200 is an error, with the answer's first bytes.
pub fn run(url: &str) -> Result<(), Error> {
    let bad = || Error::Address(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = host.to_socket_addrs()?.next().ok_or_else(bad)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(())
    } else {
        let status = answer.lines().next().unwrap_or("no answer");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Err(Error::Status(format!("{status}: {body}")))
    }
}
