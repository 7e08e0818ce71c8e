//! Images: pinned by config digest and layers for each platform.
//!
//! An engine names an image by its config digest (graph drivers) or by its manifest digest
//! (containerd image store); both are here, so both are signed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// The most bytes of an image's config.
pub const MAX_CONFIG: u64 = 8 << 20;

/// The file name of a config in channels and bundles.
pub fn config_file_name(digest: &Digest) -> String {
    format!("configs/{}.json", digest.hex())
}

/// An image of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The tag that it has on the appliance: `berth.local/<product>/<name>:<version>`.
    pub tag: String,
    /// What the vendor called it.
    pub source: String,
    /// By platform.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub platforms: BTreeMap<Platform, PlatformImage>,
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformImage {
    /// Of the config blob: the image id on a graph driver.
    pub config: Blob,
    /// Of [`oci_manifest`] over raw layers: the image id on the containerd image store.
    pub manifest: Digest,
    /// Diff ids, lowest first; as in the config's `rootfs`.
    pub layers: Vec<Digest>,
}

/// Bytes that are kept under their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// `os/architecture[/variant]`, as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, thiserror::Error)]
#[error("expected os/architecture[/variant], found {0:?}")]
pub struct ParsePlatformError(String);

impl Platform {
    /// Linux on an architecture as OCI names it (`amd64`, `arm64`).
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ok = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let parts: Vec<_> = text.split('/').collect();
        match parts.as_slice() {
            [os, arch] | [os, arch, _] if parts.iter().all(ok) => Ok(Self {
                os: (*os).to_owned(),
                architecture: (*arch).to_owned(),
                variant: parts.get(2).map(|v| (*v).to_owned()),
            }),
            _ => Err(ParsePlatformError(text.chars().take(80).collect())),
        }
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The OCI image manifest over raw layers, as it is loaded into Docker: a pure function of the
/// config and the layers (diff id and size of the tar), so that only its digest is published.
///
/// Format: <https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md>.
pub fn oci_manifest(config: Blob, layers: &[Blob]) -> Vec<u8> {
    let descriptor = |media: &str, blob: &Blob| {
        format!(
            r#"{{"mediaType":"{media}","digest":"{}","size":{}}}"#,
            blob.digest, blob.size
        )
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|l| descriptor("application/vnd.oci.image.layer.v1.tar", l))
        .collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", &config),
        layers.join(",")
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_what_docker_writes() {
        for good in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
            assert_eq!(good.parse::<Platform>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "linux",
            "linux/",
            "linux/amd64/v8/x",
            "Linux/amd64",
            "linux/../etc",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_manifest_is_json_with_the_layers_in_order() {
        let blob = |n: u8| Blob {
            digest: Digest::of(&[n]),
            size: u64::from(n),
        };
        let bytes = oci_manifest(blob(1), &[blob(2), blob(3)]);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["layers"][1]["digest"], Digest::of(&[3]).to_string());
        assert_eq!(json["config"]["size"], 1);
    }
}
