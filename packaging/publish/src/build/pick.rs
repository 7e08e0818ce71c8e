//! Which image each name of the release stands for, from wherever the vendor has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use berth_format::Digest;
use berth_format::image::{Platform, config_file_name};

use super::{BuildError, Builder};
use crate::berth_yaml::ImageSource;
use crate::compose::Resolved;
use crate::images::engine::Engine;
use crate::images::{Found, Store, Wanted, find, read_config};

/// An image of the release that was found, by its key.
pub(super) struct Picked {
    pub key: String,
    pub platform: Platform,
    pub found: Found,
}

/// Finds each image for each platform, reading each source once.
pub(super) fn pick(
    builder: &mut Builder<'_>,
    resolved: &Resolved,
) -> Result<Vec<Picked>, BuildError> {
    let mut stores: BTreeMap<PathBuf, Arc<Store>> = BTreeMap::new();
    let engine = FromEngine::read(builder, resolved)?;
    let mut picked = Vec::new();
    for (key, image) in &resolved.release.images {
        for platform in &resolved.platforms {
            let found = match source(resolved, key) {
                ImageSource::Engine => engine.find(&image.source, platform)?,
                ImageSource::Archive(path) | ImageSource::Oci(path) => {
                    let store = match stores.get(path) {
                        Some(store) => Arc::clone(store),
                        None if path.is_dir() => Arc::new(Store::folder(path)),
                        None => Arc::new(Store::archive(path, builder.out.dir())?),
                    };
                    stores.insert(path.clone(), Arc::clone(&store));
                    let wanted = Wanted {
                        reference: image.source.clone(),
                        id: None,
                    };
                    Some(find(&store, &wanted, platform)?)
                }
            };
            picked.extend(found.map(|found| Picked {
                key: key.clone(),
                platform: platform.clone(),
                found,
            }));
        }
    }
    Ok(picked)
}

fn source<'a>(resolved: &'a Resolved, key: &str) -> &'a ImageSource {
    resolved
        .image_sources
        .get(key)
        .unwrap_or(&ImageSource::Engine)
}

/// The images that come from the engine.
#[derive(Default)]
struct FromEngine {
    store: Option<Arc<Store>>,
    seen: BTreeMap<String, Wanted>,
    /// Configs of images whose every layer is in the folder already.
    kept: BTreeMap<String, Vec<u8>>,
}

impl FromEngine {
    fn read(builder: &mut Builder<'_>, resolved: &Resolved) -> Result<Self, BuildError> {
        let images = resolved.release.images.iter();
        let references: BTreeSet<_> = images
            .filter(|(key, _)| *source(resolved, key) == ImageSource::Engine)
            .map(|(_, image)| image.source.as_str())
            .collect();
        let mut this = Self::default();
        if references.is_empty() {
            return Ok(this);
        }
        let engine = Engine::connect(builder.options.engine)?;
        let mut wanted = Vec::new();
        for reference in references {
            let seen = engine.see(reference)?;
            match kept(builder, &seen, &resolved.platforms)? {
                Some(config) => drop(this.kept.insert(reference.to_owned(), config)),
                None => wanted.push(seen.clone()),
            }
            this.seen.insert(reference.to_owned(), seen);
        }
        if !wanted.is_empty() {
            let progress = builder.options.progress;
            let store = engine.save(&wanted, builder.out.dir(), progress)?;
            this.store = Some(Arc::new(store));
        }
        Ok(this)
    }

    fn find(&self, reference: &str, platform: &Platform) -> Result<Option<Found>, BuildError> {
        let known = self.kept.get(reference);
        if let Some(found) = known.and_then(|config| read_config(config, platform)) {
            return Ok(Some(found));
        }
        match (&self.store, self.seen.get(reference)) {
            (Some(store), Some(seen)) => Ok(Some(find(store, seen, platform)?)),
            _ => Ok(None),
        }
    }
}

// An image that a graph driver names by the digest of its config need not be read again.
fn kept(
    builder: &mut Builder<'_>,
    seen: &Wanted,
    platforms: &[Platform],
) -> Result<Option<Vec<u8>>, BuildError> {
    let Some(id) = seen.id else {
        return Ok(None);
    };
    let path = builder.out.path(&config_file_name(&id));
    let Ok(config) = fs::read(path) else {
        return Ok(None);
    };
    if Digest::of(&config) != id {
        return Ok(None);
    }
    for platform in platforms {
        let Some(found) = read_config(&config, platform) else {
            return Ok(None);
        };
        for (diff_id, _) in &found.layers {
            if builder.kept(diff_id)?.is_none() {
                return Ok(None);
            }
        }
    }
    Ok(Some(config))
}
