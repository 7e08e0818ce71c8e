//! The state of a machine with Docker on it, in memory, and the rules by which it moves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_format::Digest;
use berth_format::service::Restart;
use jiff::Timestamp;
use tokio::sync::broadcast;

use super::fault::Faults;
use super::patient::{Behaviour, Data, Flaw, Role};
use super::random::Random;
use crate::api::Notice;
use crate::engine::spec::{MountSpec, NetworkChoice};
use crate::engine::{ContainerSpec, ContainerState, EngineError, Result};
use crate::store::Store;
use crate::update::{Event, Phase};

mod objects;
mod outage;

/// `DockerRootDir` of the fake.
pub const ROOT: &str = "/var/lib/docker";

/// Between two writes of the client that is always there.
const WRITE_EVERY: Duration = Duration::from_millis(400);
/// Docker's own pause before it starts a container again.
const BACKOFF: Duration = Duration::from_millis(100);
/// After so long Docker calls one that does not answer unhealthy.
const GIVES_UP: Duration = Duration::from_secs(2);

/// A container.
#[derive(Clone)]
pub struct Made {
    pub spec: Arc<ContainerSpec>,
    pub digest: Digest,
    pub id: u64,
    pub state: ContainerState,
    pub restart: Restart,
    pub restarts: u64,
    /// By hand, which `unless-stopped` remembers.
    pub stopped: bool,
    pub networks: BTreeSet<String>,
    pub started: Duration,
    pub ip: u32,
    /// When it ends by itself, and with what.
    pub end: Option<(Duration, i64)>,
}

impl Made {
    pub fn runs(&self) -> bool {
        self.state == ContainerState::Running
    }
}

/// What Docker keeps on its disk.
#[derive(Clone, Default)]
pub struct Docker {
    pub containers: BTreeMap<String, Made>,
    /// By name; whether it is internal, and of what it was made.
    pub networks: BTreeMap<String, (bool, Digest)>,
    pub volumes: BTreeSet<String>,
}

/// A folder of data.
#[derive(Debug, Clone)]
pub struct Folder {
    pub inode: u64,
    pub data: Data,
}

/// Whether Docker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Up,
    /// Until then; it was killed and starts anew, or only did not answer.
    Down {
        until: Duration,
        killed: bool,
    },
}

/// The machine.
pub struct World {
    pub now: Duration,
    pub random: Random,
    pub docker: Docker,
    /// What of it survives a power cut for sure.
    durable: Docker,
    pub folders: BTreeMap<PathBuf, Folder>,
    pub dirs: BTreeSet<PathBuf>,
    /// Ports that a program outside of Docker listens on.
    pub taken: BTreeSet<u16>,
    /// Folders that lie on mounts of their own.
    pub mounts: BTreeSet<PathBuf>,
    pub images: BTreeMap<String, Digest>,
    pub behaviours: BTreeMap<Digest, Behaviour>,
    /// The journal, which can fail like all else.
    pub journal: Option<Store>,
    /// Until then the product says that it works on its data in the background.
    pub busy: Duration,
    pub life: Life,
    pub faults: Faults,
    /// The process of berthd is no more: nothing that it asked for is answered.
    pub crashed: bool,
    /// Deadlines of those who sleep.
    pub timers: BTreeSet<Duration>,
    /// Somebody wants to be asked again at once.
    pub yielded: bool,
    /// The phase of the update, and whether its hop may change data.
    pub phase: Phase,
    pub may_change: Vec<bool>,
    pub hop: usize,
    pub phases: Option<broadcast::Receiver<Notice>>,
    /// Writes that a client was told are kept, by volume.
    pub acknowledged: BTreeMap<String, BTreeSet<u64>>,
    /// The same when a hop of a run began.
    pub begun: BTreeMap<(i64, usize), BTreeMap<String, BTreeSet<u64>>>,
    /// A power cut took what was not synced.
    pub lost: bool,
    last_write: Duration,
    writes: u64,
    made: u64,
    /// How often images were loaded.
    pub loads: u64,
    /// Times that Docker or the power went away.
    pub outages: u64,
    /// What must never be.
    pub violations: Vec<String>,
    pub trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Duration::from_secs(1000),
            random: Random::new(seed),
            docker: Docker::default(),
            durable: Docker::default(),
            folders: BTreeMap::new(),
            dirs: BTreeSet::new(),
            taken: BTreeSet::new(),
            mounts: BTreeSet::new(),
            images: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            journal: None,
            busy: Duration::ZERO,
            life: Life::Up,
            faults: Faults::default(),
            crashed: false,
            timers: BTreeSet::new(),
            yielded: false,
            phase: Phase::Idle,
            may_change: Vec::new(),
            hop: 0,
            begun: BTreeMap::new(),
            lost: false,
            phases: None,
            acknowledged: BTreeMap::new(),
            last_write: Duration::ZERO,
            writes: 0,
            made: 0,
            loads: 0,
            outages: 0,
            violations: Vec::new(),
            trace: None,
        }
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", self.now.as_secs_f64(), what()));
        }
    }

    pub fn violation(&mut self, what: String) {
        self.say(|| format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    pub fn timestamp(&self, at: Duration) -> Timestamp {
        let seconds = 1_800_000_000 + i64::try_from(at.as_secs()).unwrap_or_default();
        let nanos = i32::try_from(at.subsec_nanos()).unwrap_or_default();
        Timestamp::new(seconds, nanos).unwrap_or_default()
    }

    /// Where the data of a volume is.
    pub fn volume_dir(volume: &str) -> PathBuf {
        Path::new(ROOT).join("volumes").join(volume).join("_data")
    }

    /// Everything that happens by itself up to now.
    pub fn tick(&mut self) {
        self.hear();
        if self.faults.mute.is_some_and(|until| self.now >= until) {
            self.faults.mute = None;
            self.journal_writable(true);
        }
        if let Life::Down { until, killed } = self.life
            && self.now >= until
        {
            self.life = Life::Up;
            if killed {
                self.docker_starts();
            }
        }
        let ended: Vec<_> = self
            .docker
            .containers
            .iter()
            .filter_map(|(name, c)| {
                let (at, code) = c.end.filter(|_| c.runs())?;
                (at <= self.now).then(|| (name.clone(), code))
            })
            .collect();
        for (name, code) in ended {
            self.end(&name, code);
            let up = self.life == Life::Up;
            let again = self.docker.containers.get(&name).is_some_and(|c| {
                up && match c.restart {
                    Restart::No => false,
                    Restart::Always | Restart::UnlessStopped => true,
                    Restart::OnFailure { .. } => code != 0,
                }
            });
            if again && self.run(&name).is_ok() {
                let now = self.now;
                if let Some(c) = self.docker.containers.get_mut(&name) {
                    c.restarts += 1;
                    if let Some((at, _)) = &mut c.end {
                        *at = (*at).max(now + BACKOFF);
                    }
                }
            }
        }
        self.client();
        self.watch();
    }

    /// Whether berthd can write its journal.
    pub fn journal_writable(&mut self, writable: bool) {
        let done = self.journal.as_ref().map(|j| j.set_writable(writable));
        if let Some(Err(error)) = done {
            self.violation(format!("the journal: {error}"));
        }
    }

    /// What the driver journaled meanwhile.
    fn hear(&mut self) {
        let Some(mut phases) = self.phases.take() else {
            return;
        };
        loop {
            match phases.try_recv() {
                Ok(Notice::Journal(entry)) => {
                    self.say(|| format!("== {} {:?} {}", entry.phase, entry.event, entry.detail));
                    if entry.event == Event::Begun {
                        self.phase = entry.phase;
                        self.hop = entry.hop;
                        let begun = (entry.run, entry.hop);
                        let kept = &self.acknowledged;
                        self.begun.entry(begun).or_insert_with(|| kept.clone());
                    }
                }
                Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        self.phases = Some(phases);
    }

    /// A client writes wherever a door is open.
    fn client(&mut self) {
        if self.now < self.last_write + WRITE_EVERY {
            return;
        }
        let open: Vec<_> = self
            .docker
            .containers
            .iter()
            .filter(|(_, c)| self.publishes(c) && self.answers(c))
            .map(|(_, c)| Arc::clone(&c.spec))
            .collect();
        for spec in open {
            self.last_write = self.now;
            self.writes += 1;
            let write = self.writes;
            for volume in volumes(&spec) {
                if let Some(folder) = self.folders.get_mut(&Self::volume_dir(volume)) {
                    folder.data.writes.insert(write);
                    let kept = self.acknowledged.entry(volume.to_owned()).or_default();
                    kept.insert(write);
                }
            }
        }
    }

    /// What must hold at every instant.
    fn watch(&mut self) {
        let closed = self.may_change.get(self.hop) == Some(&true)
            && matches!(
                self.phase,
                Phase::Forward(
                    crate::update::Step::Snapshot
                        | crate::update::Step::Migrate
                        | crate::update::Step::Start
                        | crate::update::Step::Commit
                ) | Phase::Back(crate::update::Undo::Halt | crate::update::Undo::Restore)
            );
        if closed {
            let open: Vec<_> = self
                .docker
                .containers
                .iter()
                .filter(|(_, c)| self.publishes(c))
                .map(|(name, _)| name.clone())
                .collect();
            for name in open {
                self.violation(format!("the door of {name} is open in {}", self.phase));
            }
        }
        let mut users: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut both = None;
        for (name, c) in self.docker.containers.iter().filter(|(_, c)| c.runs()) {
            for volume in volumes(&c.spec) {
                if let Some(other) = users.insert((volume, c.spec.service.as_str()), name) {
                    both = Some(format!("{other} and {name} both run on {volume}"));
                }
            }
        }
        if let Some(both) = both {
            self.violation(both);
        }
    }

    pub fn behaviour(&self, spec: &ContainerSpec) -> Option<&Behaviour> {
        self.behaviours.get(&spec.image.config)
    }

    /// It publishes its ports.
    pub fn publishes(&self, c: &Made) -> bool {
        c.runs() && !c.spec.ports.is_empty() && self.on_bridge(c)
    }

    fn on_bridge(&self, c: &Made) -> bool {
        c.networks
            .iter()
            .any(|n| self.docker.networks.get(n).is_some_and(|n| !n.0))
    }

    /// It is well.
    pub fn answers(&self, c: &Made) -> bool {
        c.runs()
            && self.behaviour(&c.spec).is_some_and(|b| {
                b.fault != Some(Flaw::NeverHealthy) && self.now >= c.started + b.takes
            })
    }

    /// A database that is older than `below` answers.
    fn has_database(&self, below: u32) -> bool {
        self.docker.containers.values().any(|c| {
            let role = self.behaviour(&c.spec).map(|b| b.role);
            self.answers(c) && matches!(role, Some(Role::Database { format }) if format < below)
        })
    }

    fn port_conflict(&self, name: &str, spec: &ContainerSpec) -> Option<u16> {
        let wanted: BTreeSet<_> = spec.ports.iter().filter_map(|p| p.published).collect();
        self.docker
            .containers
            .iter()
            .filter(|(other, c)| *other != name && self.publishes(c))
            .flat_map(|(_, c)| &c.spec.ports)
            .filter_map(|p| p.published)
            .find(|p| wanted.contains(p))
    }

    /// Starts a container, as Docker would.
    pub fn run(&mut self, name: &str) -> Result<()> {
        let Some(c) = self.docker.containers.get(name) else {
            return Err(EngineError::Missing(format!("container {name}")));
        };
        if c.runs() {
            return Ok(());
        }
        let spec = Arc::clone(&c.spec);
        for network in &c.networks {
            if !self.docker.networks.contains_key(network) {
                return Err(EngineError::Refused(format!("network {network} not found")));
            }
        }
        if let NetworkChoice::Container(other) = &spec.network
            && !self.docker.containers.get(other).is_some_and(Made::runs)
        {
            return Err(EngineError::Refused(format!("{other} is not running")));
        }
        if self.on_bridge(c)
            && let Some(port) = self.port_conflict(name, &spec)
        {
            return Err(EngineError::PortInUse(port.to_string()));
        }
        let Some(behaviour) = self.behaviour(&spec).cloned() else {
            return Err(EngineError::Missing(format!("image of {name}")));
        };
        let once = matches!(
            behaviour.role,
            Role::Migration { .. } | Role::Premigration | Role::Dump { .. }
        );
        if once && c.state != ContainerState::Created {
            self.violation(format!("{name} is run twice"));
        }
        // Docker may have gone away since the database was up: then it asks in vain.
        let in_vain = matches!(behaviour.role, Role::Dump { below } if !self.has_database(below));
        for volume in volumes(&spec) {
            let migrated = volume.ends_with("_data");
            let Some(folder) = self.folders.get_mut(&Self::volume_dir(volume)) else {
                return Err(EngineError::Refused(format!("no such volume: {volume}")));
            };
            if let Err(why) = behaviour.open(&mut folder.data, migrated) {
                let why = format!("{name}: {why}, in {}", self.phase);
                self.violation(why);
            }
        }
        self.made += 1;
        let (now, ip) = (self.now, u32::try_from(self.made).unwrap_or_default());
        self.say(|| format!("   {name} runs"));
        if let Some(c) = self.docker.containers.get_mut(name) {
            c.state = ContainerState::Running;
            c.started = now;
            c.stopped = false;
            c.ip = ip;
            let end = behaviour.end();
            c.end = end.map(|(after, code)| (now + after, if in_vain { 1 } else { code }));
        }
        Ok(())
    }

    /// A container ends with a code.
    pub fn end(&mut self, name: &str, code: i64) {
        let Some(c) = self.docker.containers.get_mut(name) else {
            return;
        };
        if !c.runs() {
            return;
        }
        c.state = ContainerState::Exited { code };
        let spec = Arc::clone(&c.spec);
        self.say(|| format!("   {name} ends with {code}"));
        if let Some(behaviour) = self.behaviour(&spec).cloned() {
            for volume in volumes(&spec) {
                if let Some(folder) = self.folders.get_mut(&Self::volume_dir(volume)) {
                    behaviour.close(&mut folder.data, code);
                }
            }
        }
    }

    /// The smallest inode number that is free: filesystems use them again.
    pub fn inode(&self) -> u64 {
        let used: BTreeSet<u64> = self.folders.values().map(|f| f.inode).collect();
        (2..u64::MAX).find(|n| !used.contains(n)).unwrap_or(2)
    }
}

/// Volumes that a container may write to.
pub fn volumes(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    spec.mounts.iter().filter_map(|m| match m {
        MountSpec::Volume {
            name, read_only, ..
        } if !read_only => Some(name.as_str()),
        _ => None,
    })
}
