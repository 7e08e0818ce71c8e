//! A layer that was published, and servers that have it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_format::Digest;
use berth_format::image::Blob;
use berth_format::layer::{FRAME_BYTES, Frame, Layer};

use super::super::blob::Arrived;
use super::super::{Client, DownloadError, Wanted};
use super::server::{Act, Asked, Server, file};
use super::{Quick, bytes};

/// A published layer: what is in its frames does not matter here, only that they were signed.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) layer: Layer,
    pub(super) file: Arc<Vec<u8>>,
}

impl Published {
    pub(super) fn new(frames: usize, len: usize) -> Self {
        let file = bytes(7, frames * len);
        let frame = |bytes: &[u8]| Frame {
            len: u32::try_from(bytes.len()).unwrap(),
            digest: Digest::of(bytes),
        };
        let layer = Layer {
            size: (frames * FRAME_BYTES) as u64,
            stored: Blob {
                digest: Digest::of(&file),
                size: file.len() as u64,
            },
            frames: file.chunks(len).map(frame).collect(),
        };
        assert!(layer.is_consistent());
        Self {
            layer,
            file: Arc::new(file),
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted::layer(&Digest::of(b"the tar"), &self.layer).unwrap()
    }

    /// An honest server.
    pub(super) async fn server(&self) -> Server {
        self.serve(|_, _, answer| vec![Act::Send(answer)]).await
    }

    /// A server that does something with the honest answer.
    pub(super) async fn serve(
        &self,
        change: impl Fn(usize, &Asked, Vec<u8>) -> Vec<Act> + Send + Sync + 'static,
    ) -> Server {
        let body = Arc::clone(&self.file);
        Server::start(move |number, asked| change(number, asked, file(&body, "v1", asked))).await
    }

    /// A server whose bytes are another's at `at`.
    pub(super) async fn lying(&self, at: usize) -> Server {
        let mut body = Vec::clone(&self.file);
        body[at] ^= 1;
        Server::start(move |_, asked| vec![Act::Send(file(&body, "v1", asked))]).await
    }

    pub(super) fn is_at(&self, arrived: &Arrived, folder: &Path) {
        assert_eq!(arrived.path, folder.join(self.layer.stored.digest.hex()));
        assert!(std::fs::read(&arrived.path).unwrap() == *self.file);
        assert!(!self.unverified(folder).exists());
    }

    pub(super) fn unverified(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.unverified", self.layer.stored.digest.hex()))
    }
}

/// Where the body begins.
pub(super) fn head(answer: &[u8]) -> usize {
    answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4
}

/// Head and the first `n` bytes of the body, then the line is cut.
pub(super) fn cut(mut answer: Vec<u8>, n: usize) -> Vec<Act> {
    answer.truncate(head(&answer) + n);
    vec![Act::Send(answer)]
}

pub(super) async fn get(
    client: &Client<Quick>,
    layer: &Published,
    folder: &Path,
) -> Result<Arrived, DownloadError> {
    client.blob(&layer.wanted(), folder, |_| ()).await
}
