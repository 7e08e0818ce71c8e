//! Small files: roots, channels, releases, signatures. In memory, capped, with one deadline.
//!
//! What comes back is unverified: signatures and serials are other modules' affair.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{
    ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::client::{Client, refused};
use super::error::DownloadError;
use super::retry::{Next, Timing, Turns};

/// The longest validator that is kept.
const MAX_VALIDATOR: usize = 256;

/// Kinds of signed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Small {
    Root,
    Channel,
    Release,
    Signature,
}

impl Small {
    /// The most bytes that one may have.
    pub fn most(self) -> u64 {
        match self {
            Self::Root | Self::Channel => 1 << 20,
            Self::Release => 10 << 20,
            Self::Signature => 1 << 10,
        }
    }
}

/// What a mirror said about the version of a file that it gave. Only that mirror understands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    mirror: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

/// What the mirrors have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Unverified.
    Fresh { bytes: Vec<u8>, tag: Option<Tag> },
    /// It is what the tag was given for, says a mirror: no proof that there is nothing newer.
    NotModified,
    /// Every mirror that answered says that there is none.
    Missing,
}

impl<T: Timing> Client<T> {
    /// Fetches a small file, unless it is still the one that `known` was given for.
    pub async fn fetch(
        &self,
        name: &str,
        kind: Small,
        known: Option<&Tag>,
    ) -> Result<Answer, DownloadError> {
        let mut turns = Turns::new(self.limits.backoff, self.mirrors());
        let mut missing = false;
        loop {
            let mirror = turns.current();
            let within = self.deadline(kind.most());
            let turn = self.small(mirror, name, kind.most(), known);
            let error = match tokio::time::timeout(within, turn).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => DownloadError::Deadline {
                    at: self.mirror_name(mirror).await?,
                    name: name.to_owned(),
                    within,
                },
            };
            missing |= matches!(error, DownloadError::Missing { .. });
            match turns.failed(&error, self.timing.random()) {
                // Whoever does not answer is not waited for when another one has said no.
                Next::Ask(next, _) if missing && next <= mirror => return Ok(Answer::Missing),
                Next::GiveUp if missing => return Ok(Answer::Missing),
                Next::GiveUp => return Err(error),
                Next::Ask(_, pause) => {
                    log::info!("{name}: {error}; trying again in {} ms", pause.as_millis());
                    self.timing.sleep(pause).await;
                }
            }
        }
    }

    async fn small(
        &self,
        mirror: usize,
        name: &str,
        most: u64,
        known: Option<&Tag>,
    ) -> Result<Answer, DownloadError> {
        let own = self.mirror_name(mirror).await?;
        let headers = known
            .filter(|tag| tag.mirror == own)
            .map(conditions)
            .unwrap_or_default();
        let conditional = !headers.is_empty();
        let mut body = self.get(mirror, name, headers).await?;
        match body.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if conditional => return Ok(Answer::NotModified),
            _ => return Err(refused(&body.at, name, &body.response)),
        }
        let tag = tag(own, body.response.headers());
        let mut cap = Cap::new(body.at.clone(), name, most);
        cap.announced(body.response.content_length())?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            cap.take(&chunk)?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer::Fresh { bytes, tag })
    }

    /// Fetches a file of any size to `NAME.unverified` in `folder`, for who verifies and renames
    /// it. `None` if the mirrors have none. It is not resumed: layers are, see [`super::blob`].
    pub async fn fetch_to(
        &self,
        name: &str,
        most: u64,
        folder: &Path,
    ) -> Result<Option<PathBuf>, DownloadError> {
        let own_name = name.rsplit('/').next().unwrap_or(name);
        let path = folder.join(format!("{own_name}.unverified"));
        let mut turns = Turns::new(self.limits.backoff, self.mirrors());
        loop {
            let error = match self.to_file(turns.current(), name, most, &path).await {
                Ok(()) => return Ok(Some(path)),
                Err(error) => error,
            };
            match turns.failed(&error, self.timing.random()) {
                Next::Ask(_, pause) => self.timing.sleep(pause).await,
                Next::GiveUp => {
                    // Half of it is of no use to anybody.
                    let _ = tokio::fs::remove_file(&path).await;
                    return match error {
                        DownloadError::Missing { .. } => Ok(None),
                        error => Err(error),
                    };
                }
            }
        }
    }

    async fn to_file(
        &self,
        mirror: usize,
        name: &str,
        most: u64,
        path: &Path,
    ) -> Result<(), DownloadError> {
        let mut body = self.get(mirror, name, HeaderMap::new()).await?;
        if body.response.status() != StatusCode::OK {
            return Err(refused(&body.at, name, &body.response));
        }
        let mut cap = Cap::new(body.at.clone(), name, most);
        cap.announced(body.response.content_length())?;
        let mut file = create(path).map_err(DownloadError::io(path))?;
        while let Some(chunk) = body.chunk().await? {
            cap.take(&chunk)?;
            file.write_all(&chunk)
                .await
                .map_err(DownloadError::io(path))?;
        }
        file.flush().await.map_err(DownloadError::io(path))?;
        file.sync_all().await.map_err(DownloadError::io(path))
    }
}

/// What a crash left under this name goes; then the file is new, and nobody's link.
fn create(path: &Path) -> std::io::Result<tokio::fs::File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(tokio::fs::File::from_std(file.into()))
}

/// Counts against the cap.
struct Cap<'a> {
    at: String,
    name: &'a str,
    most: u64,
    left: u64,
}

impl<'a> Cap<'a> {
    fn new(at: String, name: &'a str, most: u64) -> Self {
        Self {
            at,
            name,
            most,
            left: most,
        }
    }

    /// A length that is too large is refused before the first byte.
    fn announced(&self, length: Option<u64>) -> Result<(), DownloadError> {
        match length {
            Some(length) if length > self.most => Err(self.too_long()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, chunk: &Bytes) -> Result<(), DownloadError> {
        let left = self.left.checked_sub(chunk.len() as u64);
        self.left = left.ok_or_else(|| self.too_long())?;
        Ok(())
    }

    fn too_long(&self) -> DownloadError {
        DownloadError::TooLong {
            at: self.at.clone(),
            name: self.name.to_owned(),
            most: self.most,
        }
    }
}

fn conditions(tag: &Tag) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: &Option<String>| {
        let value = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok());
        value.map(|value| headers.insert(name, value));
    };
    set(IF_NONE_MATCH, &tag.etag);
    set(IF_MODIFIED_SINCE, &tag.modified);
    headers
}

fn tag(mirror: String, headers: &HeaderMap) -> Option<Tag> {
    let (etag, modified) = (
        validator(headers, &ETAG),
        validator(headers, &LAST_MODIFIED),
    );
    (etag.is_some() || modified.is_some()).then_some(Tag {
        mirror,
        etag,
        modified,
    })
}

/// A validator, if it is one that can be sent back.
pub(super) fn validator(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= MAX_VALIDATOR).then(|| text.to_owned())
}
