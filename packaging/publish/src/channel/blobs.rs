//! Everything that a release names is in the folder, byte for byte.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use berth_format::digest::Hashing;
use berth_format::image::{Blob, config_file_name};
use berth_format::layer::Layer;
use berth_format::release::{FileEntry, blob_file_name};
use berth_format::{Digest, Release};

use super::{PublishError, at};
use crate::megabytes;
use crate::progress::Progress;

/// Reads every file that a release names, and refuses one that is missing or differs.
pub(super) fn check(dir: &Path, release: &Release, progress: Progress) -> Result<(), PublishError> {
    let what = format!("release {}", release.version);
    check_all(dir, &what, named(release), progress)
}

/// The same for files that something else names.
pub(super) fn check_files<'a>(
    dir: &Path,
    what: &str,
    files: impl Iterator<Item = &'a Blob>,
    progress: Progress,
) -> Result<(), PublishError> {
    let named = files.map(|blob| (blob_file_name(&blob.digest), *blob));
    check_all(dir, what, named.collect(), progress)
}

fn check_all(
    dir: &Path,
    what: &str,
    named: Vec<(String, Blob)>,
    progress: Progress,
) -> Result<(), PublishError> {
    let total: u64 = named.iter().map(|(_, blob)| blob.size).sum();
    let mut task = progress.task(format!("checking {what}"), total);
    for (name, expected) in named {
        let path = dir.join(&name);
        let mut file = File::open(&path).map_err(at(&path))?;
        let mut hashing = Hashing::new(io::sink());
        // One byte more than it may have, so that a longer file is seen without being read whole.
        let mut bounded = file.by_ref().take(expected.size + 1);
        io::copy(&mut bounded, &mut hashing).map_err(at(&path))?;
        let (_, digest, size) = hashing.finish();
        if (digest, size) != (expected.digest, expected.size) {
            return Err(PublishError::Blob {
                path,
                problem: format!("{what} names other bytes under this name"),
            });
        }
        task.add(size);
    }
    task.end(&format!("{:.1} MB are what was signed", megabytes(total)));
    Ok(())
}

fn named(release: &Release) -> Vec<(String, Blob)> {
    let mut named = Vec::new();
    let images = release.images.values().flat_map(|i| i.platforms.values());
    named.extend(images.map(|image| (config_file_name(&image.config.digest), image.config)));
    for entry in release.files.values().flat_map(|t| t.entries.values()) {
        if let FileEntry::File { digest, size, .. } = entry {
            let blob = Blob {
                digest: *digest,
                size: *size,
            };
            named.push((blob_file_name(digest), blob));
        }
    }
    let layer = |(diff_id, layer): (&Digest, &Layer)| (Layer::file_name(diff_id), layer.stored);
    named.extend(release.layers.iter().map(layer));
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    named.dedup();
    named
}
