//! What the engine is asked for, with every value filled in. Plain data: no template, no lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use berth_format::service::{Device, Logging, Protocol, Resources, Restart, Ulimit};
use berth_format::{Digest, Name, Product};
use serde::Serialize;

use super::ImageRef;

/// A container that is to be.
///
/// May hold secrets: it is never logged nor kept, only its digest is.
#[derive(Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are Docker's switches")]
pub struct ContainerSpec {
    /// `<product>-<service>-<generation>`.
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    pub product: Product,
    /// The service or migration.
    pub service: Name,
    #[serde(skip)]
    pub generation: u64,
    pub image: ImageRef,
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    /// What it publishes once it is on a network that is not internal.
    pub ports: Vec<PortSpec>,
    pub expose: BTreeSet<String>,
    pub mounts: Vec<MountSpec>,
    pub network: NetworkChoice,
    pub healthcheck: Option<HealthSpec>,
    /// Created with `no`; this is what commit sets.
    pub restart: Restart,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub init: Option<bool>,
    pub tty: bool,
    pub stdin_open: bool,
    pub read_only: bool,
    pub privileged: bool,
    pub stop_signal: Option<String>,
    /// Milliseconds.
    pub stop_grace_ms: u64,
    pub labels: BTreeMap<String, String>,
    pub logging: Option<Logging>,
    pub extra_hosts: Vec<String>,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    pub group_add: Vec<String>,
    pub cap_add: BTreeSet<String>,
    pub cap_drop: BTreeSet<String>,
    pub security_opt: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub devices: Vec<Device>,
    pub pid: Option<String>,
    pub ipc: Option<String>,
    pub userns_mode: Option<String>,
    pub resources: Resources,
}

/// A port that a container publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortSpec {
    pub target: u16,
    pub protocol: Protocol,
    /// `None`: the engine chooses.
    pub published: Option<u16>,
    /// `None`: every address.
    pub host_ip: Option<IpAddr>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSpec {
    /// A named volume, by its real name.
    Volume {
        name: String,
        target: String,
        read_only: bool,
        nocopy: bool,
    },
    /// A path of the host.
    Bind {
        path: PathBuf,
        target: String,
        read_only: bool,
        create: bool,
        propagation: Option<String>,
    },
    /// Memory.
    Tmpfs {
        target: String,
        size: Option<u64>,
        mode: Option<u32>,
    },
}

/// The container's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkChoice {
    /// Real network names, each with aliases; the first is the primary one.
    Networks(Vec<(String, BTreeSet<String>)>),
    None,
    Host,
    /// That of the container of this name.
    Container(String),
}

/// A healthcheck that replaces the image's. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthSpec {
    Disabled,
    Test {
        test: Option<Vec<String>>,
        interval_ms: Option<u64>,
        timeout_ms: Option<u64>,
        retries: Option<u32>,
        start_period_ms: Option<u64>,
        start_interval_ms: Option<u64>,
    },
}

/// A network that is to be: a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkSpec {
    /// Real name.
    pub name: String,
    pub product: Product,
    /// Name in the release, or `egress` / `doors`.
    pub label: String,
    pub generation: u64,
    /// No way out and no published ports.
    pub internal: bool,
    pub ipv6: bool,
    pub subnet: Option<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// A volume that is to be, of the `local` driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeSpec {
    /// Real name: `<product>_<volume>`.
    pub name: String,
    pub product: Product,
    /// Name in the release.
    pub label: Name,
    pub driver_opts: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

impl ContainerSpec {
    /// What makes two containers the same: everything but name and generation.
    pub fn digest(&self) -> Digest {
        Digest::of(&berth_format::canonical(self))
    }
}
