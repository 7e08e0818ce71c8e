//! A vendor's folder to a signed release: every image pinned, every layer packed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use berth_format::bundle::believe;
use berth_format::image::{Blob, PlatformImage, config_file_name, oci_manifest};
use berth_format::layer::Layer;
use berth_format::release::{self, Release, blob_file_name};
use berth_format::signature::Subject;
use berth_format::{Digest, validate};
use semver::Version;

use crate::compose::{self, Refused, Resolved};
use crate::images::{ImageError, Place, plain};
use crate::keys::KeyError;
use crate::layers;
use crate::megabytes;
use crate::out::{Out, OutError};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::signed;
use crate::signer::Signer;

mod pick;

use pick::Picked;

/// Why a release cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{} problems", .0.problems.len())]
    Problems(Refused),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("layer {} of {image}: {problem}", diff_id.short())]
    Layer {
        image: String,
        diff_id: Digest,
        problem: String,
    },
    #[error(
        "layers/{}.tar.zst is damaged, and a release names its old bytes, which this berth-publish does not make again",
        .0.hex()
    )]
    LayerLost(Digest),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} has changed while the release was built", .0.display())]
    Changed(PathBuf),
    #[error("the release is not valid: {0}")]
    Invalid(String),
    #[error("{} is there already and differs", .0.display())]
    Exists(PathBuf),
    #[error("the product is {found}, the root of trust is for {expected}")]
    Product { expected: String, found: String },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Out(#[from] OutError),
}

/// How to build.
#[derive(Debug)]
pub struct Options<'a> {
    /// The engine's socket.
    pub engine: &'a Path,
    /// zstd's, for layers that are not packed yet.
    pub level: i32,
    /// Overwrite a release of this version that differs.
    pub replace: bool,
    pub progress: Progress,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    pub release: Release,
    pub path: PathBuf,
    pub warnings: Vec<Problem>,
    /// Layers that had to be packed.
    pub packed: usize,
}

/// Builds the release of a vendor's folder into `out`.
pub fn build(
    dir: &Path,
    out: &Path,
    key: &Signer,
    options: &Options<'_>,
) -> Result<Built, BuildError> {
    let mut resolved = compose::resolve(dir).map_err(BuildError::Problems)?;
    if resolved.release.product != key.root.product {
        return Err(BuildError::Product {
            expected: key.root.product.to_string(),
            found: resolved.release.product.to_string(),
        });
    }
    let out = Out::open(out)?;
    let mut builder = Builder {
        described: out.described()?,
        out: &out,
        options,
        layers: BTreeMap::new(),
        packed: 0,
    };
    builder.images(&mut resolved)?;
    builder.files(&resolved)?;
    let Resolved {
        mut release,
        warnings,
        ..
    } = resolved;
    release.layers = builder.layers;
    let packed = builder.packed;
    let path = seal(&out, &release, key, options.replace)?;
    Ok(Built {
        release,
        path,
        warnings,
        packed,
    })
}

// Checks, signs and writes the release itself: the last step, so that what it names is there.
fn seal(out: &Out, release: &Release, key: &Signer, replace: bool) -> Result<PathBuf, BuildError> {
    let problems = validate::check(release);
    if !problems.is_empty() {
        return Err(BuildError::Invalid(problems.join("; ")));
    }
    let bytes = release.to_bytes();
    if bytes.len() as u64 > release::MAX_BYTES {
        return Err(BuildError::Invalid(format!(
            "release.json has {} bytes, at most {} are read",
            bytes.len(),
            release::MAX_BYTES
        )));
    }
    let name = release.file_name();
    let path = out.path(&name);
    if !replace && fs::read(&path).is_ok_and(|old| old != bytes) {
        return Err(BuildError::Exists(path));
    }
    let subject = Subject::Release {
        product: &release.product,
        version: &release.version,
    };
    let signatures = key.sign(&bytes, &subject)?;
    // What leaves this machine is what an appliance would take.
    believe(&key.root, &release.version, &bytes, &signatures)
        .map_err(|error| BuildError::Invalid(error.to_string()))?;
    signed::put(out, &name, &bytes, &signatures)?;
    Ok(path)
}

struct Builder<'a> {
    out: &'a Out,
    options: &'a Options<'a>,
    described: BTreeMap<Digest, Layer>,
    layers: BTreeMap<Digest, Layer>,
    packed: usize,
}

impl Builder<'_> {
    fn images(&mut self, resolved: &mut Resolved) -> Result<(), BuildError> {
        let picked = pick::pick(self, resolved)?;
        let mut volumes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Picked {
            key,
            platform,
            found,
        } in picked
        {
            let source = resolved
                .release
                .images
                .get(&key)
                .map_or_else(|| key.clone(), |i| i.source.clone());
            for (diff_id, place) in &found.layers {
                if !self.layers.contains_key(diff_id) {
                    let layer = self.layer(&source, diff_id, place.as_ref())?;
                    self.layers.insert(*diff_id, layer);
                }
            }
            let config = Blob {
                digest: Digest::of(&found.config),
                size: found.config.len() as u64,
            };
            self.out
                .put(&config_file_name(&config.digest), &found.config)?;
            let layers: Vec<_> = found.layers.iter().map(|(id, _)| *id).collect();
            let raw: Vec<_> = layers
                .iter()
                .filter_map(|id| {
                    self.layers.get(id).map(|layer| Blob {
                        digest: *id,
                        size: layer.size,
                    })
                })
                .collect();
            let image = PlatformImage {
                config,
                manifest: Digest::of(&oci_manifest(config, &raw)),
                layers,
            };
            if let Some(entry) = resolved.release.images.get_mut(&key) {
                entry.platforms.insert(platform, image);
            }
            volumes.entry(key).or_default().extend(found.volumes);
        }
        for (key, paths) in volumes {
            let paths: Vec<_> = paths.into_iter().collect();
            compose::add_image_volumes(&mut resolved.release, &resolved.inherits, &key, &paths);
        }
        Ok(())
    }

    // The layer as an earlier release in the folder describes it, if its file is still whole.
    fn kept(&mut self, diff_id: &Digest) -> Result<Option<Layer>, BuildError> {
        if let Some(layer) = self.layers.get(diff_id) {
            return Ok(Some(layer.clone()));
        }
        let Some(layer) = self.described.get(diff_id).cloned() else {
            return Ok(None);
        };
        let path = self.out.path(&Layer::file_name(diff_id));
        let Ok(mut file) = File::open(&path) else {
            return Ok(None);
        };
        let is_intact = layers::is_intact(diff_id, &layer, &mut file, |_| {})
            .map_err(|source| BuildError::File { path, source })?;
        if is_intact {
            self.layers.insert(*diff_id, layer.clone());
        }
        Ok(is_intact.then_some(layer))
    }

    fn layer(
        &mut self,
        image: &str,
        diff_id: &Digest,
        place: Option<&Place>,
    ) -> Result<Layer, BuildError> {
        if let Some(layer) = self.kept(diff_id)? {
            return Ok(layer);
        }
        let bad = |problem: String| BuildError::Layer {
            image: image.to_owned(),
            diff_id: *diff_id,
            problem,
        };
        let place = place.ok_or_else(|| bad("it is gone".into()))?;
        let (reader, size) = place
            .store
            .open(&place.name)?
            .ok_or_else(|| bad(format!("{} is not in {}", place.name, place.store.name())))?;
        let mut tar = plain(reader).map_err(|error| bad(error.to_string()))?;
        let mut task = self
            .options
            .progress
            .task(format!("packing {} of {image}", diff_id.short()), size);
        let file = self.out.scratch()?;
        let (found, layer) = layers::pack(
            &mut tar,
            self.options.level,
            BufWriter::new(file.as_file()),
            |n| task.add(n),
        )
        .map_err(|error| bad(error.to_string()))?;
        if found != *diff_id {
            return Err(bad(format!(
                "its config names {diff_id}, its bytes are {found}"
            )));
        }
        let described = self.described.get(diff_id);
        if described.is_some_and(|described| *described != layer) {
            return Err(BuildError::LayerLost(*diff_id));
        }
        self.out.keep(file, &Layer::file_name(diff_id))?;
        self.packed += 1;
        task.end(&format!(
            "{:.1} MB to {:.1} MB",
            megabytes(layer.size),
            megabytes(layer.stored.size)
        ));
        Ok(layer)
    }

    fn files(&self, resolved: &Resolved) -> Result<(), BuildError> {
        for (digest, path) in &resolved.blobs {
            let bytes = fs::read(path).map_err(|source| BuildError::File {
                path: path.clone(),
                source,
            })?;
            if Digest::of(&bytes) != *digest {
                return Err(BuildError::Changed(path.clone()));
            }
            self.out.put(&blob_file_name(digest), &bytes)?;
        }
        Ok(())
    }
}

/// The versions that are in a folder, oldest first.
pub fn versions(dir: &Path) -> io::Result<Vec<Version>> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let version = name
            .strip_prefix("release-")
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|version| Version::parse(version).ok());
        versions.extend(version);
    }
    versions.sort();
    Ok(versions)
}
