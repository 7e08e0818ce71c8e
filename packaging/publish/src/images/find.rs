//! Looks for an image in a store: Docker's `manifest.json`, then the OCI layout's `index.json`.

use std::sync::Arc;

use berth_format::Digest;
use berth_format::image::{MAX_CONFIG, Platform};
use serde::Deserialize;

use super::{ImageError, Store, Wanted, normal};

/// The most bytes of an index or manifest.
const MAX_MANIFEST: u64 = 8 << 20;

/// An index may point to an index, this deep.
const MAX_DEPTH: usize = 3;

/// An image for one platform.
#[derive(Debug)]
pub struct Found {
    /// The config, verbatim.
    pub config: Vec<u8>,
    /// Paths that the image wants a volume at.
    pub volumes: Vec<String>,
    /// Each layer by its diff id, lowest first; a place where it has to be read.
    pub layers: Vec<(Digest, Option<Place>)>,
}

/// Where a layer is.
#[derive(Debug, Clone)]
pub struct Place {
    pub store: Arc<Store>,
    pub name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Config {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default, rename = "config")]
    settings: Option<Settings>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(default)]
    volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

impl Config {
    fn is_for(&self, platform: &Platform) -> bool {
        self.os == platform.os
            && self.architecture == platform.architecture
            && (platform.variant.is_none() || self.variant == platform.variant)
    }
}

/// What a config says of an image whose layers need not be read; `None` if it is for another
/// platform.
pub fn read_config(bytes: &[u8], platform: &Platform) -> Option<Found> {
    let config: Config = serde_json::from_slice(bytes).ok()?;
    if !config.is_for(platform) {
        return None;
    }
    let settings = config.settings.unwrap_or_default();
    let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
    Some(Found {
        config: bytes.to_vec(),
        volumes: settings.volumes.unwrap_or_default().into_keys().collect(),
        layers: diff_ids.into_iter().map(|id| (id, None)).collect(),
    })
}

/// Looks for `wanted` for `platform`.
pub fn find(store: &Arc<Store>, wanted: &Wanted, platform: &Platform) -> Result<Found, ImageError> {
    let mut search = Search {
        store,
        wanted,
        platform,
        others: Vec::new(),
    };
    if let Some(found) = search.docker()? {
        return Ok(found);
    }
    if let Some(found) = search.layout()? {
        return Ok(found);
    }
    let (store, reference) = (store.name().to_owned(), wanted.reference.clone());
    if search.others.is_empty() {
        return Err(ImageError::Missing { store, reference });
    }
    search.others.sort();
    search.others.dedup();
    Err(ImageError::Platform {
        store,
        reference,
        platform: platform.clone(),
        found: search.others,
    })
}

struct Search<'a> {
    store: &'a Arc<Store>,
    wanted: &'a Wanted,
    platform: &'a Platform,
    // What the image was found for instead.
    others: Vec<String>,
}

impl Search<'_> {
    fn docker(&mut self) -> Result<Option<Found>, ImageError> {
        let Some(bytes) = self.store.read("manifest.json", MAX_MANIFEST)? else {
            return Ok(None);
        };
        let saved: Vec<Saved> = self.json("manifest.json", &bytes)?;
        let only = saved.len() == 1;
        for image in saved {
            let config = self
                .store
                .read(&image.config, MAX_CONFIG)?
                .ok_or_else(|| self.store.damaged(format!("{} is missing", image.config)))?;
            let tags = image.repo_tags.unwrap_or_default();
            if !(self.is_id(&Digest::of(&config))
                || tags.iter().any(|tag| self.is_name(tag))
                || only && tags.is_empty())
            {
                continue;
            }
            let names = image.layers.unwrap_or_default();
            if let Some(found) = self.accept(config, names)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn layout(&mut self) -> Result<Option<Found>, ImageError> {
        let Some(bytes) = self.store.read("index.json", MAX_MANIFEST)? else {
            return Ok(None);
        };
        let index: Manifest = self.json("index.json", &bytes)?;
        let all = index.manifests.unwrap_or_default();
        let only = all.len() == 1;
        for descriptor in all {
            let is_it = self.is_id(&descriptor.digest)
                || self.is_annotated(&descriptor, only)
                || self.wanted.id.is_some() && self.holds(&descriptor)?;
            if is_it && let Some(found) = self.descend(&descriptor, 0)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    // containerd's name is the whole one; `ref.name` is the whole one or only the tag.
    fn is_annotated(&self, descriptor: &Descriptor, only: bool) -> bool {
        let reference = &descriptor.annotations;
        match (
            reference.get("io.containerd.image.name"),
            reference.get("org.opencontainers.image.ref.name"),
        ) {
            (Some(name), _) => self.is_name(name),
            (None, Some(name)) => {
                self.is_name(name)
                    || only && normal(&self.wanted.reference).ends_with(&format!(":{name}"))
            }
            (None, None) => only,
        }
    }

    // An engine may name an image by a manifest below the index that it saves.
    fn holds(&self, descriptor: &Descriptor) -> Result<bool, ImageError> {
        let name = blob(&descriptor.digest);
        let Some(bytes) = self.store.read(&name, MAX_MANIFEST)? else {
            return Ok(false);
        };
        let manifest: Manifest = self.json(&name, &bytes)?;
        let inner = manifest.manifests.into_iter().flatten();
        Ok(inner.chain(manifest.config).any(|d| self.is_id(&d.digest)))
    }

    fn descend(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<Option<Found>, ImageError> {
        // Signatures and build records are listed like images.
        let attached = descriptor
            .annotations
            .contains_key("vnd.docker.reference.type");
        if depth > MAX_DEPTH || attached {
            return Ok(None);
        }
        // A saved index may name platforms that were not saved.
        let Some(bytes) = self.blob(&descriptor.digest, MAX_MANIFEST)? else {
            return Ok(None);
        };
        let manifest: Manifest = self.json(&blob(&descriptor.digest), &bytes)?;
        for inner in manifest.manifests.iter().flatten() {
            if let Some(found) = self.descend(inner, depth + 1)? {
                return Ok(Some(found));
            }
        }
        let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
            return Ok(None);
        };
        let Some(config) = self.blob(&config.digest, MAX_CONFIG)? else {
            return Ok(None);
        };
        self.accept(config, layers.iter().map(|l| blob(&l.digest)).collect())
    }

    fn accept(&mut self, bytes: Vec<u8>, names: Vec<String>) -> Result<Option<Found>, ImageError> {
        let config: Config = self.json("a config", &bytes)?;
        if !config.is_for(self.platform) {
            let found = Platform {
                os: config.os,
                architecture: config.architecture,
                variant: config.variant.filter(|v| !v.is_empty()),
            };
            self.others.push(found.to_string());
            return Ok(None);
        }
        let diff_ids = config.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.is_empty() || diff_ids.len() != names.len() {
            return Err(self.store.damaged(format!(
                "{} has {} layers, its config names {}",
                self.wanted.reference,
                names.len(),
                diff_ids.len()
            )));
        }
        let places = names.into_iter().map(|name| {
            Some(Place {
                store: Arc::clone(self.store),
                name,
            })
        });
        let settings = config.settings.unwrap_or_default();
        Ok(Some(Found {
            config: bytes,
            volumes: settings.volumes.unwrap_or_default().into_keys().collect(),
            layers: diff_ids.into_iter().zip(places).collect(),
        }))
    }

    fn blob(&self, digest: &Digest, max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let name = blob(digest);
        match self.store.read(&name, max)? {
            Some(bytes) if Digest::of(&bytes) != *digest => {
                Err(self.store.damaged(format!("{name} is not its digest")))
            }
            other => Ok(other),
        }
    }

    fn json<T: for<'de> Deserialize<'de>>(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<T, ImageError> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.store.damaged(format!("{name}: {error}")))
    }

    fn is_id(&self, digest: &Digest) -> bool {
        self.wanted.id.as_ref() == Some(digest)
    }

    fn is_name(&self, name: &str) -> bool {
        normal(name) == normal(&self.wanted.reference)
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
