//! What the admin set for downloads, and the files that it names.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustix::fs::{CWD, Mode, OFlags};

/// The most bytes of a file with a token or a password.
const MAX_SECRET: u64 = 4 << 10;

/// The most bytes of a file with certificates; Debian's own bundle has 220 KB.
const MAX_CA: u64 = 4 << 20;

/// What the admin set. Nothing is checked or read before the first request.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Asked in this order.
    pub mirrors: Vec<Mirror>,
    pub proxy: ProxySetting,
    /// PEM; these authorities are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Bytes a second for all downloads together.
    pub bandwidth: Option<u64>,
    /// A mirror may be `http://`, if its address is not a public one.
    pub allow_http: bool,
    /// A redirect may lead to an address that is not public.
    pub allow_private: bool,
}

/// A folder on a web server.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    pub url: String,
    pub credential: Option<Credential>,
}

/// How to show who we are: the secret itself is in a file that only root reads.
#[derive(Debug, Clone)]
pub enum Credential {
    Bearer {
        token_file: PathBuf,
    },
    Basic {
        user: String,
        password_file: PathBuf,
    },
}

/// Which proxy to use.
#[derive(Debug, Clone, Default)]
pub enum ProxySetting {
    /// What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    Direct,
    Use {
        /// May have `user:password@` in it.
        url: Secret,
        /// As in `NO_PROXY`.
        except: Option<String>,
    },
}

/// A text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("no mirror is set")]
    NoMirror,
    /// The text is not repeated: a password may be in it.
    #[error("mirror {number}: {problem}")]
    Mirror { number: usize, problem: String },
    #[error("{origin}: {problem}")]
    Proxy {
        origin: String,
        problem: &'static str,
    },
    #[error("{path}: {problem}")]
    File { path: PathBuf, problem: String },
    #[error("{0}")]
    Place(String),
    #[error("the TLS library takes no client: {0}")]
    Tls(String),
}

/// A mirror that was checked.
pub(super) struct Base {
    pub(super) url: Url,
    pub(super) authorization: Option<Authorization>,
}

/// The secrets themselves.
pub(super) enum Authorization {
    Bearer(String),
    /// User and password.
    Basic(String, String),
}

impl Settings {
    /// The mirrors with their secrets.
    pub(super) fn bases(&self) -> Result<Vec<Base>, SettingsError> {
        if self.mirrors.is_empty() {
            return Err(SettingsError::NoMirror);
        }
        let base = |(index, mirror): (usize, &Mirror)| {
            let url = base(&mirror.url, self.allow_http).map_err(|problem| {
                let number = index + 1;
                SettingsError::Mirror { number, problem }
            })?;
            let authorization = mirror.credential.as_ref().map(authorization).transpose()?;
            Ok(Base { url, authorization })
        };
        self.mirrors.iter().enumerate().map(base).collect()
    }

    /// What is in the file with certificates.
    pub(super) fn authorities(&self) -> Result<Vec<reqwest::Certificate>, SettingsError> {
        self.ca_file.as_deref().map_or(Ok(Vec::new()), authorities)
    }
}

/// The certificates of a file; there is at least one.
pub(crate) fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, SettingsError> {
    let bytes = pem(path)?;
    let found = reqwest::Certificate::from_pem_bundle(&bytes)
        .map_err(|_| bad_file(path, "not a bundle of certificates in PEM"))?;
    if found.is_empty() {
        return Err(bad_file(path, "no certificate is in it"));
    }
    Ok(found)
}

/// The bytes of a file of certificates.
pub(crate) fn pem(path: &Path) -> Result<Vec<u8>, SettingsError> {
    File::open(path)
        .and_then(|file| read_most(&file, MAX_CA))
        .map_err(|error| bad_file(path, error))
}

fn base(text: &str, allow_http: bool) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => return Err("http:// is allowed only where allow_http is set".into()),
        other => return Err(format!("{other}:// is not https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a password belongs into a file of its own".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a folder has neither ? nor #".into());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn authorization(credential: &Credential) -> Result<Authorization, SettingsError> {
    match credential {
        Credential::Bearer { token_file } => Ok(Authorization::Bearer(secret(token_file)?)),
        Credential::Basic {
            user,
            password_file,
        } => Ok(Authorization::Basic(user.clone(), secret(password_file)?)),
    }
}

/// The one line of a file that nobody but its owner, who runs berthd, can read: root.
pub(crate) fn secret(path: &Path) -> Result<String, SettingsError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| bad_file(path, error))?;
    let about = file.metadata().map_err(|error| bad_file(path, error))?;
    if !about.is_file() {
        return Err(bad_file(path, "not a file"));
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(bad_file(path, "it is not root's: chown root"));
    }
    if about.mode() & 0o077 != 0 {
        return Err(bad_file(path, "others can read it: chmod 0600"));
    }
    let bytes = read_most(&file, MAX_SECRET).map_err(|error| bad_file(path, error))?;
    let text = String::from_utf8(bytes).map_err(|_| bad_file(path, "not UTF-8"))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || text.contains(char::is_control) {
        return Err(bad_file(path, "not exactly one line of text"));
    }
    Ok(text.to_owned())
}

fn read_most(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

pub(crate) fn bad_file(path: &Path, problem: impl fmt::Display) -> SettingsError {
    SettingsError::File {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn problem(text: &str, allow_http: bool) -> Option<String> {
        base(text, allow_http).err()
    }

    #[test]
    fn mirrors_are_folders_over_https() {
        assert_eq!(
            base("https://dl.example/lantern", false).unwrap().as_str(),
            "https://dl.example/lantern/"
        );
        assert!(problem("http://10.0.0.1/", true).is_none());
        for (text, says) in [
            ("http://10.0.0.1/", "allow_http"),
            ("ftp://dl.example/", "not https"),
            ("dl.example", "relative"),
            ("https://me:pw@dl.example/", "file of its own"),
            ("https://dl.example/?a=1", "neither"),
        ] {
            let problem = problem(text, false).unwrap();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o640);
        assert!(secret(&path).unwrap_err().to_string().contains("0600"));
        set(0o600);
        assert_eq!(secret(&path).unwrap(), "s3cret");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(secret(&link).is_err());
        for bad in ["", "\n", "two\nlines\n", &"x".repeat(5000)] {
            std::fs::write(&path, bad).unwrap();
            assert!(secret(&path).is_err());
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let settings = Settings {
            proxy: ProxySetting::Use {
                url: Secret("http://me:s3cret@proxy:3128".into()),
                except: None,
            },
            ..Settings::default()
        };
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
