//! The quick start: one person, one key for each role.

use std::path::{Path, PathBuf};

use berth_format::root::{FORMAT, Keys, Role, Root, file_name};
use berth_format::signature::{self, Subject};
use berth_format::{Digest, Product};
use jiff::Timestamp;

use super::make_dir;
use crate::keys::{KeyError, Password, Secret, create, key_file, make_with};

/// What was made.
#[derive(Debug)]
pub struct Generated {
    pub root: PathBuf,
    pub fingerprint: Digest,
    pub files: Vec<PathBuf>,
}

/// Makes a key for each role and the first root of trust, into `dir`.
pub fn generate(
    dir: &Path,
    product: &Product,
    expires: Timestamp,
    password: &Password,
) -> Result<Generated, KeyError> {
    const ROLES: [Role; 3] = [Role::Root, Role::Release, Role::Channel];
    make_dir(dir)?;
    let name = file_name(1);
    let root_path = dir.join(&name);
    let signature = dir.join(signature::file_name(&name, 1));
    let fingerprint_path = dir.join("fingerprint");
    let mut files = vec![
        root_path.clone(),
        signature.clone(),
        fingerprint_path.clone(),
    ];
    for role in ROLES {
        let key = dir.join(key_file(role));
        files.extend([key.with_extension("pub"), key]);
    }
    if let Some(path) = files.iter().find(|path| path.exists()) {
        return Err(KeyError::Exists(path.clone()));
    }
    let password = password.get(&dir.join(key_file(Role::Root)), true)?;
    let mut keys = Vec::new();
    for role in ROLES {
        let comment = format!("{product} {role} key");
        let secret = make_with(&dir.join(key_file(role)), &comment, password.clone())?;
        keys.push((role, secret));
    }
    let one = |(role, secret): &(Role, Secret)| {
        let keys = Keys {
            threshold: 1,
            keys: vec![secret.public().to_owned()],
        };
        (*role, keys)
    };
    let root = Root {
        format: FORMAT,
        product: product.clone(),
        version: 1,
        expires,
        roles: keys.iter().map(one).collect(),
    };
    let mut bytes = berth_format::canonical(&root);
    bytes.push(b'\n');
    let subject = Subject::Root {
        product,
        version: 1,
    };
    create(&root_path, &bytes, 0o644)?;
    for (role, secret) in &keys {
        if *role == Role::Root {
            create(&signature, &secret.sign(&bytes, &subject)?, 0o644)?;
        }
    }
    let fingerprint = Digest::of(&bytes);
    create(
        &fingerprint_path,
        format!("{fingerprint}\n").as_bytes(),
        0o644,
    )?;
    Ok(Generated {
        root: root_path,
        fingerprint,
        files,
    })
}
