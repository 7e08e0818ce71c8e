//! Where the product is to run: asked of Docker, which may be gone.

use std::sync::PoisonError;

use berth_format::image::Platform;
use berth_format::{Code, Refusal};

use super::Appliance;
use crate::api::Result;
use crate::engine::Engine;
use crate::host::Host;
use crate::preflight::Docker;
use crate::update::resolve::Place;

impl<E: Engine, H: Host> Appliance<E, H> {
    pub(super) async fn place(&self) -> Result<Place> {
        match self.survey().await {
            (place, Docker::Here(_)) => Ok(place),
            (_, Docker::Gone { error, .. }) => {
                let refusal = Refusal::new(Code::EngineGone, "Docker does not answer");
                Err(refusal.found(error.to_string()))
            }
        }
    }

    /// Docker, and the place to plan for: where Docker is gone it is this machine's own, so that
    /// all else that is wrong can be said beside it.
    pub(super) async fn survey(&self) -> (Place, Docker) {
        let info = self.0.engine.info().await;
        let mut last = self.0.docker.lock().unwrap_or_else(PoisonError::into_inner);
        let docker = match info {
            Ok(info) => {
                *last = Some(info.clone());
                Docker::Here(info)
            }
            Err(error) => Docker::Gone {
                error,
                last: last.clone(),
            },
        };
        let architecture = match docker.known() {
            Some(info) => &info.architecture,
            // As OCI names those that Berth is built for.
            None => match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        };
        let place = Place {
            platform: Platform::linux(architecture),
            mounts: self.0.store.mounts_dir(),
        };
        (place, docker)
    }
}
