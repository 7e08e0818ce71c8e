//! Who signs releases, bundles and channels: the keys of a role, and the roots that name them.

use std::path::{Path, PathBuf};

use berth_format::bundle::RootFile;
use berth_format::key::PublicKey;
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;

use crate::keys::{KeyError, Password, Secret, key_file};
use crate::roots;

/// Enough keys of a role to sign for it.
#[derive(Debug)]
pub struct Signer {
    keys: Vec<Secret>,
    /// The newest root.
    pub root: Root,
    /// Every root with its signatures, oldest first.
    pub roots: Vec<RootFile>,
}

impl Signer {
    /// Reads keys: each a file, or a folder that holds it under [`key_file`]. The roots of trust
    /// lie in `roots`, or beside the first key.
    pub fn load(
        paths: &[PathBuf],
        role: Role,
        roots: Option<&Path>,
        password: &Password,
    ) -> Result<Self, KeyError> {
        let files: Vec<_> = paths.iter().map(|path| file(path, role)).collect();
        let beside = files.first().and_then(|file| file.parent());
        let beside = beside.filter(|dir| !dir.as_os_str().is_empty());
        let dir = roots.or(beside).unwrap_or(Path::new("."));
        let (root, roots) = roots::newest(dir)?;
        let public = root.roles.get(&role).map(Keys::public);
        let public = public.unwrap_or_default();
        let mut keys: Vec<Secret> = Vec::new();
        for file in &files {
            let secret = Secret::load(file, password)?;
            let is_of_role =
                PublicKey::from_minisign(secret.public()).is_ok_and(|key| public.contains(&key));
            if !is_of_role {
                return Err(KeyError::NotOfRoot {
                    key: file.clone(),
                    role,
                    root: dir.join(berth_format::root::file_name(root.version)),
                });
            }
            if keys.iter().all(|key| key.public() != secret.public()) {
                keys.push(secret);
            }
        }
        let threshold = root.threshold(role).unwrap_or(1);
        if keys.len() < threshold {
            return Err(KeyError::TooFew {
                role,
                threshold,
                found: keys.len(),
            });
        }
        Ok(Self { keys, root, roots })
    }

    /// A signature file by each key, the same for the same bytes.
    pub fn sign(&self, bytes: &[u8], subject: &Subject<'_>) -> Result<Vec<Vec<u8>>, KeyError> {
        let sign = |key: &Secret| key.sign(bytes, subject);
        self.keys.iter().map(sign).collect()
    }
}

/// The key of a role in a folder, or the file itself.
pub fn file(path: &Path, role: Role) -> PathBuf {
    if path.is_dir() {
        path.join(key_file(role))
    } else {
        path.to_owned()
    }
}
