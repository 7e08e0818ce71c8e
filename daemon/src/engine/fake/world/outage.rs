//! Docker that goes away and comes back, and power that does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use berth_format::service::Restart;

use super::{Life, ROOT, World};
use crate::engine::ContainerState;

impl World {
    /// dockerd starts after it was killed: what ran is dead, then restart policies act. As
    /// measured: `always` and `on-failure` start even what was stopped on purpose, and
    /// `unless-stopped` may forget what ran.
    pub(super) fn docker_starts(&mut self) {
        self.say(|| "** dockerd starts".into());
        let names: Vec<_> = self.docker.containers.keys().cloned().collect();
        let mut starts = Vec::new();
        for name in names {
            let forgets = self.random.chance(20);
            let Some(c) = self.docker.containers.get(&name) else {
                continue;
            };
            let ran = c.runs();
            let policy = c.restart;
            let stopped = c.stopped;
            self.end(&name, 137);
            let code = match self.docker.containers.get(&name).map(|c| c.state) {
                Some(ContainerState::Exited { code }) => Some(code),
                _ => None,
            };
            let again = match policy {
                Restart::No => false,
                Restart::Always => code.is_some(),
                Restart::OnFailure { .. } => code.is_some_and(|code| code != 0),
                Restart::UnlessStopped => (ran || code.is_some()) && !stopped && !forgets,
            };
            if again {
                starts.push(name);
            }
        }
        // Twice: one that shares the network of another waits for it.
        for name in starts.iter().chain(&starts) {
            if let Err(error) = self.run(name) {
                self.say(|| format!("   {name} stays down: {error}"));
            }
        }
    }

    /// dockerd is killed, or only deaf.
    pub fn docker_goes(&mut self, down: Duration, killed: bool) {
        self.say(|| format!("** dockerd is gone for {down:?}, killed: {killed}"));
        self.outages += 1;
        let until = self.now + down;
        let killed = killed || matches!(self.life, Life::Down { killed: true, .. });
        self.life = Life::Down { until, killed };
    }

    /// The machine loses power, and comes back.
    pub fn power_cut(&mut self) {
        self.say(|| "** power cut".into());
        self.outages += 1;
        let names: Vec<_> = self.docker.containers.keys().cloned().collect();
        for name in names {
            self.end(&name, 137);
        }
        if self.random.chance(60) {
            self.say(|| "** what was not synced is lost".into());
            self.lost = true;
            let running: BTreeMap<String, ContainerState> = self
                .docker
                .containers
                .iter()
                .map(|(name, c)| (name.clone(), c.state))
                .collect();
            self.docker = self.durable.clone();
            for (name, c) in &mut self.docker.containers {
                // Exit states do not matter so much; what was running when it was synced is dead.
                if c.runs() {
                    c.state = running
                        .get(name)
                        .copied()
                        .filter(|s| *s != ContainerState::Running)
                        .unwrap_or(ContainerState::Exited { code: 137 });
                }
            }
            let volumes = &self.docker.volumes;
            let lost: Vec<_> = self
                .folders
                .keys()
                .filter(|path| {
                    path.starts_with(Path::new(ROOT).join("volumes"))
                        && !volumes.iter().any(|v| Self::volume_dir(v) == **path)
                })
                .cloned()
                .collect();
            for path in lost {
                self.folders.remove(&path);
            }
            for volume in std::mem::take(&mut self.docker.volumes) {
                self.add_volume(&volume);
            }
        }
        self.crashed = true;
        self.life = Life::Up;
        self.docker_starts();
    }

    /// Everything of Docker's is on the disk.
    pub fn sync(&mut self) {
        self.durable = self.docker.clone();
    }
}
