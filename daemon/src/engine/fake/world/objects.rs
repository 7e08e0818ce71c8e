//! Containers, networks and volumes: made, connected, looked at.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use berth_format::Digest;
use berth_format::service::Restart;

use super::{Data, Folder, GIVES_UP, Made, World, volumes};
use crate::engine::spec::{HealthSpec, NetworkChoice, NetworkSpec};
use crate::engine::{Container, ContainerSpec, ContainerState, EngineError, Health, Result};

impl World {
    pub fn add_volume(&mut self, name: &str) {
        if self.docker.volumes.insert(name.to_owned()) {
            let inode = self.inode();
            let data = Data::default();
            self.folders
                .entry(Self::volume_dir(name))
                .or_insert(Folder { inode, data });
        }
    }

    /// Creates a container; `networks` false: it is cut off before the networks after the first.
    pub fn create(&mut self, spec: &ContainerSpec, networks: bool) -> Result<()> {
        let wanted: Vec<&String> = match &spec.network {
            NetworkChoice::Networks(all) => all.iter().map(|(name, _)| name).collect(),
            _ => Vec::new(),
        };
        let digest = spec.digest();
        if let Some(found) = self.docker.containers.get_mut(&spec.name) {
            if found.digest != digest {
                return Err(EngineError::Conflict(spec.name.clone()));
            }
            if networks {
                found.networks.extend(wanted.into_iter().cloned());
            }
            return Ok(());
        }
        if let Some(missing) = wanted
            .iter()
            .find(|n| !self.docker.networks.contains_key(**n))
        {
            return Err(EngineError::Missing(format!("network {missing}")));
        }
        if !self.images.values().any(|id| *id == spec.image.config) {
            return Err(EngineError::Missing(format!("image {}", spec.image.tag)));
        }
        for volume in volumes(spec) {
            self.add_volume(volume);
        }
        self.made += 1;
        let take = if networks { wanted.len() } else { 1 };
        let made = Made {
            spec: Arc::new(spec.clone()),
            digest,
            id: self.made,
            state: ContainerState::Created,
            restart: Restart::No,
            restarts: 0,
            stopped: false,
            networks: wanted.into_iter().take(take).cloned().collect(),
            started: Duration::ZERO,
            ip: 0,
            end: None,
        };
        self.docker.containers.insert(spec.name.clone(), made);
        Ok(())
    }

    /// Creates a network.
    pub fn create_network(&mut self, spec: &NetworkSpec) -> Result<()> {
        let plain = NetworkSpec {
            generation: 0,
            ..spec.clone()
        };
        let digest = Digest::of(&berth_format::canonical(&plain));
        match self.docker.networks.get(&spec.name) {
            Some((_, found)) if *found == digest => Ok(()),
            Some(_) => Err(EngineError::Conflict(format!("network {}", spec.name))),
            None => {
                let made = (spec.internal, digest);
                self.docker.networks.insert(spec.name.clone(), made);
                Ok(())
            }
        }
    }

    /// Connects a container.
    pub fn connect(&mut self, network: &str, name: &str) -> Result<()> {
        let Some(&(internal, _)) = self.docker.networks.get(network) else {
            return Err(EngineError::Missing(format!("network {network}")));
        };
        let Some(c) = self.docker.containers.get(name) else {
            return Err(EngineError::Missing(format!("container {name}")));
        };
        if c.networks.contains(network) {
            return Ok(());
        }
        if !internal
            && c.runs()
            && let Some(port) = self.port_conflict(name, &Arc::clone(&c.spec))
        {
            return Err(EngineError::PortInUse(port.to_string()));
        }
        if let Some(c) = self.docker.containers.get_mut(name) {
            c.networks.insert(network.to_owned());
        }
        Ok(())
    }

    /// Docker's view of a container.
    pub fn view(&self, name: &str) -> Option<Container> {
        let c = self.docker.containers.get(name)?;
        let health = match &c.spec.healthcheck {
            None | Some(HealthSpec::Disabled) => Health::None,
            Some(_) if self.answers(c) => Health::Healthy,
            Some(_) if c.runs() && self.now < c.started + GIVES_UP => Health::Starting,
            Some(_) => Health::Unhealthy,
        };
        let started = (c.started > Duration::ZERO).then(|| self.timestamp(c.started));
        let ip = c
            .runs()
            .then(|| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + c.ip)));
        Some(Container {
            name: name.to_owned(),
            id: format!("{:012x}", c.id),
            service: c.spec.service.clone(),
            generation: c.spec.generation,
            spec: Some(c.digest),
            state: c.state,
            health,
            started,
            finished: None,
            restarts: c.restarts,
            restart: c.restart,
            networks: c.networks.iter().map(|n| (n.clone(), ip)).collect(),
        })
    }

    /// The container that has this address.
    pub fn at(&self, ip: IpAddr) -> Option<&Made> {
        let all = self.docker.containers.values();
        let mut running = all.filter(|c| c.runs());
        running.find(|c| ip == IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + c.ip)))
    }
}
