//! The vendor's roots of trust: made, changed and signed by several people, one after the other.
//!
//! They lie in one folder as `N.root.json` with their signatures. The newest may be a draft, which
//! too few have signed yet; it changes only while nobody has. A secret key is needed for nothing
//! but [`sign`], so each person keeps his own, offline, and only the folder travels.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use berth_format::bundle::RootFile;
use berth_format::key::PublicKey;
use berth_format::root::{Keys, Role, Root, RootError, file_name};
use berth_format::signature::{self, Subject};
use jiff::Timestamp;

use crate::keys::{KeyError, Password, Secret, at, create};
use crate::out;
use crate::signed;

mod quick;

pub use quick::{Generated, generate};

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Folder {
    /// The newest root that is believed.
    pub root: Option<Root>,
    /// Every root that is believed, oldest first.
    pub files: Vec<RootFile>,
    /// The one after it, which too few have signed.
    pub draft: Option<(Root, RootFile)>,
}

/// How far the signatures of a root are.
#[derive(Debug, Default)]
pub struct Collected {
    /// Keys that have signed, as their texts, each with the number of its file.
    pub signed: Vec<String>,
    /// What is still missing; empty when nothing is.
    pub missing: Vec<String>,
}

/// Reads a folder; each root is followed from the one before.
pub fn read(dir: &Path) -> Result<Folder, KeyError> {
    let mut folder = Folder::default();
    for version in 1.. {
        let name = file_name(version);
        let path = dir.join(&name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other.map_err(at(&path))?,
        };
        let signatures =
            signed::read_signatures(dir, &name).map_err(|(path, error)| at(&path)(error))?;
        let file = RootFile {
            version,
            bytes,
            signatures,
        };
        let believed = match &folder.root {
            None => Root::first(&file.bytes, &file.signatures),
            Some(old) => old.next(&file.bytes, &file.signatures),
        };
        let failed = |source| KeyError::Root {
            path: path.clone(),
            source,
        };
        match believed {
            Ok(root) => {
                folder.root = Some(root);
                folder.files.push(file);
            }
            // Only the newest may be a draft.
            Err(error @ RootError::Signature(_)) => {
                if dir.join(file_name(version + 1)).exists() {
                    return Err(failed(error));
                }
                let draft = Root::parse(&file.bytes).map_err(failed)?;
                let is_next = draft.version == version
                    && folder
                        .root
                        .as_ref()
                        .is_none_or(|r| r.product == draft.product);
                if !is_next {
                    return Err(failed(RootError::Order {
                        product: draft.product,
                        expected: version,
                        found: draft.version,
                    }));
                }
                folder.draft = Some((draft, file));
                break;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(folder)
}

/// The newest root of trust in a folder, and all of them. A draft is an error: whoever publishes
/// while a rotation is under way should know.
pub fn newest(dir: &Path) -> Result<(Root, Vec<RootFile>), KeyError> {
    let folder = read(dir)?;
    if let Some((draft, file)) = &folder.draft {
        return Err(KeyError::Unfinished {
            path: dir.join(file_name(draft.version)),
            missing: progress(folder.root.as_ref(), draft, file)
                .missing
                .join(", "),
        });
    }
    match folder.root {
        Some(root) => Ok((root, folder.files)),
        None => Err(KeyError::NoRoot(dir.to_owned())),
    }
}

/// Who has signed a root, and how many of the old and of the new keys are still missing.
pub fn progress(old: Option<&Root>, root: &Root, file: &RootFile) -> Collected {
    let subject = Subject::Root {
        product: &root.product,
        version: root.version,
    };
    let mut texts = root.keys(Role::Root).to_vec();
    texts.extend(
        old.into_iter()
            .flat_map(|old| old.keys(Role::Root))
            .cloned(),
    );
    let mut signed = Vec::new();
    for signature in &file.signatures {
        if let Ok(at) = signature::verify(&texts, &file.bytes, signature, &subject)
            && !signed.contains(&texts[at])
        {
            signed.push(texts[at].clone());
        }
    }
    let count = |keys: &[String]| {
        let ours: Vec<_> = keys
            .iter()
            .filter_map(|k| PublicKey::from_minisign(k).ok())
            .collect();
        let signed = signed
            .iter()
            .filter_map(|k| PublicKey::from_minisign(k).ok());
        signed.filter(|key| ours.contains(key)).count()
    };
    let mut missing = Vec::new();
    for (root, which) in [(old, "the root before it"), (Some(root), "its own keys")] {
        if let Some(root) = root {
            let wanted = root.threshold(Role::Root).unwrap_or(1);
            let found = count(root.keys(Role::Root));
            if found < wanted {
                missing.push(format!("{found} of {wanted} of {which}"));
            }
        }
    }
    Collected { signed, missing }
}

/// Begins a folder with a draft of its first root.
pub fn init(dir: &Path, root: &Root) -> Result<PathBuf, KeyError> {
    make_dir(dir)?;
    let path = dir.join(file_name(1));
    if path.exists() {
        return Err(KeyError::Exists(path));
    }
    write(dir, root)
}

/// Changes the draft, or begins one that follows the newest root and expires at `expires`.
///
/// A draft keeps its expiry unless `is_said`.
pub fn edit(
    dir: &Path,
    expires: Timestamp,
    is_said: bool,
    change: impl FnOnce(&mut Root) -> Result<(), KeyError>,
) -> Result<(Root, PathBuf), KeyError> {
    let folder = read(dir)?;
    let mut root = match (folder.draft, folder.root) {
        (Some((mut draft, file)), _) => {
            if !file.signatures.is_empty() {
                return Err(KeyError::Signed(dir.join(file_name(draft.version))));
            }
            if is_said {
                draft.expires = expires;
            }
            draft
        }
        (None, Some(mut root)) => {
            root.expires = expires;
            root.version = root
                .version
                .checked_add(1)
                .ok_or_else(|| KeyError::Edit("there is no higher version".into()))?;
            root
        }
        (None, None) => return Err(KeyError::NoRoot(dir.to_owned())),
    };
    change(&mut root)?;
    let path = write(dir, &root)?;
    Ok((root, path))
}

/// Adds a key to a role.
pub fn add(root: &mut Root, role: Role, key: &str) -> Result<(), KeyError> {
    let keys = root.roles.entry(role).or_insert_with(|| Keys {
        threshold: 1,
        keys: Vec::new(),
    });
    let new = PublicKey::from_minisign(key).map_err(|_| KeyError::Public(key.to_owned()))?;
    if keys.public().contains(&new) {
        return Err(KeyError::Edit(format!("{key} is a {role} key already")));
    }
    keys.keys.push(key.to_owned());
    Ok(())
}

/// Takes a key out of a role.
pub fn remove(root: &mut Root, role: Role, key: &str) -> Result<(), KeyError> {
    let old = PublicKey::from_minisign(key).map_err(|_| KeyError::Public(key.to_owned()))?;
    let keys = root.roles.get_mut(&role);
    let before = keys.as_ref().map_or(0, |keys| keys.keys.len());
    if let Some(keys) = keys {
        keys.keys
            .retain(|text| PublicKey::from_minisign(text).is_ok_and(|key| key != old));
        if keys.keys.len() < before {
            return Ok(());
        }
    }
    Err(KeyError::Edit(format!("{key} is not a {role} key")))
}

/// Says how many keys of a role must sign, if it is said.
pub fn set_threshold(root: &mut Root, role: Role, threshold: Option<u32>) {
    if let (Some(keys), Some(threshold)) = (root.roles.get_mut(&role), threshold) {
        keys.threshold = threshold;
    }
}

/// Adds a person's signature to a root. The root itself is not touched.
pub fn sign(path: &Path, key: &Path, password: &Password) -> Result<Collected, KeyError> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let folder = read(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_it = |file: &RootFile| file_name(file.version) == name;
    let (root, mut file) = match folder.draft {
        Some((root, file)) if is_it(&file) => (root, file),
        _ => {
            let file = folder.files.into_iter().find(is_it);
            let file = file.ok_or_else(|| KeyError::NoRoot(dir.to_owned()))?;
            let root = Root::parse(&file.bytes).map_err(|source| KeyError::Root {
                path: path.to_owned(),
                source,
            })?;
            (root, file)
        }
    };
    let old = match root.version.checked_sub(1) {
        None | Some(0) => None,
        Some(version) => read_one(dir, version)?,
    };
    let secret = Secret::load(key, password)?;
    let mine = PublicKey::from_minisign(secret.public()).ok();
    let is_named = |root: &Root| {
        let keys = root.roles.get(&Role::Root);
        keys.is_some_and(|keys| mine.is_some_and(|mine| keys.public().contains(&mine)))
    };
    if !is_named(&root) && !old.as_ref().is_some_and(is_named) {
        return Err(KeyError::NotOfRoot {
            key: key.to_owned(),
            role: Role::Root,
            root: path.to_owned(),
        });
    }
    let before = progress(old.as_ref(), &root, &file);
    let has_signed = before
        .signed
        .iter()
        .any(|text| PublicKey::from_minisign(text).ok() == mine);
    if has_signed {
        return Ok(before);
    }
    let n = file.signatures.len() + 1;
    if n > signature::MAX_FILES {
        return Err(KeyError::Edit(format!("{name} has {} signatures", n - 1)));
    }
    let subject = Subject::Root {
        product: &root.product,
        version: root.version,
    };
    let signature = secret.sign(&file.bytes, &subject)?;
    create(&dir.join(signature::file_name(&name, n)), &signature, 0o644)?;
    file.signatures.push(signature);
    Ok(progress(old.as_ref(), &root, &file))
}

// A root of the folder that is believed: `read` has followed it.
fn read_one(dir: &Path, version: u32) -> Result<Option<Root>, KeyError> {
    let path = dir.join(file_name(version));
    let bytes = fs::read(&path).map_err(at(&path))?;
    let root = Root::parse(&bytes).map_err(|source| KeyError::Root { path, source })?;
    Ok(Some(root))
}

fn write(dir: &Path, root: &Root) -> Result<PathBuf, KeyError> {
    let mut bytes = berth_format::canonical(root);
    bytes.push(b'\n');
    let path = dir.join(file_name(root.version));
    // What is asked to be signed is what an appliance would read.
    Root::parse(&bytes).map_err(|source| KeyError::Root {
        path: path.clone(),
        source,
    })?;
    out::replace(&path, &bytes).map_err(|error| at(&path)(io::Error::other(error)))?;
    Ok(path)
}

fn make_dir(dir: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(at(dir))
}
