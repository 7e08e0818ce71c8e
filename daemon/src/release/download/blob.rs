//! Large files: layers, frame by frame, through lines that break and mirrors that lie.
//!
//! A cut is resumed by Range at the byte where it came; every frame is compared with its signed
//! digest before it is written, and all bytes of a frame come from one mirror, so a bad frame is
//! that mirror's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_format::Digest;
use berth_format::image::Blob;
use berth_format::layer::{Frame, Layer};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};

use super::body::Body;
use super::client::{Client, refused};
use super::error::{DownloadError, printable};
use super::fetch::validator;
use super::part::{BadFrame, Part};
use super::retry::{Next, Timing, Turns};

/// The largest blob without frames: it is one frame, and a frame is kept in memory. Berth's own
/// package fits.
const MAX_UNFRAMED: u64 = 64 << 20;

/// How often a frame is fetched, if there are no more mirrors than that.
const TRIES_OF_A_FRAME: usize = 2;

/// A file of a channel, as it was signed.
#[derive(Debug, Clone)]
pub struct Wanted {
    name: String,
    stored: Blob,
    frames: Arc<[Frame]>,
}

impl Wanted {
    /// A layer of a release.
    pub fn layer(diff_id: &Digest, layer: &Layer) -> Result<Self, DownloadError> {
        let name = Layer::file_name(diff_id);
        if !layer.is_consistent() {
            return Err(DownloadError::Whole { name });
        }
        Ok(Self {
            name,
            stored: layer.stored,
            frames: layer.frames.as_slice().into(),
        })
    }

    /// A config, or another file without frames, of 64 MiB at the most. After a restart it
    /// comes from its first byte again.
    pub fn unframed(name: String, stored: Blob) -> Result<Self, DownloadError> {
        let digest = stored.digest;
        let frames: Vec<Frame> = match u32::try_from(stored.size) {
            Ok(0) => Vec::new(),
            Ok(len) if stored.size <= MAX_UNFRAMED => vec![Frame { len, digest }],
            _ => return Err(DownloadError::Whole { name }),
        };
        Ok(Self {
            name,
            stored,
            frames: frames.into(),
        })
    }
}

/// Removes what earlier downloads left in `folder` and nobody wants any more.
pub async fn sweep<'a>(
    folder: &Path,
    wanted: impl Iterator<Item = &'a Wanted>,
) -> std::io::Result<()> {
    let names: Vec<String> = wanted.map(|w| w.stored.digest.hex()).collect();
    let mut entries = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        // Whole, or on its way.
        let is_wanted = |digest: &String| name.to_string_lossy().starts_with(digest);
        if !names.iter().any(is_wanted) && entry.file_type().await?.is_file() {
            tokio::fs::remove_file(entry.path()).await?;
        }
    }
    Ok(())
}

/// A blob that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub path: PathBuf,
    /// Bytes that came over the line for it.
    pub fetched: u64,
}

/// What is known of the mirror whose turn it is.
struct Source {
    mirror: usize,
    /// The strong validator of the version that the bytes so far are of.
    etag: Option<String>,
    /// It has not said no to a Range.
    ranges: bool,
}

impl Source {
    fn new(mirror: usize) -> Self {
        Self {
            mirror,
            etag: None,
            ranges: true,
        }
    }
}

impl<T: Timing> Client<T> {
    /// Fetches a blob to `<digest>` in `folder`, or takes up where the last attempt ended.
    ///
    /// `progress` gets the number of verified bytes. A dropped call keeps what is verified.
    pub async fn blob(
        &self,
        wanted: &Wanted,
        folder: &Path,
        progress: impl Fn(u64) + Send + Sync,
    ) -> Result<Arrived, DownloadError> {
        if let Some(path) = Part::found(folder, wanted.stored).await? {
            return Ok(Arrived { path, fetched: 0 });
        }
        let mut part = Part::open(folder, wanted.stored, Arc::clone(&wanted.frames)).await?;
        let before = self.fetched();
        let mut turns = Turns::new(self.limits.backoff, self.mirrors());
        let mut source = Source::new(turns.current());
        let mut furthest = Furthest::at(&part);
        let mut bad = 0;
        while part.wanted().is_some() {
            let outcome = self.go_on(wanted, &mut part, &mut source, &progress).await;
            let Err(error) = outcome else { continue };
            let further = furthest.is_passed_by(&part, self.limits.progress);
            let is_bad_frame = matches!(error, DownloadError::Frame { .. });
            bad = usize::from(is_bad_frame) + if further.new_frames { 0 } else { bad };
            if is_bad_frame && bad >= TRIES_OF_A_FRAME.max(self.mirrors()) {
                return Err(error);
            }
            let random = self.timing.random();
            let next = if further.any && !is_bad_frame {
                turns.progressed(random)
            } else {
                turns.failed(&error, random)
            };
            let Next::Ask(mirror, pause) = next else {
                return Err(error);
            };
            log::info!(
                "{}: {error}; going on at byte {} in {} ms",
                wanted.name,
                part.here(),
                pause.as_millis()
            );
            if mirror != source.mirror {
                part.forget_begun();
                source = Source::new(mirror);
            }
            self.timing.sleep(pause).await;
        }
        let path = part.finish(&wanted.name).await?;
        Ok(Arrived {
            path,
            fetched: self.fetched() - before,
        })
    }

    /// One request: takes what it brings.
    async fn go_on(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        source: &mut Source,
        progress: &(impl Fn(u64) + Send + Sync),
    ) -> Result<(), DownloadError> {
        let (mut body, mut skip) = self.ask(wanted, part, source).await?;
        while let Some(chunk) = body.chunk().await? {
            // An answer from the beginning: what is here is not taken again.
            let old = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= old as u64;
            let taken = part.take(&chunk[old..]).await?;
            progress(part.verified());
            if let Err(BadFrame(index)) = taken {
                return Err(DownloadError::Frame {
                    at: body.at,
                    name: wanted.name.clone(),
                    index,
                });
            }
            // What a server sends after the end is not read.
            if part.wanted().is_none() {
                return Ok(());
            }
        }
        Err(DownloadError::Cut {
            at: body.at,
            why: format!(
                "it ended after {} of {} bytes",
                part.here(),
                wanted.stored.size
            ),
        })
    }

    /// The answer, and how many of its bytes are here already.
    async fn ask(
        &self,
        wanted: &Wanted,
        part: &mut Part,
        source: &mut Source,
    ) -> Result<(Body<'_, T>, u64), DownloadError> {
        loop {
            let from = if source.ranges { part.here() } else { 0 };
            let headers = range(from, wanted.stored.size, source.etag.as_deref());
            let body = self.get(source.mirror, &wanted.name, headers).await?;
            match body.response.status() {
                StatusCode::OK => {
                    check_length(wanted, &body, wanted.stored.size)?;
                    let etag = strong(body.response.headers());
                    if from > 0 && etag != source.etag {
                        // Another version of the file: a frame is not made of two.
                        part.forget_begun();
                    }
                    source.etag = etag;
                    let here = part.here();
                    return Ok((body, here));
                }
                StatusCode::PARTIAL_CONTENT if from > 0 => {
                    check_range(wanted, &body, from)?;
                    check_length(wanted, &body, wanted.stored.size - from)?;
                    source.etag = strong(body.response.headers());
                    return Ok((body, 0));
                }
                StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => source.ranges = false,
                _ => return Err(refused(&body.at, &wanted.name, &body.response)),
            }
        }
    }
}

/// How far a download ever was: only what is beyond it is progress.
struct Furthest {
    here: u64,
    verified: u64,
}

struct Further {
    any: bool,
    new_frames: bool,
}

impl Furthest {
    fn at(part: &Part) -> Self {
        Self {
            here: part.here(),
            verified: part.verified(),
        }
    }

    fn is_passed_by(&mut self, part: &Part, least: u64) -> Further {
        let new_frames = part.verified() > self.verified;
        let any = new_frames || part.here() >= self.here.saturating_add(least);
        if any {
            self.here = self.here.max(part.here());
            self.verified = part.verified();
        }
        Further { any, new_frames }
    }
}

fn range(from: u64, size: u64, etag: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if from == 0 {
        return headers;
    }
    if let Ok(value) = HeaderValue::try_from(format!("bytes={from}-{}", size - 1)) {
        headers.insert(RANGE, value);
    }
    if let Some(value) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(IF_RANGE, value);
    }
    headers
}

/// A weak validator says nothing about bytes, and If-Range must not have one (RFC 9110, 13.1.5).
fn strong(headers: &HeaderMap) -> Option<String> {
    validator(headers, &ETAG).filter(|etag| etag.starts_with('"'))
}

fn check_range<T>(wanted: &Wanted, body: &Body<'_, T>, from: u64) -> Result<(), DownloadError> {
    let size = wanted.stored.size;
    let expected = format!("bytes {from}-{}/{size}", size - 1);
    let found = body.response.headers().get(CONTENT_RANGE);
    let found = found.map_or(&b""[..], HeaderValue::as_bytes);
    if found == expected.as_bytes() {
        return Ok(());
    }
    Err(DownloadError::Range {
        at: body.at.clone(),
        name: wanted.name.clone(),
        expected,
        found: printable(found),
    })
}

fn check_length<T>(
    wanted: &Wanted,
    body: &Body<'_, T>,
    expected: u64,
) -> Result<(), DownloadError> {
    match body.response.content_length() {
        Some(found) if found != expected => Err(DownloadError::Length {
            at: body.at.clone(),
            name: wanted.name.clone(),
            expected,
            found,
        }),
        _ => Ok(()),
    }
}
