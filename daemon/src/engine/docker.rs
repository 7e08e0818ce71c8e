//! The real engine: Docker behind its Unix socket. Only this file and its submodules name bollard.
//!
//! Written against API 1.41 (Docker 20.10) and later: requests carry no version, so the engine
//! answers in its own, and what is newer is asked for only where the engine knows it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_format::service::Restart;
use berth_format::{Digest, Product};
use bollard::errors::Error;
use futures_util::Stream;
use semver::Version;

use super::{
    Container, ContainerSpec, Engine, EngineError, EngineInfo, Event, ImageStore, NetworkSpec,
    Result, TarStream, VolumeSpec,
};

mod container;
mod events;
mod image;
mod logs;
mod map;
mod network;
mod volume;

pub use logs::{LogLine, LogStream};

/// For questions.
const ASK: Duration = Duration::from_secs(30);
/// For what makes Docker work: a create or a removal on a busy disk takes its time.
const WORK: Duration = Duration::from_mins(2);
/// bollard's own limit, which also runs while an upload or a wait goes on: out of the way.
const BOLLARD_SECONDS: u64 = 365 * 24 * 3600;

/// Docker, by its Unix socket. Holds no connection, so it survives a restart of Docker.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
    containerd_root: Option<PathBuf>,
}

impl Docker {
    /// Nothing is connected yet, and nobody needs to answer.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            containerd_root: None,
        }
    }

    /// Where containerd keeps its data, if it is neither its default, nor what its configuration
    /// says, nor below Docker's own root: Docker does not tell.
    #[must_use]
    pub fn with_containerd_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.containerd_root = Some(root.into());
        self
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn client(&self) -> Result<bollard::Docker> {
        let path = self.socket.to_string_lossy();
        bollard::Docker::connect_with_unix(&path, BOLLARD_SECONDS, bollard::API_DEFAULT_VERSION)
            .map_err(|error| EngineError::Gone(error.to_string()))
    }

    /// The engine's API version.
    async fn api(&self) -> Result<(u32, u32)> {
        let version = within(ASK, "the version", self.client()?.version()).await?;
        Ok(map::api(version.api_version.as_deref().unwrap_or_default()))
    }

    fn data_roots(&self, root: &Path, store: ImageStore) -> Vec<PathBuf> {
        let mut roots = vec![root.to_owned()];
        if store == ImageStore::Containerd {
            let own = root.join("containerd/daemon");
            let containerd = match &self.containerd_root {
                Some(given) => given.clone(),
                // A dockerd that started its own containerd keeps it here.
                None if own.is_dir() => own,
                None => std::fs::read_to_string("/etc/containerd/config.toml")
                    .ok()
                    .and_then(|text| map::containerd_root(&text))
                    .unwrap_or_else(|| "/var/lib/containerd".into()),
            };
            roots.push(containerd);
        }
        roots
    }
}

impl Engine for Docker {
    async fn info(&self) -> Result<EngineInfo> {
        let client = self.client()?;
        let version = within(ASK, "the version", client.version()).await?;
        let info = within(ASK, "its description", client.info()).await?;
        let containerd = info.driver_status.unwrap_or_default().iter().any(|pair| {
            pair.iter()
                .any(|text| text == "io.containerd.snapshotter.v1")
        });
        let image_store = if containerd {
            ImageStore::Containerd
        } else {
            ImageStore::GraphDriver
        };
        let root = PathBuf::from(
            info.docker_root_dir
                .unwrap_or_else(|| "/var/lib/docker".into()),
        );
        let version_text = version.version.unwrap_or_default();
        Ok(EngineInfo {
            version: map::version(&version_text).unwrap_or(Version::new(0, 0, 0)),
            version_text,
            api: map::api(version.api_version.as_deref().unwrap_or_default()),
            architecture: version.arch.unwrap_or_default(),
            cpus: u32::try_from(info.ncpu.unwrap_or_default()).unwrap_or_default(),
            memory: u64::try_from(info.mem_total.unwrap_or_default()).unwrap_or_default(),
            data_roots: self.data_roots(&root, image_store),
            root,
            image_store,
        })
    }

    async fn load(&self, tar: TarStream) -> Result<()> {
        self.load_images(tar).await
    }

    async fn image_exists(&self, id: Digest) -> Result<bool> {
        self.has_image(&id.to_string()).await
    }

    async fn remove_image(&self, tag: &str) -> Result<()> {
        self.untag(tag).await
    }

    async fn image_tags(&self, product: &Product) -> Result<Vec<String>> {
        self.tags_of(product).await
    }

    async fn containers(&self, product: &Product) -> Result<Vec<Container>> {
        self.containers_of(product).await
    }

    async fn inspect(&self, name: &str) -> Result<Option<Container>> {
        self.inspect_container(name).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        self.create_container(spec).await
    }

    async fn start(&self, name: &str) -> Result<()> {
        self.start_container(name).await
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        self.stop_container(name, grace).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.remove_container(name).await
    }

    async fn set_restart(&self, name: &str, policy: Restart) -> Result<()> {
        self.update_restart(name, policy).await
    }

    async fn wait(&self, name: &str) -> Result<i64> {
        self.wait_container(name).await
    }

    async fn exec(&self, name: &str, command: &[String], timeout: Duration) -> Result<i64> {
        self.exec_in(name, command, timeout).await
    }

    async fn tail(&self, name: &str, lines: usize) -> Result<Vec<String>> {
        self.last_lines(name, lines).await
    }

    fn events(
        &self,
        product: &Product,
    ) -> Result<impl Stream<Item = Result<Event>> + Send + use<>> {
        self.events_of(product)
    }

    async fn networks(&self, product: &Product) -> Result<Vec<String>> {
        self.networks_of(product).await
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        self.ensure_network(spec).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.drop_network(name).await
    }

    async fn connect(&self, network: &str, container: &str, aliases: &[String]) -> Result<()> {
        self.attach(network, container, aliases).await
    }

    async fn disconnect(&self, network: &str, container: &str) -> Result<()> {
        self.detach(network, container, false).await
    }

    async fn volumes(&self, product: &Product) -> Result<Vec<String>> {
        self.volumes_of(product).await
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<()> {
        self.ensure_volume(spec).await
    }

    async fn volume_path(&self, name: &str) -> Result<Option<PathBuf>> {
        self.path_of_volume(name).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.drop_volume(name).await
    }
}

/// Runs a request for at most `limit`; `what` names the object in errors.
async fn within<T>(
    limit: Duration,
    what: &str,
    request: impl Future<Output = std::result::Result<T, Error>>,
) -> Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result.map_err(|error| failure(what, error)),
        Err(_) => Err(EngineError::TimedOut(limit)),
    }
}

/// What a failed request means.
fn failure(what: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            // Docker says 500 for ports; the words have been the same since 1.x.
            if message.contains("port is already allocated")
                || message.contains("address already in use")
            {
                return EngineError::PortInUse(message);
            }
            match status_code {
                404 => EngineError::Missing(missing(&message).unwrap_or_else(|| what.to_owned())),
                // Other conflicts are of state: in use, not running, on its way out.
                409 if message.contains("already in use by") => EngineError::Conflict(what.into()),
                _ => EngineError::Refused(message),
            }
        }
        Error::DockerStreamError { error } => EngineError::Refused(error),
        Error::DockerContainerWaitError { error, code } => {
            EngineError::Refused(format!("exit code {code}: {error}"))
        }
        Error::RequestTimeoutError => EngineError::TimedOut(Duration::from_secs(BOLLARD_SECONDS)),
        error @ (Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_)) => EngineError::Gone(with_causes(&error)),
        error => EngineError::Refused(with_causes(&error)),
    }
}

/// What is missing, in Docker's words: `No such image: x`, `network x not found`.
fn missing(message: &str) -> Option<String> {
    match message.strip_prefix("No such ") {
        Some(object) => Some(object.replacen(": ", " ", 1)),
        None => Some(message.strip_suffix(" not found")?.to_owned()),
    }
}

/// hyper keeps what happened in the causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Missing is success.
fn missing_is_fine<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(EngineError::Missing(_)) => Ok(T::default()),
        other => other,
    }
}
