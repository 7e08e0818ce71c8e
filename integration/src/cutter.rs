//! A bad line: what goes through it is cut at random bytes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::Client;

/// Hands on what it gets between a port of its own and another, in a network namespace.
#[derive(Debug, Clone)]
pub struct Cutter(Arc<Line>);

#[derive(Debug)]
struct Line {
    /// Cuts that are still to come.
    left: AtomicU64,
    /// The most bytes between two cuts.
    longest: u64,
    /// Bytes of answers that came through.
    through: AtomicU64,
    random: AtomicU64,
}

impl Cutter {
    /// Cuts `cuts` times, after 1 to `longest` bytes of answers each; then the line is good.
    /// Ends with the test's process.
    pub fn start(client: &Client, own: u16, to: u16, cuts: u64, longest: u64) -> Result<Self> {
        let listener = client.occupy_port(own)?;
        let line = Arc::new(Line {
            left: AtomicU64::new(cuts),
            longest,
            through: AtomicU64::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
        });
        let (cutter, client) = (Self(Arc::clone(&line)), client.clone());
        std::thread::spawn(move || {
            client.enter();
            for caller in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else {
                    continue;
                };
                let line = Arc::clone(&line);
                std::thread::spawn(move || line.hand_on(&caller, &server));
            }
        });
        Ok(cutter)
    }

    /// Cuts that are still to come.
    pub fn left(&self) -> u64 {
        self.0.left.load(Ordering::SeqCst)
    }

    /// Bytes of answers that came through.
    pub fn through(&self) -> u64 {
        self.0.through.load(Ordering::SeqCst)
    }
}

impl Line {
    fn hand_on(&self, caller: &TcpStream, server: &TcpStream) {
        let end = || {
            // Either may be gone already.
            let _ = caller.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut from, mut to) = (caller, server);
                let _ = std::io::copy(&mut from, &mut to);
                end();
            });
            self.answer(caller, server);
            end();
        });
    }

    fn answer(&self, mut caller: &TcpStream, mut server: &TcpStream) {
        let mut until_cut = self.next();
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            let is_good = self.left.load(Ordering::SeqCst) == 0;
            let most = if is_good { read } else { until_cut.min(read) };
            if caller.write_all(&buffer[..most]).is_err() {
                return;
            }
            self.through.fetch_add(most as u64, Ordering::SeqCst);
            until_cut = until_cut.saturating_sub(most);
            if !is_good && until_cut == 0 {
                let one_less = |left: u64| left.checked_sub(1);
                let _ = self
                    .left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
                return;
            }
        }
    }

    /// Bytes until the next cut: xorshift64, so that a failure can be looked at again.
    fn next(&self) -> usize {
        let mut x = self.random.load(Ordering::SeqCst);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.store(x, Ordering::SeqCst);
        usize::try_from(1 + x % self.longest).unwrap_or(usize::MAX)
    }
}
