//! The real machine.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use berth_format::service::Protocol;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use super::{
    AwayPage, CopyStats, Disk, Host, HostError, LaidTree, Memory, PortHolder, ProbeOutcome,
    ProbeTarget, StandIn, ballast, copy, disk, exchange, lay, ports, probe, tree,
};

/// The machine that this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Host for Linux {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        let time = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanoseconds)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn disk(&self, path: &Path) -> Result<Disk, HostError> {
        blocking(path, disk::disk).await
    }

    async fn tree_size(&self, path: &Path) -> Result<u64, HostError> {
        blocking(path, tree::size).await
    }

    async fn port_holder(
        &self,
        ip: Option<IpAddr>,
        port: u16,
        protocol: Protocol,
    ) -> Result<Option<PortHolder>, HostError> {
        blocking(Path::new("/proc"), move |_| {
            ports::holder(ip, port, protocol)
        })
        .await
    }

    async fn copy_tree(&self, from: &Path, to: &Path) -> Result<CopyStats, HostError> {
        let to = to.to_owned();
        blocking(from, move |from| copy::copy_tree(from, &to)).await
    }

    async fn exchange(&self, a: &Path, b: &Path) -> Result<(), HostError> {
        let b = b.to_owned();
        blocking(a, move |a| exchange::exchange(a, &b)).await
    }

    async fn remove_tree(&self, path: &Path) -> Result<(), HostError> {
        blocking(path, tree::remove).await
    }

    async fn exists(&self, path: &Path) -> Result<bool, HostError> {
        blocking(path, disk::exists).await
    }

    async fn make_dir(&self, path: &Path) -> Result<(), HostError> {
        blocking(path, disk::make_dir).await
    }

    async fn syncfs(&self, path: &Path) -> Result<(), HostError> {
        blocking(path, disk::syncfs).await
    }

    fn cpus(&self) -> u32 {
        // It fails only where the kernel does not say; then there is at least the one that asks.
        std::thread::available_parallelism()
            .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
    }

    async fn memory(&self) -> Result<Memory, HostError> {
        disk::memory()
    }

    fn http_probe(
        &self,
        target: &ProbeTarget,
        timeout: Duration,
    ) -> impl Future<Output = ProbeOutcome> + Send {
        probe::probe(target, timeout)
    }

    async fn ballast(&self, path: &Path, bytes: u64) -> Result<(), HostError> {
        blocking(path, move |path| ballast::hold(path, bytes)).await
    }

    async fn release_ballast(&self, path: &Path) -> Result<(), HostError> {
        blocking(path, ballast::release).await
    }

    async fn lay(&self, tree: &LaidTree, shipped: &Path) -> Result<(), HostError> {
        let (tree, shipped) = (tree.clone(), shipped.to_owned());
        let dir = tree.dir.clone();
        blocking(&dir, move |dir| {
            lay::lay(&tree, &shipped).map_err(|error| HostError::io("lay down", dir, &error))
        })
        .await
    }

    async fn identity(&self, path: &Path) -> Result<u64, HostError> {
        blocking(path, disk::identity).await
    }

    async fn same_mount(&self, a: &Path, b: &Path) -> Result<bool, HostError> {
        let b = b.to_owned();
        blocking(a, move |a| disk::same_mount(a, &b)).await
    }

    fn tcp_probe(
        &self,
        addr: SocketAddr,
        timeout: Duration,
    ) -> impl Future<Output = ProbeOutcome> + Send {
        probe::connect(addr, timeout)
    }

    async fn stand_in(
        &self,
        doors: &[(Option<IpAddr>, u16)],
        page: &watch::Receiver<AwayPage>,
    ) -> StandIn {
        StandIn::listen(doors, page).await
    }
}

/// Runs `work` on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let owned = path.to_owned();
    match tokio::task::spawn_blocking(move || work(&owned)).await {
        Ok(result) => result,
        // It panicked, or the runtime is being taken down.
        Err(error) => Err(HostError::Unexpected {
            op: "work on",
            path: path.to_owned(),
            problem: error.to_string(),
        }),
    }
}
