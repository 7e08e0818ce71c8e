//! The machine behind the few verbs that the pipeline needs: clock, disk, ports, memory, trees of
//! files and probes. [`Linux`] is the real one; tests put a scripted one in its place.
//!
//! Nothing here decides anything, and nothing here knows Docker.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_format::service::Protocol;
use rustix::io::Errno;
use tokio::sync::watch;

mod ballast;
mod copy;
mod data;
mod disk;
mod exchange;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod lay;
mod linux;
mod metadata;
mod ports;
mod probe;
mod stand_in;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use lay::{LaidContent, LaidEntry, LaidTree};
pub use linux::Linux;
pub use stand_in::{AwayPage, StandIn};

/// What the pipeline may ask of the machine. Handles are cheap to clone.
///
/// Work that was begun goes on when its future is dropped: a copy that nobody waits for still ends
/// as a whole tree or as a `.partial` that the next attempt removes.
pub trait Host: Clone + Send + Sync + 'static {
    /// The wall clock. It may be wrong and it may jump.
    fn now(&self) -> jiff::Timestamp;

    /// Time since an arbitrary point; it never goes back.
    fn monotonic(&self) -> Duration;

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// The filesystem under `path`, or under its nearest ancestor that exists.
    fn disk(&self, path: &Path) -> impl Future<Output = Result<Disk, HostError>> + Send;

    /// Bytes allocated on disk by the tree; a file with many links counts once.
    fn tree_size(&self, path: &Path) -> impl Future<Output = Result<u64, HostError>> + Send;

    /// Who listens on the port, or `None` when `ip` could be bound. `None` as `ip` is all addresses.
    fn port_holder(
        &self,
        ip: Option<IpAddr>,
        port: u16,
        protocol: Protocol,
    ) -> impl Future<Output = Result<Option<PortHolder>, HostError>> + Send;

    /// Copies a tree with all that belongs to it. `to` appears whole and durable or not at all.
    fn copy_tree(
        &self,
        from: &Path,
        to: &Path,
    ) -> impl Future<Output = Result<CopyStats, HostError>> + Send;

    /// Swaps two directory entries of one mount atomically and durably.
    fn exchange(&self, a: &Path, b: &Path) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Removes a tree. A missing one is success; links are removed, never followed; another mount
    /// inside is an error.
    fn remove_tree(&self, path: &Path) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Whether there is an entry of that name, also a dangling link.
    fn exists(&self, path: &Path) -> impl Future<Output = Result<bool, HostError>> + Send;

    /// Makes the directory and its missing ancestors, mode 0700, durably. An existing one is success.
    fn make_dir(&self, path: &Path) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Writes out all of the filesystem that `path` is on.
    fn syncfs(&self, path: &Path) -> impl Future<Output = Result<(), HostError>> + Send;

    /// As many as this process may use.
    fn cpus(&self) -> u32;

    fn memory(&self) -> impl Future<Output = Result<Memory, HostError>> + Send;

    /// One HTTP/1.1 GET; `timeout` covers all of it. The outcome is an answer, never an error.
    fn http_probe(
        &self,
        target: &ProbeTarget,
        timeout: Duration,
    ) -> impl Future<Output = ProbeOutcome> + Send;

    /// Holds `bytes` of disk in a file, for the day that a full disk would stop a rollback.
    fn ballast(
        &self,
        path: &Path,
        bytes: u64,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Lets the ballast go. A missing one is success.
    fn release_ballast(&self, path: &Path) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Lays down a tree of files; `shipped` holds the shipped ones by digest.
    fn lay(
        &self,
        tree: &LaidTree,
        shipped: &Path,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// What stays with a folder when it is moved or exchanged, and is its alone: the inode number.
    fn identity(&self, path: &Path) -> impl Future<Output = Result<u64, HostError>> + Send;

    /// Whether two folders are on one mount, so that entries of them can be exchanged: two bind
    /// mounts of one filesystem are not.
    fn same_mount(
        &self,
        a: &Path,
        b: &Path,
    ) -> impl Future<Output = Result<bool, HostError>> + Send;

    /// One TCP connect.
    fn tcp_probe(
        &self,
        addr: SocketAddr,
        timeout: Duration,
    ) -> impl Future<Output = ProbeOutcome> + Send;

    /// Answers HTTP with 503 and the page on these ports (`None` as the address is all of them),
    /// as far as nobody else holds them, until the [`StandIn`] leaves.
    fn stand_in(
        &self,
        doors: &[(Option<IpAddr>, u16)],
        page: &watch::Receiver<AwayPage>,
    ) -> impl Future<Output = StandIn> + Send;
}

/// A filesystem's room, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What any process may still write: blocks reserved for root do not count, because what runs in
    /// containers seldom is root.
    pub free: u64,
    /// `None` where the filesystem makes inodes as it needs them.
    pub free_inodes: Option<u64>,
    /// `st_dev`: equal for two paths on one filesystem.
    pub filesystem: u64,
}

/// RAM, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    /// What programs could get without swapping (`MemAvailable`).
    pub available: u64,
}

/// A process, or the kernel, on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    pub address: SocketAddr,
    /// `None`: the kernel, or a process in a place that `/proc` does not show.
    pub pid: Option<u32>,
    /// The program's name (`comm`).
    pub program: Option<String>,
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Entries of every kind, the root included; a second link to a file counts in `links` only.
    pub entries: u64,
    pub links: u64,
    /// Bytes of data that was written anew.
    pub copied: u64,
    /// Bytes of files that share their blocks with the source (reflinks).
    pub cloned: u64,
    /// Sockets that were left out: they belong to a running process.
    pub sockets_skipped: u64,
}

/// Where a probe goes: no name is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    pub addr: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// 2xx or 3xx.
    Good {
        status: u16,
    },
    /// Somebody took the connection, which is all that a TCP probe asks for.
    Connected,
    BadStatus {
        status: u16,
        body_start: String,
    },
    /// Nobody listens.
    Refused,
    TimedOut,
    /// The way there is missing: no route, no network.
    Unreachable(String),
    /// Somebody answers, but not with HTTP, or the connection broke.
    BadAnswer(String),
}

impl ProbeOutcome {
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. } | Self::Connected)
    }
}

impl fmt::Display for ProbeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { status } => write!(f, "answered {status}"),
            Self::BadStatus { status, body_start } if body_start.is_empty() => {
                write!(f, "answered {status}")
            }
            Self::BadStatus { status, body_start } => write!(f, "answered {status}: {body_start}"),
            Self::Connected => f.write_str("took the connection"),
            Self::Refused => f.write_str("refused the connection"),
            Self::TimedOut => f.write_str("gave no answer in time"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::BadAnswer(why) => write!(f, "gave an answer that is not HTTP: {why}"),
        }
    }
}

/// Why the machine did not do it. Every variant names what was tried and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("{op} {}: {}", path.display(), shortage(*wanted, *free, *free_inodes))]
    NoSpace {
        op: &'static str,
        path: PathBuf,
        /// Bytes that the whole operation needs, where that is known.
        wanted: Option<u64>,
        /// Bytes free after what was half done was removed again.
        free: u64,
        free_inodes: Option<u64>,
    },
    #[error("{op} {}: it exists already", path.display())]
    AlreadyThere { op: &'static str, path: PathBuf },
    #[error(
        "{op} {} and {}: they are on different mounts (two bind mounts of one filesystem count as two)",
        a.display(), b.display()
    )]
    AcrossMounts {
        op: &'static str,
        a: PathBuf,
        b: PathBuf,
    },
    #[error("{op} {}: another filesystem is mounted there", path.display())]
    MountInside { op: &'static str, path: PathBuf },
    #[error("{op} {}: {errno}", path.display())]
    System {
        op: &'static str,
        path: PathBuf,
        errno: Errno,
    },
    #[error("{op} {}: {problem}", path.display())]
    Unexpected {
        op: &'static str,
        path: PathBuf,
        problem: String,
    },
}

impl HostError {
    /// A failed call; a full disk or quota becomes [`HostError::NoSpace`].
    fn system(op: &'static str, path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        if !matches!(errno, Errno::NOSPC | Errno::DQUOT) {
            return Self::System { op, path, errno };
        }
        let room = disk::disk(&path).unwrap_or_default();
        Self::NoSpace {
            op,
            path,
            wanted: None,
            free: room.free,
            free_inodes: room.free_inodes,
        }
    }

    fn io(op: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::system(op, path, Self::errno(error))
    }

    /// Errors that std makes up itself, without a number from the kernel, become `EIO`.
    fn errno(error: &std::io::Error) -> Errno {
        Errno::from_io_error(error).unwrap_or(Errno::IO)
    }
}

fn shortage(wanted: Option<u64>, free: u64, free_inodes: Option<u64>) -> String {
    let wanted = wanted.map_or_else(String::new, |bytes| format!(", {bytes} bytes wanted"));
    let inodes = match free_inodes {
        Some(0) => ", no inodes left",
        _ => "",
    };
    format!("no space left{wanted}, {free} bytes free{inodes}")
}
