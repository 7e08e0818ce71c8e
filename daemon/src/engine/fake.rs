//! An engine in memory that fails where it is told to.
//!
//! It shares one [`World`] with [`crate::host::fake::FakeHost`]: containers that write to their
//! volumes, a client that writes through open doors, Docker's restart policies as they were
//! measured, a clock that only moves when somebody waits.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use berth_format::service::Restart;
use berth_format::{Digest, Product};
use futures_util::Stream;
use semver::Version;

use super::{
    Container, ContainerSpec, ContainerState, Engine, EngineError, EngineInfo, Event, ImageStore,
    NetworkSpec, Result, TarStream, VolumeSpec,
};

pub mod fault;
pub mod patient;
pub mod random;
pub mod world;

use fault::{Kind, Side, Verdict};
use world::{ROOT, World};

/// Between two looks of one who waits for a container.
const LOOK: Duration = Duration::from_millis(100);
/// What a container takes to stop.
const STOPS: Duration = Duration::from_millis(80);

/// The engine.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<World>>,
}

impl Fake {
    pub fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// The machine.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its clock.
    pub fn now(&self) -> Duration {
        self.world().now
    }

    /// Brings images by tag and id, as a load does.
    pub async fn load_images(&self, images: Vec<(String, Digest)>) -> Result<()> {
        self.call("load", "", |w, _| {
            w.loads += 1;
            w.images.extend(images);
            Ok(())
        })
        .await
    }

    /// One call: `act` is told whether all of it is to be done.
    async fn call<T>(
        &self,
        verb: &'static str,
        what: &str,
        act: impl FnOnce(&mut World, bool) -> Result<T>,
    ) -> Result<T> {
        self.give_way().await;
        let answer = {
            let world = &mut *self.world();
            let verdict = world.enter(Side::Engine, verb, what);
            world.settle(verdict, act, error)
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Lets others go first, once.
    pub async fn give_way(&self) {
        let mut first = true;
        poll_fn(|_| {
            if std::mem::take(&mut first) {
                self.world().yielded = true;
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Sleeps by the world's clock.
    pub async fn sleep(&self, time: Duration) {
        let until = self.world().now + time;
        poll_fn(|_| {
            let mut world = self.world();
            if world.crashed {
                Poll::Pending
            } else if world.now >= until {
                Poll::Ready(())
            } else {
                world.timers.insert(until);
                Poll::Pending
            }
        })
        .await;
    }

    /// Runs a future until it ends; `None` when berthd is killed. Time passes only when everybody
    /// waits.
    pub fn execute<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            self.world().timers.clear();
            woken.0.store(false, Ordering::Relaxed);
            let mut context = Context::from_waker(&waker);
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return Some(value);
            }
            let mut world = self.world();
            if world.crashed || !world.violations.is_empty() {
                return None;
            }
            if std::mem::take(&mut world.yielded) || woken.0.load(Ordering::Relaxed) {
                continue;
            }
            let Some(next) = world.timers.first().copied() else {
                world.violation("everybody waits, for nothing".into());
                return None;
            };
            world.now = world.now.max(next);
            world.tick();
        }
    }
}

/// Somebody has news for another one.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// Does what the verdict says; `None`: nobody is answered any more.
    pub fn settle<T, E>(
        &mut self,
        verdict: Verdict,
        act: impl FnOnce(&mut World, bool) -> std::result::Result<T, E>,
        error: impl FnOnce(Kind) -> E,
    ) -> Option<std::result::Result<T, E>> {
        match verdict {
            Verdict::Do => Some(act(self, true)),
            Verdict::Fail(kind) => Some(Err(error(kind))),
            Verdict::DoThenFail(kind) => {
                let result = act(self, true);
                Some(result.and(Err(error(kind))))
            }
            Verdict::Stop => None,
            Verdict::DoThenStop | Verdict::PartThenStop => {
                drop(act(self, verdict == Verdict::DoThenStop));
                if std::mem::take(&mut self.faults.power) {
                    self.power_cut();
                }
                self.crashed = true;
                None
            }
        }
    }
}

fn error(kind: Kind) -> EngineError {
    match kind {
        Kind::Gone => EngineError::Gone("the connection broke".into()),
        Kind::Refused => EngineError::Refused("input/output error".into()),
        Kind::TimedOut => EngineError::TimedOut(Duration::from_secs(30)),
        Kind::NoSpace => EngineError::Refused("no space left on device".into()),
    }
}

fn missing(name: &str) -> EngineError {
    EngineError::Missing(name.to_owned())
}

impl Engine for Fake {
    async fn info(&self) -> Result<EngineInfo> {
        self.call("info", "", |_, _| {
            Ok(EngineInfo {
                version: Version::new(28, 5, 0),
                version_text: "28.5.0".into(),
                api: (1, 51),
                architecture: "amd64".into(),
                cpus: 4,
                memory: 8 << 30,
                root: ROOT.into(),
                image_store: ImageStore::GraphDriver,
                data_roots: vec![ROOT.into()],
            })
        })
        .await
    }

    async fn load(&self, _: TarStream) -> Result<()> {
        Err(EngineError::Refused("the fake reads no tar".into()))
    }

    async fn image_exists(&self, id: Digest) -> Result<bool> {
        self.call("image_exists", &id.short(), |w, _| {
            Ok(w.images.values().any(|image| *image == id))
        })
        .await
    }

    async fn remove_image(&self, tag: &str) -> Result<()> {
        self.call("remove_image", tag, |w, _| {
            let Some(id) = w.images.get(tag).copied() else {
                return Ok(());
            };
            let last = w.images.values().filter(|image| **image == id).count() == 1;
            let used = w.docker.containers.values();
            if last && used.into_iter().any(|c| c.spec.image.config == id) {
                return Err(EngineError::Refused(format!("{tag} is being used")));
            }
            w.images.remove(tag);
            Ok(())
        })
        .await
    }

    async fn image_tags(&self, product: &Product) -> Result<Vec<String>> {
        let prefix = format!("berth.local/{product}/");
        self.call("image_tags", "", |w, _| {
            let tags = w.images.keys().filter(|tag| tag.starts_with(&prefix));
            Ok(tags.cloned().collect())
        })
        .await
    }

    async fn containers(&self, _: &Product) -> Result<Vec<Container>> {
        self.call("containers", "", |w, _| {
            Ok(w.docker
                .containers
                .keys()
                .filter_map(|name| w.view(name))
                .collect())
        })
        .await
    }

    async fn inspect(&self, name: &str) -> Result<Option<Container>> {
        self.call("inspect", name, |w, _| Ok(w.view(name))).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.call("create", &spec.name, |w, whole| w.create(spec, whole))
            .await
    }

    async fn start(&self, name: &str) -> Result<()> {
        self.call("start", name, |w, _| w.run(name)).await
    }

    async fn stop(&self, name: &str, _: Duration) -> Result<()> {
        let runs = self
            .call("stop", name, |w, _| {
                Ok(w.docker.containers.get_mut(name).is_some_and(|c| {
                    c.stopped |= c.runs();
                    c.runs()
                }))
            })
            .await?;
        if !runs {
            return Ok(());
        }
        self.sleep(STOPS).await;
        self.call("stopped", name, |w, _| {
            let code = w.random.pick(&[0, 143, 137]);
            w.end(name, code);
            Ok(())
        })
        .await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.call("remove", name, |w, _| {
            w.end(name, 137);
            w.docker.containers.remove(name);
            Ok(())
        })
        .await
    }

    async fn set_restart(&self, name: &str, policy: Restart) -> Result<()> {
        self.call("set_restart", &format!("{name} {policy:?}"), |w, _| {
            let c = w.docker.containers.get_mut(name);
            c.ok_or_else(|| missing(name))?.restart = policy;
            Ok(())
        })
        .await
    }

    async fn wait(&self, name: &str) -> Result<i64> {
        loop {
            let code = self
                .call("wait", name, |w, _| {
                    match w.docker.containers.get(name).map(|c| c.state) {
                        None => Err(missing(name)),
                        Some(ContainerState::Running) => Ok(None),
                        Some(ContainerState::Exited { code }) => Ok(Some(code)),
                        Some(_) => Ok(Some(0)),
                    }
                })
                .await?;
            if let Some(code) = code {
                return Ok(code);
            }
            self.sleep(LOOK).await;
        }
    }

    async fn exec(&self, name: &str, _: &[String], _: Duration) -> Result<i64> {
        self.call("exec", name, |w, _| {
            let c = w.docker.containers.get(name).ok_or_else(|| missing(name))?;
            Ok(i64::from(!w.answers(c)))
        })
        .await
    }

    async fn tail(&self, name: &str, _: usize) -> Result<Vec<String>> {
        self.call("tail", name, |_, _| Ok(vec!["the last line".into()]))
            .await
    }

    /// Who would listen is not part of the seeded runs.
    fn events(&self, _: &Product) -> Result<impl Stream<Item = Result<Event>> + Send + use<>> {
        Ok(futures_util::stream::pending())
    }

    async fn networks(&self, _: &Product) -> Result<Vec<String>> {
        self.call("networks", "", |w, _| {
            Ok(w.docker.networks.keys().cloned().collect())
        })
        .await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        self.call("create_network", &spec.name, |w, _| w.create_network(spec))
            .await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.call("remove_network", name, |w, _| {
            let mut all = w.docker.containers.values();
            if all.any(|c| c.runs() && c.networks.contains(name)) {
                return Err(EngineError::Refused("has active endpoints".into()));
            }
            w.docker.networks.remove(name);
            Ok(())
        })
        .await
    }

    async fn connect(&self, network: &str, container: &str, _: &[String]) -> Result<()> {
        self.call("connect", &format!("{network} {container}"), |w, _| {
            w.connect(network, container)
        })
        .await
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<()> {
        self.call("disconnect", &format!("{network} {container}"), |w, _| {
            if let Some(c) = w.docker.containers.get_mut(container) {
                c.networks.remove(network);
            }
            Ok(())
        })
        .await
    }

    async fn volumes(&self, _: &Product) -> Result<Vec<String>> {
        self.call("volumes", "", |w, _| {
            Ok(w.docker.volumes.iter().cloned().collect())
        })
        .await
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<()> {
        self.call("create_volume", &spec.name, |w, _| {
            w.add_volume(&spec.name);
            Ok(())
        })
        .await
    }

    async fn volume_path(&self, name: &str) -> Result<Option<PathBuf>> {
        self.call("volume_path", name, |w, _| {
            Ok(w.docker
                .volumes
                .contains(name)
                .then(|| World::volume_dir(name)))
        })
        .await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.call("remove_volume", name, |w, _| {
            let uses = |c: &world::Made| world::volumes(&c.spec).any(|v| v == name);
            if w.docker.containers.values().any(uses) {
                return Err(EngineError::Refused(format!("volume {name} is in use")));
            }
            w.docker.volumes.remove(name);
            w.folders.remove(&World::volume_dir(name));
            Ok(())
        })
        .await
    }
}
