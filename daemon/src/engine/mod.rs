//! Docker behind the few verbs that steps need.
//!
//! [`Engine`] is the seam: [`docker::Docker`] is the real one and the only file that names
//! bollard, [`fake::Fake`] a scripted one for the seeded runs. Every verb is idempotent: what is
//! already so is success, because a step that was cut off is run again.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use berth_format::service::Restart;
use berth_format::{Digest, Name, Product};
use futures_util::Stream;
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

pub mod docker;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod load;
pub mod spec;

pub use spec::{ContainerSpec, NetworkSpec, VolumeSpec};

/// Label: the product that an object belongs to. Berth touches nothing without it.
pub const LABEL_PRODUCT: &str = "berth.product";
/// Label: the service or migration of a container, the name of a network or volume.
pub const LABEL_NAME: &str = "berth.name";
/// Label: the generation that made it.
pub const LABEL_GENERATION: &str = "berth.generation";
/// Label: the digest of the specification that it was made from.
pub const LABEL_SPEC: &str = "berth.spec";

/// Why a verb failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers on the socket, or the answer broke off.
    #[error("Docker does not answer: {0}")]
    Gone(String),
    /// No such container, image, network or volume.
    #[error("{0} is not there")]
    Missing(String),
    /// An object of that name is there, made from something else or by somebody else.
    #[error("{0} is there already, and is another")]
    Conflict(String),
    /// A host port is taken.
    #[error("port already in use: {0}")]
    PortInUse(String),
    /// Everything else that Docker says no to, in its own words.
    #[error("Docker refused: {0}")]
    Refused(String),
    /// It took longer than it may.
    #[error("no end after {0:?}")]
    TimedOut(Duration),
}

/// Result of a verb.
pub type Result<T> = std::result::Result<T, EngineError>;

/// What the engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// Of the engine, made comparable (`20.10.24+dfsg1` is 20.10.24).
    pub version: Version,
    /// As it writes it.
    pub version_text: String,
    /// `(1, 41)`.
    pub api: (u32, u32),
    /// As OCI names it: `amd64`.
    pub architecture: String,
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// `DockerRootDir`.
    pub root: PathBuf,
    /// Which digest names an image.
    pub image_store: ImageStore,
    /// Folders on filesystems that a load writes to: Docker's root, and containerd's where it
    /// is the image store.
    pub data_roots: Vec<PathBuf>,
}

/// Where the engine keeps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageStore {
    /// Named by config digest.
    GraphDriver,
    /// Named by manifest digest.
    Containerd,
}

/// A container as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub name: String,
    /// The engine's id.
    pub id: String,
    /// From [`LABEL_NAME`].
    pub service: Name,
    /// From [`LABEL_GENERATION`].
    pub generation: u64,
    /// From [`LABEL_SPEC`].
    pub spec: Option<Digest>,
    pub state: ContainerState,
    pub health: Health,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    /// By Docker's own restart policy.
    pub restarts: u64,
    pub restart: Restart,
    /// Networks that it is configured to be on, with its address where it runs.
    pub networks: BTreeMap<String, Option<IpAddr>>,
}

/// The state of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited { code: i64 },
    Dead,
}

/// What the container's own healthcheck says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It has none.
    None,
    Starting,
    Healthy,
    Unhealthy,
}

/// Something that happened to a container of the product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, by the engine's clock.
    pub at: Option<Timestamp>,
    /// The container.
    pub container: String,
    pub service: Name,
    pub generation: u64,
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Started,
    Died { code: i64 },
    OutOfMemory,
    Health(Health),
    Destroyed,
}

/// An image as the release pins it, ready to be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// `berth.local/…`. Holds the version, so it is no part of what makes two containers the same.
    #[serde(skip)]
    pub tag: String,
    /// Image id on a graph driver.
    pub config: Digest,
    /// Image id on the containerd image store.
    pub manifest: Digest,
}

impl ImageRef {
    /// The id by which this engine runs it.
    pub fn id(&self, store: ImageStore) -> Digest {
        match store {
            ImageStore::GraphDriver => self.config,
            ImageStore::Containerd => self.manifest,
        }
    }
}

/// The bytes of a tar on their way to the engine. An error in the stream ends the load as failed.
pub type TarStream = tokio::sync::mpsc::Receiver<std::io::Result<bytes::Bytes>>;

/// Docker, as the steps need it.
pub trait Engine: Clone + Send + Sync + 'static {
    /// What it is; also whether it answers.
    fn info(&self) -> impl Future<Output = Result<EngineInfo>> + Send;

    /// Loads a tar of images (`POST /images/load`). Only `Ok` counts, never that an image is listed.
    fn load(&self, tar: TarStream) -> impl Future<Output = Result<()>> + Send;
    /// Whether an image of this id is there.
    fn image_exists(&self, id: Digest) -> impl Future<Output = Result<bool>> + Send;
    /// Takes the tag away; the image too if it was the last one and nothing uses it.
    fn remove_image(&self, tag: &str) -> impl Future<Output = Result<()>> + Send;
    /// Every tag below `berth.local/<product>/`.
    fn image_tags(&self, product: &Product) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Every container of the product.
    fn containers(&self, product: &Product) -> impl Future<Output = Result<Vec<Container>>> + Send;
    /// One container; `None` if it is not there.
    fn inspect(&self, name: &str) -> impl Future<Output = Result<Option<Container>>> + Send;
    /// Creates it on its networks. One that is there with the same spec digest is success, with
    /// another one [`EngineError::Conflict`].
    fn create(&self, spec: &ContainerSpec) -> impl Future<Output = Result<()>> + Send;
    fn start(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
    /// Its stop signal, then after `grace` a kill. Missing is success.
    fn stop(&self, name: &str, grace: Duration) -> impl Future<Output = Result<()>> + Send;
    /// Removes it, running or not, with its anonymous volumes. Missing is success.
    fn remove(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
    fn set_restart(&self, name: &str, policy: Restart) -> impl Future<Output = Result<()>> + Send;
    /// Waits until it does not run, and gives its exit code.
    fn wait(&self, name: &str) -> impl Future<Output = Result<i64>> + Send;
    /// Runs a command in it, without a terminal, and gives its exit code.
    fn exec(
        &self,
        name: &str,
        command: &[String],
        timeout: Duration,
    ) -> impl Future<Output = Result<i64>> + Send;
    /// The last lines of its output, both streams, oldest first.
    fn tail(&self, name: &str, lines: usize) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// What happens to containers of the product from now on; ends when the engine goes.
    fn events(
        &self,
        product: &Product,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + use<Self>>;

    /// Every network of the product: real name.
    fn networks(&self, product: &Product) -> impl Future<Output = Result<Vec<String>>> + Send;
    fn create_network(&self, spec: &NetworkSpec) -> impl Future<Output = Result<()>> + Send;
    /// Missing is success.
    fn remove_network(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
    /// Already connected is success; one that failed half way is disconnected and tried again once.
    fn connect(
        &self,
        network: &str,
        container: &str,
        aliases: &[String],
    ) -> impl Future<Output = Result<()>> + Send;
    /// Not connected, or missing, is success.
    fn disconnect(&self, network: &str, container: &str)
    -> impl Future<Output = Result<()>> + Send;

    /// Every volume of the product: real name.
    fn volumes(&self, product: &Product) -> impl Future<Output = Result<Vec<String>>> + Send;
    fn create_volume(&self, spec: &VolumeSpec) -> impl Future<Output = Result<()>> + Send;
    /// Where its data is; `None` if it is not there.
    fn volume_path(&self, name: &str) -> impl Future<Output = Result<Option<PathBuf>>> + Send;
    /// Missing is success.
    fn remove_volume(&self, name: &str) -> impl Future<Output = Result<()>> + Send;
}
