//! The vendor's keys: minisign's own files, and signatures that minisign verifies.
//!
//! Ed25519 is used as RFC 8032 says, without the random noise that minisign's library adds, so
//! that the same bytes get the same signature. Format: <https://jedisct1.github.io/minisign/>.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_format::Digest;
use berth_format::root::{Role, RootError};
use berth_format::signature::{self, SignatureError, Subject};
use blake2::{Blake2b512, Digest as _};
use minisign::{KeyPair, SecretKeyBox};

/// The name of a role's key in a folder of keys.
pub fn key_file(role: Role) -> String {
    format!("{role}.key")
}

/// The environment variable that the password of a key is read from.
pub const PASSWORD_ENV: &str = "BERTH_KEY_PASSWORD";

/// The bytes of a minisign secret key file's second line.
const SECRET_BYTES: usize = 158;

/// Why keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("{}: not a minisign secret key, or not with this password: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{} is encrypted, and no password was given", .0.display())]
    NoPassword(PathBuf),
    #[error("the passwords differ")]
    PasswordsDiffer,
    #[error("making a key failed: {0}")]
    Generate(#[from] minisign::PError),
    #[error("{}: {source}", path.display())]
    Root { path: PathBuf, source: RootError },
    #[error("no 1.root.json in {}", .0.display())]
    NoRoot(PathBuf),
    #[error("{} is not signed by enough keys: {missing}", path.display())]
    Unfinished { path: PathBuf, missing: String },
    #[error("{} is signed already, and would change", .0.display())]
    Signed(PathBuf),
    #[error("{} is not a {role} key of {}", key.display(), root.display())]
    NotOfRoot {
        key: PathBuf,
        role: Role,
        root: PathBuf,
    },
    #[error("{threshold} {role} keys must sign, {found} were given")]
    TooFew {
        role: Role,
        threshold: usize,
        found: usize,
    },
    #[error("{0:?} is neither a file with a minisign public key nor such a key")]
    Public(String),
    #[error("{0}")]
    Edit(String),
    #[error("a signature was made that does not verify: {0}")]
    Signature(#[from] SignatureError),
    #[error("{} is inside of {}, which is published", key.display(), out.display())]
    Published { key: PathBuf, out: PathBuf },
}

/// Where the password of a key comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// The key is not encrypted.
    None,
    /// This one.
    Given(String),
    /// The terminal is asked, if it is one.
    Ask,
}

impl Password {
    /// From a file (`/dev/fd/3` for an open descriptor), else the environment, else the terminal.
    pub fn find(file: Option<&Path>) -> Result<Self, KeyError> {
        if let Some(path) = file {
            let text = fs::read_to_string(path).map_err(at(path))?;
            return Ok(Self::Given(
                text.lines().next().unwrap_or_default().to_owned(),
            ));
        }
        Ok(std::env::var(PASSWORD_ENV).map_or(Self::Ask, Self::Given))
    }

    pub(crate) fn get(&self, key: &Path, again: bool) -> Result<Option<String>, KeyError> {
        match self {
            Self::None => Ok(None),
            Self::Given(text) => Ok(Some(text.clone())),
            Self::Ask if !io::stdin().is_terminal() => Err(KeyError::NoPassword(key.to_owned())),
            Self::Ask => {
                let ask = |prompt: String| rpassword::prompt_password(prompt).map_err(at(key));
                let first = ask(format!("Password of {}: ", key.display()))?;
                if again && ask("Once more: ".into())? != first {
                    return Err(KeyError::PasswordsDiffer);
                }
                Ok(Some(first))
            }
        }
    }
}

/// Makes a key: `path` for the secret one, `.pub` beside it for the public one.
pub fn make(path: &Path, comment: &str, password: &Password) -> Result<Secret, KeyError> {
    let public = path.with_extension("pub");
    if let Some(path) = [path, &public].into_iter().find(|path| path.exists()) {
        return Err(KeyError::Exists(path.to_owned()));
    }
    let password = password.get(path, true)?;
    make_with(path, comment, password)
}

/// The same, with a password that was asked for already.
pub(crate) fn make_with(
    path: &Path,
    comment: &str,
    password: Option<String>,
) -> Result<Secret, KeyError> {
    let pair = match &password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password.clone()))?,
        None => KeyPair::generate_unencrypted_keypair()?,
    };
    let secret = pair.sk.to_box(Some(comment))?.into_string();
    create(path, secret.as_bytes(), 0o600)?;
    let public = pair.pk.to_box()?.into_string();
    create(&path.with_extension("pub"), public.as_bytes(), 0o644)?;
    Secret::read(path, &secret, password)
}

/// A public key: of a minisign `.pub` file, or as its base64.
pub fn public(text: &str) -> Result<String, KeyError> {
    let bad = || KeyError::Public(text.to_owned());
    let found = match fs::read_to_string(text) {
        Ok(file) => {
            let mut lines = file.lines().filter(|line| !line.trim().is_empty());
            let key = lines.find(|line| !line.starts_with("untrusted comment:"));
            key.ok_or_else(bad)?.trim().to_owned()
        }
        Err(_) => text.to_owned(),
    };
    berth_format::key::PublicKey::from_minisign(&found).map_err(|_| bad())?;
    Ok(found)
}

/// A digest in groups of four, for reading aloud.
pub fn spoken(digest: &Digest) -> String {
    let hex = digest.hex();
    let groups: Vec<_> = (0..hex.len()).step_by(4).map(|n| &hex[n..n + 4]).collect();
    groups.join(" ")
}

/// Refuses a folder that is published if a secret key is in it.
pub fn outside(key: &Path, out: &Path) -> Result<(), KeyError> {
    let (Ok(real), Ok(published)) = (key.canonicalize(), out.canonicalize()) else {
        return Ok(());
    };
    if real.starts_with(&published) {
        return Err(KeyError::Published {
            key: key.to_owned(),
            out: out.to_owned(),
        });
    }
    Ok(())
}

/// Refuses a folder that is published if any secret key lies where a reader would find it. Only
/// small files are looked at, and not those that are named by digests.
pub fn no_secrets(dir: &Path) -> Result<(), KeyError> {
    let mut folders = vec![(dir.to_owned(), true)];
    while let Some((folder, is_top)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(at(&folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(at(&folder))?;
            let (path, meta) = (entry.path(), entry.metadata().map_err(at(&folder))?);
            let name = entry.file_name();
            let is_blobs = ["layers", "configs", "files"]
                .iter()
                .any(|blobs| name == *blobs);
            if meta.is_dir() && is_top && !is_blobs {
                folders.push((path, false));
            } else if meta.is_file() && meta.len() <= 4096 && is_secret(&path) {
                return Err(KeyError::Published {
                    key: path,
                    out: dir.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn is_secret(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| {
        // Algorithms, salt, limits, id, key and checksum: more than any signature has.
        let line = text.lines().nth(1).unwrap_or_default();
        STANDARD
            .decode(line.trim())
            .is_ok_and(|bytes| bytes.len() == SECRET_BYTES)
    })
}

/// A decrypted key.
pub struct Secret {
    id: [u8; 8],
    key: ed25519_compact::SecretKey,
    // minisign's base64.
    public: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Secret").field(&self.public).finish()
    }
}

impl Secret {
    /// Reads a key, which may be encrypted.
    pub fn load(path: &Path, password: &Password) -> Result<Self, KeyError> {
        let text = fs::read_to_string(path).map_err(at(path))?;
        match Self::read(path, &text, None) {
            Err(KeyError::Unreadable { .. }) => Self::read(path, &text, password.get(path, false)?),
            other => other,
        }
    }

    /// The public key as minisign's base64.
    pub fn public(&self) -> &str {
        &self.public
    }

    fn read(path: &Path, text: &str, password: Option<String>) -> Result<Self, KeyError> {
        let unreadable = |reason: String| KeyError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let bytes = match (&password, plain(text)) {
            (None, Some(bytes)) => bytes,
            _ => SecretKeyBox::from_string(text)
                .and_then(|boxed| match password {
                    Some(password) => boxed.into_secret_key(Some(password)),
                    None => boxed.into_unencrypted_secret_key(),
                })
                .map_err(|error| unreadable(error.to_string()))?
                .to_bytes(),
        };
        // Algorithms (3 × 2), salt (32), limits (2 × 8), key id (8), secret key (64), checksum.
        let id: Option<[u8; 8]> = bytes.get(54..62).and_then(|id| id.try_into().ok());
        let key = bytes
            .get(62..126)
            .and_then(|key| ed25519_compact::SecretKey::from_slice(key).ok());
        let (Some(id), Some(key)) = (id, key) else {
            return Err(unreadable("its length".into()));
        };
        let pair = ed25519_compact::KeyPair::from_seed(key.seed());
        if pair.sk != key {
            return Err(unreadable("its two halves do not belong together".into()));
        }
        let public = [b"Ed".as_slice(), &id, pair.pk.as_ref()].concat();
        Ok(Self {
            id,
            key,
            public: STANDARD.encode(public),
        })
    }

    /// minisign's signature file over `bytes`, the same for the same bytes.
    pub fn sign(&self, bytes: &[u8], subject: &Subject<'_>) -> Result<Vec<u8>, KeyError> {
        let comment = subject.to_string();
        let signature = self.key.sign(Blake2b512::digest(bytes), None);
        let mut signed = signature.to_vec();
        signed.extend_from_slice(comment.as_bytes());
        let whole = self.key.sign(&signed, None);
        let mut line = b"ED".to_vec();
        line.extend_from_slice(&self.id);
        line.extend_from_slice(signature.as_ref());
        let file = format!(
            "untrusted comment: signature from berth-publish\n{}\ntrusted comment: {comment}\n{}\n",
            STANDARD.encode(line),
            STANDARD.encode(whole.as_ref())
        )
        .into_bytes();
        // A faulty machine must not publish, nor give the key away by a faulty signature.
        signature::verify(std::slice::from_ref(&self.public), bytes, &file, subject)?;
        Ok(file)
    }
}

// The bytes of a key that `minisign -G -W` made: not encrypted, and without the checksum that
// minisign's library insists on.
fn plain(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text.lines().nth(1)?.trim()).ok()?;
    let is_plain = bytes.len() == SECRET_BYTES
        && bytes.starts_with(b"Ed\0\0")
        && bytes[126..].iter().all(|byte| *byte == 0);
    is_plain.then_some(bytes)
}

pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(at(path))
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        path: path.clone(),
        source,
    }
}
