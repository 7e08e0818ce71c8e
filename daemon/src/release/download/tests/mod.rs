//! The attacks, each on a real socket: a server that does exactly what a script says.

mod layers;
mod published;
mod resume;
mod server;
mod small;
mod tls;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::pace::Floor;
use super::retry::{Backoff, Timing};
use super::{Client, Limits, Mirror, ProxySetting, Settings};
use server::Server;

/// Real time passes, but nobody sleeps; chance is seeded.
#[derive(Clone)]
struct Quick {
    begun: Instant,
    slept: Arc<Mutex<Vec<Duration>>>,
    seed: Arc<AtomicU64>,
}

impl Quick {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            slept: Arc::default(),
            seed: Arc::new(AtomicU64::new(1)),
        }
    }

    fn slept(&self) -> Vec<Duration> {
        self.slept.lock().unwrap().clone()
    }
}

impl Timing for Quick {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.slept.lock().unwrap().push(duration);
        tokio::task::yield_now().await;
    }

    fn random(&self) -> u64 {
        splitmix(self.seed.fetch_add(1, Ordering::Relaxed))
    }
}

/// Sebastiano Vigna's `SplitMix64`: enough to spread cuts.
fn splitmix(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Incompressible, and the same each time.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let words = (0_u64..).flat_map(|i| splitmix(seed << 32 | i).to_le_bytes());
    words.take(len).collect()
}

/// As in production, with less progress for smaller layers.
fn limits() -> Limits {
    Limits {
        progress: 1 << 10,
        ..Limits::default()
    }
}

/// For what has to end by itself; elsewhere a slow machine must not look like a slow server.
fn impatient() -> Limits {
    Limits {
        connect: Duration::from_secs(2),
        answer: Duration::from_millis(400),
        small: Duration::from_millis(800),
        floor: Floor {
            rate: 1 << 10,
            over: Duration::from_millis(300),
        },
        backoff: Backoff {
            rounds: 2,
            ..Backoff::default()
        },
        ..limits()
    }
}

fn settings(servers: &[&Server]) -> Settings {
    let mirror = |server: &&Server| Mirror {
        url: server.url(),
        credential: None,
    };
    Settings {
        mirrors: servers.iter().map(mirror).collect(),
        proxy: ProxySetting::Direct,
        allow_http: true,
        ..Settings::default()
    }
}

fn client_with(settings: Settings) -> (Client<Quick>, Quick) {
    let quick = Quick::new();
    (Client::with(settings, limits(), quick.clone()), quick)
}

fn client(servers: &[&Server]) -> Client<Quick> {
    client_with(settings(servers)).0
}

fn impatient_client(servers: &[&Server]) -> Client<Quick> {
    Client::with(settings(servers), impatient(), Quick::new())
}
