//! Images as vendors have them: in an engine, as `docker save` writes them, or in an OCI layout.
//!
//! All three end up as a [`Store`] of named parts, in which [`find`] looks for an image's config
//! and layers. Nothing that a store says is believed: a config is taken by its own digest, a layer
//! by the diff id that the config names.

use std::io;
use std::path::PathBuf;

use berth_format::Digest;
use berth_format::image::ParsePlatformError;
use berth_format::image::Platform;

pub mod engine;
mod find;
mod store;

pub use find::{Found, Place, find, read_config};
pub use store::{Store, plain};

/// An image that is looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// As the vendor calls it.
    pub reference: String,
    /// What the engine calls it: the digest of its config or of its manifest.
    pub id: Option<Digest>,
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{store} has no image {reference}")]
    Missing { store: String, reference: String },
    #[error("{store} has {reference} for {}, not for {platform}", list(found))]
    Platform {
        store: String,
        reference: String,
        platform: Platform,
        found: Vec<String>,
    },
    #[error("{store}: {problem}")]
    Damaged { store: String, problem: String },
    #[error("{store}: {source}")]
    Io { store: String, source: io::Error },
    #[error("{}: {source}", path.display())]
    Output { path: PathBuf, source: io::Error },
    #[error("the Docker engine at {socket}: {reason}")]
    Engine { socket: String, reason: String },
    #[error(transparent)]
    PlatformName(#[from] ParsePlatformError),
}

fn list(found: &[String]) -> String {
    match found {
        [] => "nothing".into(),
        found => found.join(", "),
    }
}

/// An image's name with the parts that Docker leaves out.
pub fn normal(reference: &str) -> String {
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference.strip_prefix("library/").unwrap_or(reference);
    let last = reference.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        reference.to_owned()
    } else {
        format!("{reference}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_docker_means_them() {
        for (given, meant) in [
            ("redis", "redis:latest"),
            ("docker.io/library/redis:7", "redis:7"),
            (
                "registry.example:5000/a/b",
                "registry.example:5000/a/b:latest",
            ),
            ("a/b:1", "a/b:1"),
        ] {
            assert_eq!(normal(given), meant);
        }
    }
}
