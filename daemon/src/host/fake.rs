//! A machine in memory that fails where it is told to: the other side of
//! [`crate::engine::fake::Fake`], on the same world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use berth_format::service::Protocol;
use rustix::io::Errno;
use tokio::sync::watch;

use super::{
    AwayPage, CopyStats, Disk, Host, HostError, LaidTree, Memory, PortHolder, ProbeOutcome,
    ProbeTarget, StandIn,
};
use crate::engine::fake::Fake;
use crate::engine::fake::fault::{Kind, Side};
use crate::engine::fake::world::{Folder, World};

/// Where a product says whether it still works in the background.
pub const DRAINED: &str = "/-/drained";

/// The machine.
#[derive(Clone)]
pub struct FakeHost {
    fake: Fake,
}

type Result<T> = std::result::Result<T, HostError>;

impl FakeHost {
    /// The machine that an engine runs on.
    pub fn of(fake: &Fake) -> Self {
        Self { fake: fake.clone() }
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        path: &Path,
        act: impl FnOnce(&mut World, bool) -> Result<T>,
    ) -> Result<T> {
        self.fake.give_way().await;
        let answer = {
            let world = &mut *self.fake.world();
            let verdict = world.enter(Side::Host, verb, &path.to_string_lossy());
            let path = path.to_owned();
            world.settle(verdict, act, |kind| match kind {
                Kind::NoSpace => HostError::NoSpace {
                    op: verb,
                    path,
                    wanted: None,
                    free: 0,
                    free_inodes: None,
                },
                _ => system(verb, &path, Errno::IO),
            })
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn probe(&self, addr: SocketAddr) -> ProbeOutcome {
        let world = self.fake.world();
        match world.at(addr.ip()) {
            Some(c) if world.answers(c) => ProbeOutcome::Good { status: 200 },
            Some(_) => ProbeOutcome::Refused,
            None => ProbeOutcome::Unreachable("no route to host".into()),
        }
    }
}

fn system(op: &'static str, path: &Path, errno: Errno) -> HostError {
    let path = path.to_owned();
    HostError::System { op, path, errno }
}

impl Host for FakeHost {
    fn now(&self) -> jiff::Timestamp {
        let world = self.fake.world();
        world.timestamp(world.now)
    }

    fn monotonic(&self) -> Duration {
        self.fake.world().now
    }

    async fn sleep(&self, duration: Duration) {
        self.fake.sleep(duration).await;
    }

    async fn disk(&self, _: &Path) -> Result<Disk> {
        Ok(Disk {
            total: 1 << 40,
            free: 1 << 39,
            free_inodes: None,
            filesystem: 1,
        })
    }

    async fn tree_size(&self, _: &Path) -> Result<u64> {
        Ok(1 << 20)
    }

    async fn port_holder(
        &self,
        ip: Option<IpAddr>,
        port: u16,
        _: Protocol,
    ) -> Result<Option<PortHolder>> {
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let holder = PortHolder {
            address: (ip, port).into(),
            pid: Some(812),
            program: Some("nginx".into()),
        };
        Ok(self.fake.world().taken.contains(&port).then_some(holder))
    }

    async fn copy_tree(&self, from: &Path, to: &Path) -> Result<CopyStats> {
        self.call("copy_tree", to, |w, whole| {
            if w.folders.contains_key(to) {
                let (op, path) = ("copy", to.to_owned());
                return Err(HostError::AlreadyThere { op, path });
            }
            let parent = to.parent().unwrap_or(to);
            let Some(folder) = w.folders.get(from).filter(|_| w.dirs.contains(parent)) else {
                return Err(system("copy", from, Errno::NOENT));
            };
            let data = folder.data.clone();
            // Cut off half way it is a `.partial` that nobody looks at.
            if whole {
                let inode = w.inode();
                w.folders.insert(to.to_owned(), Folder { inode, data });
            }
            Ok(CopyStats::default())
        })
        .await
    }

    async fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        self.call("exchange", b, |w, _| {
            let (Some(one), Some(two)) = (w.folders.get(a).cloned(), w.folders.get(b).cloned())
            else {
                return Err(system("exchange", b, Errno::NOENT));
            };
            w.folders.insert(a.to_owned(), two);
            w.folders.insert(b.to_owned(), one);
            Ok(())
        })
        .await
    }

    async fn remove_tree(&self, path: &Path) -> Result<()> {
        self.call("remove_tree", path, |w, whole| {
            let mut below: Vec<_> = w
                .folders
                .keys()
                .filter(|p| p.starts_with(path))
                .cloned()
                .collect();
            if !whole {
                below.truncate(1);
            }
            for gone in below {
                w.folders.remove(&gone);
            }
            if whole {
                w.dirs.retain(|dir| !dir.starts_with(path));
            }
            Ok(())
        })
        .await
    }

    async fn exists(&self, path: &Path) -> Result<bool> {
        self.call("exists", path, |w, _| {
            Ok(w.dirs.contains(path) || w.folders.contains_key(path))
        })
        .await
    }

    async fn make_dir(&self, path: &Path) -> Result<()> {
        self.call("make_dir", path, |w, _| {
            w.dirs.extend(path.ancestors().map(Path::to_owned));
            Ok(())
        })
        .await
    }

    async fn syncfs(&self, path: &Path) -> Result<()> {
        self.call("syncfs", path, |w, _| {
            w.sync();
            Ok(())
        })
        .await
    }

    fn cpus(&self) -> u32 {
        4
    }

    async fn memory(&self) -> Result<Memory> {
        Ok(Memory {
            total: 8 << 30,
            available: 6 << 30,
        })
    }

    async fn http_probe(&self, target: &ProbeTarget, _: Duration) -> ProbeOutcome {
        let busy = {
            let world = self.fake.world();
            target.path == DRAINED && world.now < world.busy
        };
        if busy {
            let (status, body_start) = (503, "2 jobs left".into());
            return ProbeOutcome::BadStatus { status, body_start };
        }
        self.probe(target.addr)
    }

    async fn ballast(&self, path: &Path, _: u64) -> Result<()> {
        self.call("ballast", path, |w, _| {
            w.dirs.insert(path.to_owned());
            Ok(())
        })
        .await
    }

    async fn release_ballast(&self, path: &Path) -> Result<()> {
        self.call("release_ballast", path, |w, _| {
            w.dirs.remove(path);
            Ok(())
        })
        .await
    }

    async fn lay(&self, tree: &LaidTree, _: &Path) -> Result<()> {
        self.call("lay", &tree.dir, |_, _| Ok(())).await
    }

    async fn identity(&self, path: &Path) -> Result<u64> {
        self.call("identity", path, |w, _| match w.folders.get(path) {
            Some(folder) => Ok(folder.inode),
            None => Err(system("identity", path, Errno::NOENT)),
        })
        .await
    }

    async fn same_mount(&self, a: &Path, b: &Path) -> Result<bool> {
        let world = self.fake.world();
        let mount = |path: &Path| {
            path.ancestors()
                .find(|p| world.mounts.contains(*p))
                .map(Path::to_owned)
        };
        Ok(mount(a) == mount(b))
    }

    /// Nobody outside looks at a door in the seeded runs.
    async fn stand_in(
        &self,
        _: &[(Option<IpAddr>, u16)],
        _: &watch::Receiver<AwayPage>,
    ) -> StandIn {
        StandIn::default()
    }

    async fn tcp_probe(&self, addr: SocketAddr, _: Duration) -> ProbeOutcome {
        self.probe(addr)
    }
}
