//! Images of a Docker engine, any of 20.10 and later, with either image store.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bollard::Docker;
use bollard::errors::Error;
use futures_util::StreamExt;

use super::{ImageError, Store, Wanted, store};
use crate::progress::Progress;

/// Seconds that an engine may take until it begins to send; large images take long to prepare.
const PATIENCE: u64 = 3600;

/// An engine on a Unix socket.
pub struct Engine {
    docker: Docker,
    socket: String,
    runtime: tokio::runtime::Runtime,
}

impl Engine {
    /// Connects; nothing is asked yet.
    pub fn connect(socket: &Path) -> Result<Self, ImageError> {
        let socket = socket.display().to_string();
        let failed = |reason: String| ImageError::Engine {
            socket: socket.clone(),
            reason,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let docker = {
            let _entered = runtime.enter();
            Docker::connect_with_unix(&socket, PATIENCE, bollard::API_DEFAULT_VERSION)
                .map_err(|error| failed(error.to_string()))?
        };
        Ok(Self {
            docker,
            socket,
            runtime,
        })
    }

    /// Asks what the engine calls an image now.
    pub fn see(&self, reference: &str) -> Result<Wanted, ImageError> {
        let image = self
            .runtime
            .block_on(self.docker.inspect_image(reference))
            .map_err(|error| self.failed(reference, &error))?;
        match image.id.and_then(|id| id.parse().ok()) {
            Some(id) => Ok(Wanted {
                reference: reference.to_owned(),
                id: Some(id),
            }),
            None => Err(ImageError::Engine {
                socket: self.socket.clone(),
                reason: format!("{reference}: an answer without an image id"),
            }),
        }
    }

    /// Saves images into a file in `scratch` that has no name.
    pub fn save(
        &self,
        images: &[Wanted],
        scratch: &Path,
        progress: Progress,
    ) -> Result<Store, ImageError> {
        let output = |source| ImageError::Output {
            path: scratch.to_owned(),
            source,
        };
        let mut file = tempfile::tempfile_in(scratch).map_err(output)?;
        let names: Vec<_> = images.iter().map(|i| i.reference.as_str()).collect();
        let label = format!("reading {} images from the engine", names.len());
        let mut task = progress.task(label, 0);
        let mut written = 0;
        self.runtime.block_on(async {
            let mut stream = std::pin::pin!(self.docker.export_images(&names));
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(|error| self.failed(&names.join(" "), &error))?;
                file.write_all(&chunk).map_err(output)?;
                written += chunk.len() as u64;
                task.add(chunk.len() as u64);
            }
            Ok::<_, ImageError>(())
        })?;
        task.end(&format!("{:.1} MB", crate::megabytes(written)));
        self.store(file)
    }

    fn store(&self, mut file: File) -> Result<Store, ImageError> {
        let name = format!("the Docker engine at {}", self.socket);
        store::rewind(&mut file).map_err(|source| ImageError::Io {
            store: name.clone(),
            source,
        })?;
        Store::tar(&name, file)
    }

    fn failed(&self, reference: &str, error: &Error) -> ImageError {
        match error {
            Error::DockerResponseServerError {
                status_code: 404, ..
            } => ImageError::Missing {
                store: format!("the Docker engine at {}", self.socket),
                reference: reference.to_owned(),
            },
            other => ImageError::Engine {
                socket: self.socket.clone(),
                reason: other.to_string(),
            },
        }
    }
}
