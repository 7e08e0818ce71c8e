//! What every step has at hand: the seams, the journal, and the scene of its hop.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_format::release::{Migration, MigrationPhase};
use berth_format::service::NetworkMode;
use berth_format::{Code, Name, Refusal, Release};
use futures_util::future::BoxFuture;
use semver::Version;
use tokio::sync::broadcast;

use super::away::Away;
use super::plan::{Action, Hop};
use super::resolve::{Place, ResolveError, Resolver};
use crate::api::{Notice, internal};
use crate::engine::spec::{ContainerSpec, NetworkChoice};
use crate::engine::{self, Engine, EngineError};
use crate::host::{Host, HostError, LaidTree};
use crate::store::{Installed, Run, Store, StoreError};

/// How long a verb waits for a Docker that went away: it restarts.
const PATIENCE: Duration = Duration::from_mins(2);

/// Bytes that are held on each filesystem.
const BALLAST: u64 = 16 << 20;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// Brings the images of releases into Docker, durably, from where they were offered.
pub type Bring = Arc<dyn Fn(Vec<Version>) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

/// The seams and the journal.
#[derive(Clone)]
pub struct Context<E, H> {
    pub engine: E,
    pub host: H,
    pub store: Store,
    pub place: Place,
    pub notices: broadcast::Sender<Notice>,
    /// `None` after a restart: what was offered is gone.
    pub bring: Option<Bring>,
    /// How often Docker did not answer.
    pub outages: Outages,
    /// Answers at the front door while nobody else does.
    pub away: Away,
}

/// Counts how often Docker did not answer: what failed meanwhile is no fault of a release.
#[derive(Debug, Clone, Default)]
pub struct Outages(Arc<AtomicU64>);

impl Outages {
    /// So far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<E: Engine, H: Host> Context<E, H> {
    /// Calls the engine, and calls again while it is away.
    pub async fn engine<T, F>(&self, mut call: impl FnMut(E) -> F) -> engine::Result<T>
    where
        F: Future<Output = engine::Result<T>>,
    {
        // A call may take hours before Docker goes away in its middle.
        let mut away: Option<Duration> = None;
        loop {
            match call(self.engine.clone()).await {
                Err(EngineError::Gone(why)) => {
                    self.outages.add();
                    let now = self.host.monotonic();
                    let since = *away.get_or_insert(now);
                    if now.saturating_sub(since) >= PATIENCE {
                        return Err(EngineError::Gone(why));
                    }
                    self.host.sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// Tells who listens; nobody may.
    pub fn tell(&self, notice: Notice) {
        // An error only says that nobody listens.
        drop(self.notices.send(notice));
    }

    /// What Docker holds is on the disk.
    pub async fn sync_docker(&self) -> Result<(), StepError> {
        let root = self.docker_root().await?;
        Ok(self.host.syncfs(&root).await?)
    }

    /// Where Docker keeps its data.
    pub async fn docker_root(&self) -> Result<PathBuf, StepError> {
        Ok(self.engine(|e| async move { e.info().await }).await?.root)
    }

    /// Holds some room on every filesystem that a way back writes to: a full disk can refuse even
    /// the start of a container.
    pub async fn hold_ballast(&self, product: &str) -> Result<(), StepError> {
        for path in self.ballast(product).await? {
            self.host.ballast(&path, BALLAST).await?;
        }
        Ok(())
    }

    /// Lets that room go. What is not there is success.
    pub async fn release_ballast(&self, product: &str) -> Result<(), StepError> {
        for path in self.ballast(product).await? {
            self.host.release_ballast(&path).await?;
        }
        Ok(())
    }

    async fn ballast(&self, product: &str) -> Result<Vec<PathBuf>, StepError> {
        let info = self.engine(|e| async move { e.info().await }).await?;
        let mut all = vec![snapshots_root(&info.root, product).join("ballast")];
        // containerd keeps what containers write where it keeps images, if it keeps them.
        let others = info
            .data_roots
            .iter()
            .filter(|r| !r.starts_with(&info.root));
        all.extend(others.map(|root| root.join(format!("berth-ballast-{product}"))));
        Ok(all)
    }

    /// Snapshots of one hop of one run: below Docker's root, so on the mount of the volumes.
    pub async fn snapshots(&self, run: &Run) -> Result<PathBuf, StepError> {
        let root = self.docker_root().await?;
        Ok(snapshot_dir(
            &root,
            run.plan.product.as_str(),
            run.id,
            run.hop,
        ))
    }
}

/// Every snapshot of a product.
pub fn snapshots_root(root: &std::path::Path, product: &str) -> PathBuf {
    root.join("berth-snapshots").join(product)
}

/// The snapshots of one hop of one run.
pub fn snapshot_dir(root: &std::path::Path, product: &str, run: i64, hop: usize) -> PathBuf {
    snapshots_root(root, product).join(format!("{run}-{hop}"))
}

/// Why a step failed. Each step gives it its own code.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Said in full already.
    #[error("{0}")]
    Refused(Box<Refusal>),
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl StepError {
    /// The refusal that a person reads; `code` where it has none of its own.
    pub fn refusal(self, code: Code) -> Refusal {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Engine(EngineError::PortInUse(what)) => {
                Refusal::new(Code::PortInUse, "a port of the product is in use").found(what)
            }
            Self::Host(error @ HostError::NoSpace { .. }) => {
                Refusal::new(Code::DiskSpace, code.means()).found(error.to_string())
            }
            other => Refusal::new(code, code.means()).found(other.to_string()),
        }
    }
}

/// Both sides of a hop, resolved.
pub struct Scene {
    pub hop: Hop,
    pub values: BTreeMap<String, String>,
    pub new: Release,
    /// The stack before the hop; `None` at a first install. After the commit it is gone.
    pub old: Option<(Release, Installed)>,
    pub place: Place,
}

impl Scene {
    /// Reads both sides from the store.
    pub fn load(store: &Store, run: &Run, place: &Place) -> Result<Self, StepError> {
        let hop = run
            .plan
            .hops
            .get(run.hop)
            .ok_or_else(|| internal("a run without its hop"))?;
        let release = |version: &Version| -> Result<Release, StepError> {
            match store.release(version)? {
                Some(stored) => Ok(stored.release),
                None => Err(internal(format!("release {version} is not in the store")).into()),
            }
        };
        let old = match store.installed()? {
            Some(installed) => Some((release(&installed.version)?, installed)),
            None => None,
        };
        Ok(Self {
            hop: hop.clone(),
            values: run.values(),
            new: release(&hop.to)?,
            old,
            place: place.clone(),
        })
    }

    /// The container of a service of the new release.
    pub fn new_spec(&self, name: &Name) -> Result<(ContainerSpec, Vec<LaidTree>), StepError> {
        let networks = self.network_names();
        let change = self.hop.services.get(name);
        let resolver = Resolver {
            release: &self.new,
            values: &self.values,
            place: &self.place,
            networks: &networks,
            generation: change.map_or(self.hop.generation, |c| c.generation),
        };
        Ok(resolver.service(name, self.shared(&self.new, name).as_deref())?)
    }

    /// The container of a migration of the new release.
    pub fn migration_spec(&self, name: &Name) -> Result<(ContainerSpec, Vec<LaidTree>), StepError> {
        let migration = self.new.migrations.iter().find(|m| m.name == *name);
        let migration =
            migration.ok_or_else(|| internal(format!("migration {name} is not in the release")))?;
        let planned = self.hop.migrations.iter().find(|m| m.name == *name);
        let mut networks = self.network_names();
        // Beside the old stack it talks to the old stack, on whose networks that is.
        if planned.is_some_and(|p| p.phase == MigrationPhase::Before) {
            networks.extend(self.old_network_names());
        }
        let resolver = Resolver {
            release: &self.new,
            values: &self.values,
            place: &self.place,
            networks: &networks,
            generation: self.hop.generation,
        };
        let (mut spec, laid) = resolver.migration(migration, None)?;
        if migration.needs.iter().any(|need| need.old) {
            self.reach_old(&mut spec, migration);
        }
        Ok((spec, laid))
    }

    /// Puts a migration also on the old networks, where a service of the old stack is.
    fn reach_old(&self, spec: &mut ContainerSpec, migration: &Migration) {
        let (NetworkChoice::Networks(chosen), NetworkMode::Networks(wanted)) =
            (&mut spec.network, &migration.service.network)
        else {
            return;
        };
        for (label, name) in self.old_network_names() {
            let is_on = wanted.keys().any(|w| w.as_str() == label);
            if is_on && !chosen.iter().any(|(real, _)| *real == name) {
                chosen.push((name, BTreeSet::new()));
            }
        }
    }

    /// The product's own networks of the old stack.
    fn old_network_names(&self) -> BTreeMap<String, String> {
        let networks = self.old.iter().flat_map(|(_, i)| &i.networks);
        networks
            .filter(|(label, _)| self.hop.networks.contains_key(*label))
            .map(|(label, n)| (label.clone(), n.name.clone()))
            .collect()
    }

    fn network_names(&self) -> BTreeMap<String, String> {
        self.hop
            .networks
            .iter()
            .map(|(label, n)| (label.clone(), n.name.clone()))
            .collect()
    }

    fn shared(&self, release: &Release, name: &Name) -> Option<String> {
        match &release.services.get(name)?.network {
            NetworkMode::Service(other) => self.hop.services.get(other)?.new.clone(),
            _ => None,
        }
    }

    /// Containers of the new stack by service.
    pub fn new_containers(&self) -> BTreeMap<Name, String> {
        self.hop
            .services
            .iter()
            .filter_map(|(name, change)| Some((name.clone(), change.new.clone()?)))
            .collect()
    }

    /// Containers of the old stack by service.
    pub fn old_containers(&self) -> BTreeMap<Name, String> {
        let services = self
            .old
            .iter()
            .flat_map(|(_, installed)| &installed.services);
        services
            .map(|(name, placed)| (name.clone(), placed.container.clone()))
            .collect()
    }

    /// Whether this hop leaves the container alone.
    pub fn keeps(&self, container: &str) -> bool {
        self.hop
            .services
            .values()
            .any(|change| change.action == Action::Keep && change.new.as_deref() == Some(container))
    }
}

/// The container of a service of the committed stack, as it was made.
pub fn installed_spec(
    release: &Release,
    installed: &Installed,
    place: &Place,
    name: &Name,
) -> Result<(ContainerSpec, Vec<LaidTree>), StepError> {
    let networks = installed
        .networks
        .iter()
        .map(|(label, n)| (label.clone(), n.name.clone()))
        .collect();
    let placed = installed.services.get(name);
    let resolver = Resolver {
        release,
        values: &installed.values,
        place,
        networks: &networks,
        generation: placed.map_or(installed.generation, |p| p.generation),
    };
    let shared = match release.services.get(name).map(|s| &s.network) {
        Some(NetworkMode::Service(other)) => {
            installed.services.get(other).map(|p| p.container.clone())
        }
        _ => None,
    };
    Ok(resolver.service(name, shared.as_deref())?)
}
