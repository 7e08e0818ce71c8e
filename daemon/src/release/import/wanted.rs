//! What an import takes: everything that the releases name and Docker has not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use berth_format::bundle::{Index, MemberKind};
use berth_format::image::{Blob, Platform, config_file_name};
use berth_format::layer::Layer;
use berth_format::release::blob_file_name;
use berth_format::{Digest, Release};

use super::files::Files;
use super::{ImportError, Known};
use crate::engine::EngineInfo;
use crate::engine::load::LoadedImage;

/// A blob of a channel that an import needs.
#[derive(Debug, Clone)]
pub enum Needed {
    /// `configs/…` or `files/…`.
    Small {
        name: String,
        blob: Blob,
    },
    Layer {
        diff_id: Digest,
        layer: Layer,
    },
}

/// Which blobs an import of `releases` would take, given what is `known`, and in `files_dir`.
pub fn needed(
    releases: &[Release],
    info: &EngineInfo,
    known: &Known,
    files_dir: &Path,
) -> Result<Vec<Needed>, ImportError> {
    let wanted = Wanted::new(releases, info, known)?;
    let files = Files::open(files_dir)?;
    let small = |name: String, digest: &Digest, size: &u64| Needed::Small {
        name,
        blob: Blob {
            digest: *digest,
            size: *size,
        },
    };
    let configs = wanted.configs.iter();
    let configs = configs.map(|(d, size)| small(config_file_name(d), d, size));
    let shipped = wanted.files.iter().filter(|(digest, _)| !files.has(digest));
    let shipped = shipped.map(|(d, size)| small(blob_file_name(d), d, size));
    let layers = wanted.layers.iter().filter_map(|(diff_id, all)| {
        let layer = all.first()?.clone();
        Some(Needed::Layer {
            diff_id: *diff_id,
            layer,
        })
    });
    Ok(configs.chain(shipped).chain(layers).collect())
}

/// What is to be taken.
pub(super) struct Wanted {
    pub(super) images: Vec<LoadedImage>,
    /// As the engine names them.
    pub(super) ids: BTreeSet<Digest>,
    /// Sizes.
    pub(super) configs: BTreeMap<Digest, u64>,
    /// Sizes.
    pub(super) files: BTreeMap<Digest, u64>,
    /// As the releases describe them: two may have packed the same layer differently.
    pub(super) layers: BTreeMap<Digest, Vec<Layer>>,
    /// Layers that Docker has.
    pub(super) known: usize,
}

impl Wanted {
    pub(super) fn new(
        releases: &[Release],
        info: &EngineInfo,
        known: &Known,
    ) -> Result<Self, ImportError> {
        let platform = Platform::linux(&info.architecture);
        let mut wanted = Self {
            images: Vec::new(),
            ids: BTreeSet::new(),
            configs: BTreeMap::new(),
            files: BTreeMap::new(),
            layers: BTreeMap::new(),
            known: 0,
        };
        let mut used = BTreeSet::<Digest>::new();
        let mut missing = BTreeSet::<Digest>::new();
        for release in releases {
            for (name, image) in &release.images {
                let Some(here) = image.platforms.get(&platform) else {
                    return Err(ImportError::Architecture {
                        image: name.clone(),
                        version: release.version.clone(),
                        wanted: platform,
                        offered: image.platforms.keys().cloned().collect(),
                    });
                };
                let loaded = LoadedImage::new(&image.tag, here, &release.layers)
                    .ok_or_else(|| ImportError::Mismatch(image.tag.clone()))?;
                wanted.ids.insert(loaded.image.id(info.image_store));
                wanted.configs.insert(here.config.digest, here.config.size);
                wanted.images.push(loaded);
                used.extend(&here.layers);
                // Once is enough: a layer that one image lacks is sent for all of them.
                missing.extend(known.missing(info.image_store, &here.layers));
            }
            for entry in release.files.values().flat_map(|t| t.entries.values()) {
                if let berth_format::release::FileEntry::File { digest, size, .. } = entry {
                    wanted.files.insert(*digest, *size);
                }
            }
            for (digest, layer) in &release.layers {
                if used.contains(digest) {
                    wanted
                        .layers
                        .entry(*digest)
                        .or_default()
                        .push(layer.clone());
                }
            }
        }
        wanted.layers.retain(|digest, _| missing.contains(digest));
        wanted.known = used.len() - wanted.layers.len();
        Ok(wanted)
    }

    /// Whether the bundle's list has it all.
    pub(super) fn check(&self, index: &Index) -> Result<(), ImportError> {
        let listed: BTreeSet<&str> = index.members.iter().map(|m| m.name.as_str()).collect();
        let configs = self
            .configs
            .keys()
            .map(|d| format!("configs/{}.json", d.hex()));
        let files = self.files.keys().map(|d| format!("files/{}", d.hex()));
        let layers = self.layers.keys().map(Layer::file_name);
        match configs
            .chain(files)
            .chain(layers)
            .find(|name| !listed.contains(name.as_str()))
        {
            Some(name) => Err(ImportError::Absent(name)),
            None => Ok(()),
        }
    }

    /// Whether a member is read; the others are skipped.
    pub(super) fn takes(&self, kind: &MemberKind) -> bool {
        match kind {
            MemberKind::Config(digest) => self.configs.contains_key(digest),
            MemberKind::File(digest) => self.files.contains_key(digest),
            MemberKind::Layer(digest) => self.layers.contains_key(digest),
            _ => false,
        }
    }
}
