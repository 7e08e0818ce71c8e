//! The vendor's keys: minisign's own files, and signatures that minisign verifies.
//!
//! Ed25519 is used as RFC 8032 says, without the random noise that minisign's library adds, so
//! that the same bytes get the same signature. Format: <https://jedisct1.github.io/minisign/>.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_format::bundle::RootFile;
use berth_format::root::{Keys, Role, Root, RootError};
use berth_format::signature::{self, SignatureError, Subject};
use berth_format::{Digest, Product};
use blake2::{Blake2b512, Digest as _};
use jiff::Timestamp;
use minisign::{KeyPair, PublicKey, SecretKeyBox};

/// The file of the release key in a folder of keys.
pub const RELEASE_KEY: &str = "release.key";

/// The environment variable that the password of a key is read from.
pub const PASSWORD_ENV: &str = "BERTH_KEY_PASSWORD";

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
    #[error("{} is not a release key of {}", key.display(), root.display())]
    NotOfRoot { key: PathBuf, root: PathBuf },
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

    fn get(&self, key: &Path, again: bool) -> Result<Option<String>, KeyError> {
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

/// What was made.
#[derive(Debug)]
pub struct Generated {
    pub root: PathBuf,
    pub fingerprint: Digest,
    pub files: Vec<PathBuf>,
}

/// Makes a root key, a release key and the first root of trust, into `dir`.
pub fn generate(
    dir: &Path,
    product: &Product,
    expires: Timestamp,
    password: &Password,
) -> Result<Generated, KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at(dir))?;
    let root_path = dir.join("1.root.json");
    let mut files = vec![root_path.clone(), dir.join("1.root.json.minisig")];
    files.push(dir.join("fingerprint"));
    for name in ["root", "release"] {
        files.push(dir.join(format!("{name}.key")));
        files.push(dir.join(format!("{name}.pub")));
    }
    if let Some(path) = files.iter().find(|path| path.exists()) {
        return Err(KeyError::Exists(path.clone()));
    }
    let password = password.get(&dir.join("root.key"), true)?;
    let pair = |name: &str| -> Result<Secret, KeyError> {
        let pair = match &password {
            Some(password) => KeyPair::generate_encrypted_keypair(Some(password.clone()))?,
            None => KeyPair::generate_unencrypted_keypair()?,
        };
        let path = dir.join(format!("{name}.key"));
        let comment = format!("{product} {name} key");
        let secret = pair.sk.to_box(Some(&comment))?.into_string();
        create(&path, secret.as_bytes(), 0o600)?;
        let public = dir.join(format!("{name}.pub"));
        create(&public, pair.pk.to_box()?.into_string().as_bytes(), 0o644)?;
        Secret::read(&path, &secret, password.clone())
    };
    let (root_key, release_key) = (pair("root")?, pair("release")?);
    let keys = |key: &Secret| Keys {
        threshold: 1,
        keys: vec![key.public.clone()],
    };
    let root = Root {
        format: berth_format::root::FORMAT,
        product: product.clone(),
        version: 1,
        expires,
        roles: [
            (Role::Root, keys(&root_key)),
            (Role::Release, keys(&release_key)),
        ]
        .into(),
    };
    let mut bytes = berth_format::canonical(&root);
    bytes.push(b'\n');
    let subject = Subject::Root {
        product,
        version: 1,
    };
    create(&root_path, &bytes, 0o644)?;
    create(&files[1], &root_key.sign(&bytes, &subject)?, 0o644)?;
    let fingerprint = Digest::of(&bytes);
    create(&files[2], format!("{fingerprint}\n").as_bytes(), 0o644)?;
    Ok(Generated {
        root: root_path,
        fingerprint,
        files,
    })
}

/// A digest in groups of four, for reading aloud.
pub fn spoken(digest: &Digest) -> String {
    let hex = digest.hex();
    let groups: Vec<_> = (0..hex.len()).step_by(4).map(|n| &hex[n..n + 4]).collect();
    groups.join(" ")
}

/// The release key, and the roots of trust that it stands beside.
#[derive(Debug)]
pub struct ReleaseKey {
    secret: Secret,
    /// The newest root.
    pub root: Root,
    /// Every root with its signatures, oldest first.
    pub roots: Vec<RootFile>,
}

impl ReleaseKey {
    /// Reads `path`: the key, or the folder that it is in under [`RELEASE_KEY`]. The roots of
    /// trust lie in the same folder.
    pub fn load(path: &Path, password: &Password) -> Result<Self, KeyError> {
        let (file, dir) = if path.is_dir() {
            (path.join(RELEASE_KEY), path.to_owned())
        } else {
            let dir = path.parent().filter(|p| !p.as_os_str().is_empty());
            (path.to_owned(), dir.unwrap_or(Path::new(".")).to_owned())
        };
        let (root, roots) = read_roots(&dir)?;
        let text = fs::read_to_string(&file).map_err(at(&file))?;
        let secret = match Secret::read(&file, &text, None) {
            Err(KeyError::Unreadable { .. }) => {
                Secret::read(&file, &text, password.get(&file, false)?)?
            }
            other => other?,
        };
        if !root.keys(Role::Release).contains(&secret.public) {
            return Err(KeyError::NotOfRoot {
                key: file,
                root: dir.join(format!("{}.root.json", root.version)),
            });
        }
        Ok(Self {
            secret,
            root,
            roots,
        })
    }

    /// minisign's signature file over `bytes`, the same for the same bytes.
    pub fn sign(&self, bytes: &[u8], subject: &Subject<'_>) -> Result<Vec<u8>, KeyError> {
        self.secret.sign(bytes, subject)
    }
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

/// The newest root of trust in a folder, and all of them; each is followed from the one before.
pub fn read_roots(dir: &Path) -> Result<(Root, Vec<RootFile>), KeyError> {
    let mut newest: Option<Root> = None;
    let mut roots = Vec::new();
    for version in 1.. {
        let path = dir.join(format!("{version}.root.json"));
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            other => other.map_err(at(&path))?,
        };
        let mut signatures = Vec::new();
        for n in 1.. {
            let name = signature_name(version, n);
            match fs::read(dir.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                other => signatures.push(other.map_err(at(&dir.join(name)))?),
            }
        }
        let file = RootFile {
            version,
            bytes,
            signatures,
        };
        let root = match &newest {
            None => Root::first(&file.bytes, &file.signatures),
            Some(old) => old.next(&file.bytes, &file.signatures),
        };
        newest = Some(root.map_err(|source| KeyError::Root { path, source })?);
        roots.push(file);
    }
    newest
        .map(|root| (root, roots))
        .ok_or_else(|| KeyError::NoRoot(dir.to_owned()))
}

/// The name of the `n`th signature of a root.
pub fn signature_name(version: u32, n: usize) -> String {
    if n == 1 {
        format!("{version}.root.json.minisig")
    } else {
        format!("{version}.root.json.minisig.{n}")
    }
}

// A decrypted key.
struct Secret {
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
    fn read(path: &Path, text: &str, password: Option<String>) -> Result<Self, KeyError> {
        let unreadable = |reason: String| KeyError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let parsed = SecretKeyBox::from_string(text)
            .and_then(|boxed| match password {
                Some(password) => boxed.into_secret_key(Some(password)),
                None => boxed.into_unencrypted_secret_key(),
            })
            .map_err(|error| unreadable(error.to_string()))?;
        let public = PublicKey::from_secret_key(&parsed)
            .map_err(|error| unreadable(error.to_string()))?
            .to_base64();
        // Algorithms (3 × 2), salt (32), limits (2 × 8), key id (8), secret key (64), checksum.
        let bytes = parsed.to_bytes();
        let id = bytes.get(54..62).and_then(|id| id.try_into().ok());
        let key = bytes
            .get(62..126)
            .and_then(|key| ed25519_compact::SecretKey::from_slice(key).ok());
        match (id, key) {
            (Some(id), Some(key)) => Ok(Self { id, key, public }),
            _ => Err(unreadable("its length".into())),
        }
    }

    fn sign(&self, bytes: &[u8], subject: &Subject<'_>) -> Result<Vec<u8>, KeyError> {
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

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
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

fn at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io {
        path: path.clone(),
        source,
    }
}
