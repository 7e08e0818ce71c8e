//! What the image says of itself, and what the environment says of the installation.

use serde::Deserialize;

/// Why the settings are of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Usage(&'static str),
    #[error("{path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Parse {
        path: String,
        source: serde_json::Error,
    },
}

/// `/etc/lantern/release.json`, a part of the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Of the product.
    pub version: String,
    /// The schema that this version's SQL is written for; a later one may do too.
    pub schema: i32,
    /// Colour of the page's head.
    #[serde(default = "plain")]
    pub accent: String,
    /// A defect that was shipped with this version.
    #[serde(default)]
    pub fault: Option<Fault>,
}

/// Ways in which a version is broken. `LANTERN_FAULT` breaks any version the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The frontend serves, but `/healthz` never answers 200.
    NeverHealthy,
    /// The indexer works for a second and a half and exits with code 1.
    CrashLoop,
}

fn plain() -> String {
    "#30363d".to_owned()
}

impl Release {
    /// Reads the image's file, or that which `LANTERN_RELEASE` names.
    pub fn load() -> Result<Self, Error> {
        let path = var_or("LANTERN_RELEASE", "/etc/lantern/release.json");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let mut release: Self =
            serde_json::from_str(&text).map_err(|source| Error::Parse { path, source })?;
        if let Some(fault) = var("LANTERN_FAULT") {
            let fault = serde_json::from_value(fault.into()).map_err(|source| Error::Parse {
                path: "LANTERN_FAULT".into(),
                source,
            })?;
            release.fault = Some(fault);
        }
        Ok(release)
    }
}

/// A variable that is set and not empty.
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable, or what holds without it.
pub fn var_or(name: &str, default: &str) -> String {
    var(name).unwrap_or_else(|| default.to_owned())
}
