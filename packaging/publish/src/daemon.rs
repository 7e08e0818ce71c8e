//! The daemon in the folder that is published: its programs and the file that the release key signs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_format::Digest;
use berth_format::daemon::{Daemon, FORMAT, believe, file_name};
use berth_format::image::{Blob, Platform};
use berth_format::release::blob_file_name;
use berth_format::signature::Subject;
use semver::Version;

use crate::channel::{PublishError, take};
use crate::signed;
use crate::signer::Signer;

/// Puts a version of the daemon into the folder; a channel may then name it.
pub fn add(
    dir: &Path,
    version: &Version,
    programs: &[(Platform, PathBuf)],
    signer: &Signer,
) -> Result<PathBuf, PublishError> {
    let out = take(dir)?;
    let mut files = BTreeMap::new();
    for (platform, path) in programs {
        let bytes = fs::read(path).map_err(at(path))?;
        let blob = Blob {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        out.put(&blob_file_name(&blob.digest), &bytes)?;
        files.insert(platform.clone(), blob);
    }
    let daemon = Daemon {
        format: FORMAT,
        product: signer.root.product.clone(),
        version: version.clone(),
        files,
    };
    let bytes = daemon.to_bytes();
    let name = file_name(version);
    let path = out.path(&name);
    if fs::read(&path).is_ok_and(|old| old != bytes) {
        return Err(PublishError::Exists(path));
    }
    let subject = Subject::Daemon {
        product: &daemon.product,
        version,
    };
    let signatures = signer.sign(&bytes, &subject)?;
    // What leaves this machine is what an appliance would take.
    believe(&signer.root, version, &bytes, &signatures)
        .map_err(|error| PublishError::Refused(Box::new(error.refusal())))?;
    signed::put(&out, &name, &bytes, &signatures)?;
    Ok(path)
}

fn at(path: &Path) -> impl Fn(io::Error) -> PublishError {
    let path = path.to_owned();
    move |source| PublishError::Io {
        path: path.clone(),
        source,
    }
}
