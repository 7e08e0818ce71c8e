//! The tar that brings images into Docker, written as it goes and never kept.
//!
//! It holds both forms at once, Docker's `manifest.json` and an OCI layout over the same blobs:
//! the first is what graph drivers read since 20.10, the second what the containerd image store
//! needs where a layer is left out. The two lists stand last, so that a tar that breaks off
//! brings nothing in.
//!
//! Formats: <https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md> (combined image JSON)
//! and <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};

use berth_format::Digest;
use berth_format::image::{Blob, PlatformImage, oci_manifest};
use berth_format::layer::Layer;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::{ImageRef, TarStream};

const BLOCK: usize = 512;

/// Chunks on their way; with [`Pool`] it bounds the memory of a load.
const IN_FLIGHT: usize = 2;

/// An image that the tar brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    pub image: ImageRef,
    /// The config blob.
    pub config: Blob,
    /// Diff ids and sizes of the layers' tars, lowest first; also of those that are left out.
    pub layers: Vec<Blob>,
}

impl LoadedImage {
    /// From a release; `None` if it does not describe one of the image's layers.
    pub fn new(tag: &str, image: &PlatformImage, layers: &BTreeMap<Digest, Layer>) -> Option<Self> {
        let blob = |digest: &Digest| {
            let size = layers.get(digest)?.size;
            Some(Blob {
                digest: *digest,
                size,
            })
        };
        Some(Self {
            image: ImageRef {
                tag: tag.to_owned(),
                config: image.config.digest,
                manifest: image.manifest,
            },
            config: image.config,
            layers: image.layers.iter().map(blob).collect::<Option<_>>()?,
        })
    }
}

/// Why the tar cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The engine takes no more: its own answer says why.
    #[error("the engine stopped reading")]
    Closed,
    #[error("{name}: {written} of {size} bytes were written")]
    Size {
        name: String,
        size: u64,
        written: u64,
    },
}

/// Writes the tar, from a thread that may block.
///
/// Dropped before [`TarWriter::finish`], it makes the load fail.
#[derive(Debug)]
pub struct TarWriter {
    out: mpsc::Sender<io::Result<Bytes>>,
    written: BTreeSet<Digest>,
    /// The blob that is being written.
    open: Option<Open>,
    /// Room for the error that ends a load; taken when the tar is whole.
    failure: Option<mpsc::OwnedPermit<io::Result<Bytes>>>,
}

#[derive(Debug)]
struct Open {
    digest: Digest,
    size: u64,
    left: u64,
}

impl TarWriter {
    /// The writer, and the stream to hand to the engine.
    pub fn new() -> (Self, TarStream) {
        let (out, stream) = mpsc::channel(IN_FLIGHT + 1);
        let failure = out.clone().try_reserve_owned().ok();
        let writer = Self {
            out,
            written: BTreeSet::new(),
            open: None,
            failure,
        };
        (writer, stream)
    }

    /// Writes a whole blob, unless it is in the tar already.
    pub fn blob(&mut self, digest: Digest, bytes: &[u8]) -> Result<(), TarError> {
        if self.begin(digest, bytes.len() as u64)? {
            self.piece(Bytes::copy_from_slice(bytes))?;
            self.end()?;
        }
        Ok(())
    }

    /// Begins a blob of this size; `false` if it is in the tar already.
    pub fn begin(&mut self, digest: Digest, size: u64) -> Result<bool, TarError> {
        if !self.written.insert(digest) {
            return Ok(false);
        }
        self.send(header(&blob_path(&digest), size))?;
        self.open = Some(Open {
            digest,
            size,
            left: size,
        });
        Ok(true)
    }

    /// The next bytes of the blob that was begun.
    pub fn piece(&mut self, bytes: Bytes) -> Result<(), TarError> {
        if let Some(open) = &mut self.open {
            open.left =
                open.left
                    .checked_sub(bytes.len() as u64)
                    .ok_or_else(|| TarError::Size {
                        name: blob_path(&open.digest),
                        size: open.size,
                        written: open.size - open.left + bytes.len() as u64,
                    })?;
        }
        self.send(bytes)
    }

    /// Ends the blob that was begun.
    pub fn end(&mut self) -> Result<(), TarError> {
        match self.open.take() {
            Some(Open { left: 0, size, .. }) => self.pad(size),
            Some(Open { digest, size, left }) => Err(TarError::Size {
                name: blob_path(&digest),
                size,
                written: size - left,
            }),
            None => Ok(()),
        }
    }

    /// Writes the manifests and the lists of `images`, and ends the tar. Only now the engine
    /// knows what all the blobs were for.
    pub fn finish(mut self, images: &[LoadedImage]) -> Result<(), TarError> {
        let (mut index, mut docker) = (Vec::new(), Vec::new());
        for image in images {
            let manifest = oci_manifest(image.config, &image.layers);
            let digest = Digest::of(&manifest);
            self.blob(digest, &manifest)?;
            let (_, reference) = image.image.tag.rsplit_once(':').unwrap_or_default();
            index.push(json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": manifest.len(),
                "annotations": {
                    "io.containerd.image.name": image.image.tag,
                    "org.opencontainers.image.ref.name": reference,
                },
            }));
            let layers: Vec<_> = image.layers.iter().map(|l| blob_path(&l.digest)).collect();
            docker.push(json!({
                "Config": blob_path(&image.config.digest),
                "RepoTags": [image.image.tag],
                "Layers": layers,
            }));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": index,
        });
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        for (name, content) in [
            ("oci-layout", layout),
            ("index.json", index),
            ("manifest.json", docker.into()),
        ] {
            let bytes = content.to_string().into_bytes();
            let size = bytes.len() as u64;
            self.send(header(name, size))?;
            self.send(bytes.into())?;
            self.pad(size)?;
        }
        self.send(Bytes::from_static(&[0; 2 * BLOCK]))?;
        self.failure = None;
        Ok(())
    }

    /// Ends the load as failed, for this reason.
    pub fn abort(mut self, why: &str) {
        if let Some(failure) = self.failure.take() {
            failure.send(Err(io::Error::other(why.to_owned())));
        }
    }

    fn send(&self, bytes: Bytes) -> Result<(), TarError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out
            .blocking_send(Ok(bytes))
            .map_err(|_| TarError::Closed)
    }

    fn pad(&self, size: u64) -> Result<(), TarError> {
        #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
        let padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        self.send(Bytes::from_static(&[0; BLOCK][..padding]))
    }
}

impl Drop for TarWriter {
    fn drop(&mut self) {
        if let Some(failure) = self.failure.take() {
            failure.send(Err(io::Error::other("the images broke off")));
        }
    }
}

/// Where a blob stands in the tar.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn header(name: &str, size: u64) -> Bytes {
    // GNU, because a layer may have 8 GiB and more.
    let mut header = tar::Header::new_gnu();
    // Every name here is shorter than the 100 bytes that fit.
    let _ = header.set_path(name);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    Bytes::copy_from_slice(header.as_bytes())
}

/// A fixed number of buffers that travel: filled here, read by the engine, and back.
///
/// Whoever wants one waits until one is back, which bounds the memory of a load whatever its size.
#[derive(Debug)]
pub struct Pool {
    free: Arc<Mutex<blocking::Receiver<Vec<u8>>>>,
    back: blocking::SyncSender<Vec<u8>>,
}

/// A buffer of a [`Pool`].
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    back: blocking::SyncSender<Vec<u8>>,
}

impl Pool {
    /// `count` buffers, which grow to what is put into them.
    pub fn new(count: usize) -> Self {
        let (back, free) = blocking::sync_channel(count);
        for _ in 0..count {
            // There is room for each of them.
            let _ = back.try_send(Vec::new());
        }
        Self {
            free: Arc::new(Mutex::new(free)),
            back,
        }
    }

    /// The next free buffer, empty.
    pub fn take(&self) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // `self.back` keeps the channel open.
        let mut bytes = free.recv().unwrap_or_default();
        bytes.clear();
        Buffer {
            bytes,
            back: self.back.clone(),
        }
    }
}

impl Buffer {
    /// To be filled.
    pub fn content(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// As bytes that give the buffer back when the last of them is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.back.try_send(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn collect(mut stream: TarStream) -> std::thread::JoinHandle<io::Result<Vec<u8>>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            while let Some(chunk) = stream.blocking_recv() {
                all.extend_from_slice(&chunk?);
            }
            Ok(all)
        })
    }

    fn image(tag: &str, config: &[u8], layers: &[&[u8]]) -> LoadedImage {
        let blob = |bytes: &[u8]| Blob {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let layers: Vec<_> = layers.iter().map(|l| blob(l)).collect();
        LoadedImage {
            image: ImageRef {
                tag: tag.into(),
                config: Digest::of(config),
                manifest: Digest::of(&oci_manifest(blob(config), &layers)),
            },
            config: blob(config),
            layers,
        }
    }

    #[test]
    fn the_tar_has_each_blob_once_and_the_lists_last() {
        let (mut tar, stream) = TarWriter::new();
        let all = collect(stream);
        let images = [
            image("berth.local/x/a:1.0.0", b"{}", &[b"one", b"two"]),
            image("berth.local/x/b:1.0.0", b"{}", &[b"one", b"two"]),
        ];
        for blob in [b"{}".as_slice(), b"one", b"{}"] {
            tar.blob(Digest::of(blob), blob).unwrap();
        }
        tar.finish(&images).unwrap();
        let all = all.join().unwrap().unwrap();
        let mut names = Vec::new();
        let mut docker = String::new();
        for entry in tar::Archive::new(all.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            names.push(entry.path().unwrap().display().to_string());
            docker.clear();
            entry.read_to_string(&mut docker).unwrap();
        }
        let blob = |digest: &Digest| blob_path(digest);
        assert_eq!(
            names,
            [
                blob(&Digest::of(b"{}")),
                blob(&Digest::of(b"one")),
                blob(&images[0].image.manifest),
                "oci-layout".into(),
                "index.json".into(),
                "manifest.json".into(),
            ]
        );
        let docker: serde_json::Value = serde_json::from_str(&docker).unwrap();
        assert_eq!(docker[1]["RepoTags"][0], "berth.local/x/b:1.0.0");
        assert_eq!(docker[1]["Layers"][1], blob(&Digest::of(b"two")));
    }

    #[test]
    fn a_tar_that_is_not_finished_fails_the_load() {
        let (mut tar, stream) = TarWriter::new();
        let all = collect(stream);
        assert!(tar.begin(Digest::of(b"abc"), 3).unwrap());
        tar.piece(Bytes::from_static(b"ab")).unwrap();
        assert!(matches!(
            tar.end(),
            Err(TarError::Size {
                size: 3,
                written: 2,
                ..
            })
        ));
        drop(tar);
        assert!(all.join().unwrap().is_err());
    }

    #[test]
    fn an_engine_that_hangs_up_stops_the_writer() {
        let (mut tar, stream) = TarWriter::new();
        drop(stream);
        assert!(matches!(
            tar.blob(Digest::of(b"x"), b"x"),
            Err(TarError::Closed)
        ));
    }

    #[test]
    fn a_header_of_a_layer_beyond_8_gib_is_read_back() {
        let bytes = header(&blob_path(&Digest::of(b"x")), 20 << 30);
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.size(), 20 << 30);
    }

    #[test]
    fn a_pool_gives_out_what_came_back_and_nothing_more() {
        let pool = Pool::new(1);
        let mut first = pool.take();
        first.content().extend_from_slice(b"first");
        let bytes = first.freeze();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take().as_ref().len());
            assert_eq!(&bytes[..], b"first");
            drop(bytes);
            assert_eq!(waiting.join().unwrap(), 0);
        });
    }
}
