//! `release.json`: one immutable version of a product, with everything resolved.
//!
//! Strict: unknown fields are errors, so that an older Berth never half-understands a newer
//! release. Durations are milliseconds and sizes are bytes unless a name says otherwise.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use crate::config::Field;
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::Layer;
use crate::name::{Name, Product};
use crate::service::{Network, Service, Volume};
use crate::template::Template;

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes that a `release.json` may have.
pub const MAX_BYTES: u64 = 10 << 20;

/// The most bytes of a file that services mount: more belongs into an image.
pub const MAX_FILE: u64 = 16 << 20;

/// The file name of a shipped file in channels and bundles.
pub fn blob_file_name(digest: &Digest) -> String {
    format!("files/{}", digest.hex())
}

/// One version of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// [`FORMAT`].
    pub format: u32,
    /// The product that this is a version of.
    pub product: Product,
    /// The product's name for people.
    pub title: String,
    /// The version; generations and upgrades are ordered by it.
    pub version: Version,
    /// From where one may come here, and what must come between.
    pub upgrade: Upgrade,
    /// Markdown for the admin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// What the machine must have.
    pub requires: Requires,
    /// The form that the admin fills in, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<Field>,
    /// Everything that is more than a container: shown to the admin before the install.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// What old and new may do to each other's data.
    pub data: DataPromise,
    /// The containers, by service.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub services: BTreeMap<Name, Service>,
    /// The product's own networks.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "crate::strict::ordered"
    )]
    pub networks: BTreeMap<Name, Network>,
    /// The product's volumes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "crate::strict::ordered"
    )]
    pub volumes: BTreeMap<Name, Volume>,
    /// What is run between the stop and the start, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// Images by the name that services and migrations use.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub images: BTreeMap<String, Image>,
    /// Every layer of every image, by diff id.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub layers: BTreeMap<Digest, Layer>,
    /// Files and folders that services mount, by the digest of [`FileTree`]'s JSON.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "crate::strict::ordered"
    )]
    pub files: BTreeMap<Digest, FileTree>,
}

/// From where one may come to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// Installed versions that may go here directly.
    pub from: VersionReq,
    /// Nobody may skip this version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop: bool,
    /// Must hold on this release before the next hop may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Probe>,
}

/// What the machine must have. Zero asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// CPUs.
    #[serde(default)]
    pub cpus: u32,
    /// Memory of the machine, bytes.
    #[serde(default)]
    pub memory: u64,
    /// Free space for volumes, bytes, beside images and snapshots, which Berth counts itself.
    #[serde(default)]
    pub disk: u64,
    /// Version of the engine.
    pub engine: VersionReq,
}

/// Something that a service gets and a plain container has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Who gets it.
    pub service: Name,
    /// What it gets.
    pub kind: GrantKind,
    /// Which one: the path, device or capability.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The kinds of [`Grant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// The whole machine.
    Privileged,
    /// The host's processes.
    HostPid,
    /// The host's network: has no doors that Berth could close.
    HostNetwork,
    /// The host's IPC.
    HostIpc,
    /// A device.
    Device,
    /// A path of the host.
    HostPath,
    /// The Docker socket: the whole machine.
    DockerSocket,
    /// A Linux capability beyond Docker's default.
    Capability,
    /// A confinement that is switched off (seccomp, AppArmor, SELinux).
    Unconfined,
}

/// What a new version may do to the data of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataPromise {
    /// Snapshot, and closed doors until commit.
    MayChange,
    /// The old version can run on whatever this one writes.
    Unchanged,
}

/// A one-off container that changes data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Its name, unique in the release.
    pub name: Name,
    /// What it runs: a service in all but that it ends.
    pub service: Service,
    /// Services that must be healthy while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// Milliseconds until it counts as failed.
    pub timeout_ms: u64,
    /// Only when coming from such a version. `None`: from every version. A first install runs it
    /// in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<VersionReq>,
    /// Whether the old version can run after it.
    pub reversible: bool,
    /// Whether the old stack still runs.
    pub phase: MigrationPhase,
}

/// When a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationPhase {
    /// While the old stack still runs.
    Before,
    /// After the stop and the snapshot.
    Stopped,
}

/// A service that a migration needs: of the new release, or (`db@old`) of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Which service.
    pub service: Name,
    /// Of the release that is being replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old: bool,
}

/// A question asked from outside the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The service that is asked.
    pub service: Name,
    /// TCP port inside its container.
    pub port: u16,
    /// Path of an HTTP GET that must answer 2xx or 3xx. `None`: a TCP connect suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Milliseconds until no good answer counts as unhealthy.
    pub within_ms: u64,
}

/// Files of the release that a service mounts, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTree {
    /// Entries by path relative to the root, `/` between parts. A tree that is a single file
    /// has one entry with the empty path.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub entries: BTreeMap<String, FileEntry>,
}

/// One file or folder of a [`FileTree`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum FileEntry {
    /// A folder.
    Dir {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file whose bytes are a blob of the bundle.
    File {
        /// Permission bits.
        mode: u32,
        /// Of its bytes.
        digest: Digest,
        /// Bytes.
        size: u64,
    },
    /// A regular file that is made from a template and the admin's values (`content:` in Compose).
    Rendered {
        /// Permission bits.
        mode: u32,
        /// What it says.
        content: Template,
    },
}

impl FileTree {
    /// The digest that names this tree.
    pub fn digest(&self) -> Digest {
        Digest::of(&crate::canonical(self))
    }
}

impl Release {
    /// The bytes that are signed and published; the same for equal releases.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = crate::canonical(self);
        bytes.push(b'\n');
        bytes
    }

    /// The file name in channels and bundles.
    pub fn file_name(&self) -> String {
        format!("release-{}.json", self.version)
    }
}
