//! Everything that a refusal must leave alone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{Machine, difference, volumes};

/// Containers, networks, volumes, images and Berth's own state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World(BTreeMap<String, String>);

impl World {
    /// Looks, through Docker, the disk and the API, and not through what Berth says it did.
    pub fn of(machine: &Machine) -> Result<Self> {
        let mut world = BTreeMap::new();
        for container in machine.engine.containers()? {
            let seen = json!({
                "id": container["Id"],
                "image": container["Image"],
                "state": container["State"]["Status"],
                "started": container["State"]["StartedAt"],
                "restart": container["HostConfig"]["RestartPolicy"],
                "networks": addresses(&container["NetworkSettings"]["Networks"]),
            });
            let name = container["Name"].as_str().unwrap_or_default();
            world.insert(format!("container {name}"), seen.to_string());
        }
        for network in machine.engine.networks()? {
            let id = machine
                .engine
                .docker(["network", "inspect", "-f", "{{.Id}}", &network])?;
            world.insert(format!("network {network}"), id);
        }
        for volume in machine.engine.volumes()? {
            let path = machine.engine.volume_path(&volume);
            let inode = std::fs::metadata(&path)?.ino();
            world.insert(format!("volume {volume}"), inode.to_string());
            // The database and the cache write for themselves; nobody writes to the others.
            if volume.ends_with("repos") || volume.ends_with("state") {
                for (name, line) in volumes::tree(&path)? {
                    world.insert(format!("volume {volume}: {name}"), line);
                }
            }
        }
        for image in machine.engine.images()? {
            world.insert(format!("image {image}"), String::new());
        }
        for (name, line) in volumes::tree(&machine.berthd.state_dir())? {
            // SQLite's own files change with every look at them, and the folder's time with them.
            if !name.is_empty() && !name.starts_with("berth.db") {
                world.insert(format!("state {name}"), line);
            }
        }
        let mut status = machine.berth(["status"]).value;
        // What is offered and typed before the first install is no state of a product.
        if !status["version"].is_null() {
            let config = machine.berth(["config", "get"]).value;
            world.insert("berth config".into(), config.to_string());
        }
        scrub(&mut status);
        world.insert("berth status".into(), status.to_string());
        // A try that changed nothing is remembered, as one that changed nothing.
        let mut history = machine.berth(["history"]).value;
        if let Some(runs) = history.as_array_mut() {
            runs.retain(|run| {
                run["ended"]["outcome"] != "rolled-back"
                    || run["failure"]["effect"] != "nothing-changed"
            });
        }
        world.insert("berth history".into(), history.to_string());
        Ok(Self(world))
    }

    /// What has changed since, for people; empty when nothing has.
    pub fn changes(&self, later: &Self) -> String {
        difference(&self.0, &later.0)
    }
}

fn addresses(networks: &Value) -> BTreeMap<String, Value> {
    let networks = networks.as_object();
    networks
        .into_iter()
        .flatten()
        .map(|(name, network)| (name.clone(), network["IPAddress"].clone()))
        .collect()
}

// Health is Docker's to change, and its sentence with it.
fn scrub(value: &mut Value) {
    if let Some(status) = value.as_object_mut() {
        for key in ["summary", "available", "state"] {
            status.remove(key);
        }
        if let Some(services) = status.get_mut("services").and_then(Value::as_array_mut) {
            for service in services {
                service["summary"] = Value::Null;
                service["good"] = Value::Null;
                service["container"]["health"] = Value::Null;
            }
        }
    }
}
