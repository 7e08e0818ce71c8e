//! Releases under a new release key: the same bytes, so that channels go on naming them.

use std::fs;
use std::io;
use std::path::Path;

use berth_format::Digest;
use berth_format::bundle::{BundleError, believe};
use berth_format::root::Root;
use berth_format::signature::Subject;
use semver::Version;

use crate::channel::{PublishError, take};
use crate::signed;
use crate::signer::Signer;

/// Signs releases that any of the roots believes, so that nothing gets a signature by this that
/// never had one. Whether a thief gave it that one is the vendor's to know: he names the versions,
/// and gets the digests to compare.
pub fn resign(
    dir: &Path,
    versions: &[Version],
    signer: &Signer,
) -> Result<Vec<(Version, Digest)>, PublishError> {
    let out = take(dir)?;
    let mut done = Vec::new();
    for version in versions {
        let name = format!("release-{version}.json");
        let path = dir.join(&name);
        let at = |source: io::Error| PublishError::Io {
            path: path.clone(),
            source,
        };
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => PublishError::NoRelease {
                version: version.clone(),
                dir: dir.to_owned(),
            },
            _ => at(error),
        })?;
        let old = signed::read_signatures(dir, &name).map_err(|(_, error)| at(error))?;
        believed_by_any(signer, version, &bytes, &old)?;
        let subject = Subject::Release {
            product: &signer.root.product,
            version,
        };
        let new = signer.sign(&bytes, &subject)?;
        believe(&signer.root, version, &bytes, &new)?;
        signed::put_signatures(&out, &name, &new)?;
        done.push((version.clone(), Digest::of(&bytes)));
    }
    Ok(done)
}

fn believed_by_any(
    signer: &Signer,
    version: &Version,
    bytes: &[u8],
    signatures: &[Vec<u8>],
) -> Result<(), BundleError> {
    let newest = believe(&signer.root, version, bytes, signatures);
    let older = signer
        .roots
        .iter()
        .filter_map(|f| Root::parse(&f.bytes).ok());
    let is_believed = |root: Root| believe(&root, version, bytes, signatures).is_ok();
    if newest.is_ok() || older.into_iter().any(is_believed) {
        return Ok(());
    }
    newest.map(|_| ())
}
