//! Layers: `<diff-id>.tar.zst`, independent zstd frames of 4 MiB of tar each.
//!
//! A valid .zst file that unpacks on every core, and that can be checked, resumed and fetched
//! by Range frame by frame. A layer's name is the digest of its uncompressed tar.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, Hashing};
use crate::image::Blob;

/// Bytes of tar in every frame but the last.
pub const FRAME_BYTES: usize = 4 << 20;

/// The most bytes that a frame of [`FRAME_BYTES`] takes when it does not compress.
pub const MAX_FRAME: u32 = (4 << 20) + (4 << 20) / 128;

/// A layer as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Bytes of the tar.
    pub size: u64,
    /// The compressed file as a whole.
    pub stored: Blob,
    /// Each frame, in order.
    pub frames: Vec<Frame>,
}

/// A frame of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Compressed bytes.
    pub len: u32,
    /// Of the compressed bytes.
    pub digest: Digest,
}

/// Why a frame is not believed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame {index}: its bytes are not those that were signed")]
    Digest { index: usize },
    #[error("frame {index}: does not unpack to {expected} bytes")]
    Content { index: usize, expected: usize },
}

impl Layer {
    /// The file name in channels and bundles.
    pub fn file_name(diff_id: &Digest) -> String {
        format!("layers/{}.tar.zst", diff_id.hex())
    }

    /// Whether sizes and frames fit each other, so that a reader may trust the arithmetic.
    pub fn is_consistent(&self) -> bool {
        let frames = self.size.div_ceil(FRAME_BYTES as u64);
        self.size > 0
            && frames == self.frames.len() as u64
            && self.frames.iter().all(|f| f.len > 0 && f.len <= MAX_FRAME)
            && self.frames.iter().map(|f| u64::from(f.len)).sum::<u64>() == self.stored.size
    }

    /// Bytes of tar in frame `index`.
    pub fn frame_content(&self, index: usize) -> usize {
        let before = (index * FRAME_BYTES) as u64;
        usize::try_from(self.size.saturating_sub(before))
            .unwrap_or(usize::MAX)
            .min(FRAME_BYTES)
    }

    /// Checks a compressed frame.
    pub fn check(&self, index: usize, compressed: &[u8]) -> Result<(), FrameError> {
        if Digest::of(compressed) == self.frames[index].digest {
            Ok(())
        } else {
            Err(FrameError::Digest { index })
        }
    }

    /// Checks a compressed frame and unpacks it into `out`, whose old content is dropped.
    pub fn unpack(
        &self,
        index: usize,
        compressed: &[u8],
        unpacker: &mut Unpacker,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        self.check(index, compressed)?;
        let expected = self.frame_content(index);
        out.clear();
        out.reserve(expected);
        match unpacker.0.decompress_to_buffer(compressed, out) {
            Ok(written) if written == expected => Ok(()),
            _ => Err(FrameError::Content { index, expected }),
        }
    }
}

/// A zstd context, reused between frames.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    /// A new context.
    pub fn new() -> io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }
}

/// Writes `tar` as frames to `out`; the same bytes for the same tar and level.
///
/// Returns the diff id and the description.
pub fn pack(tar: &mut impl Read, level: i32, out: impl Write) -> io::Result<(Digest, Layer)> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    let mut out = Hashing::new(out);
    let mut diff = Sha256::new();
    let (mut size, mut frames) = (0, Vec::new());
    let mut chunk = Vec::with_capacity(FRAME_BYTES);
    loop {
        chunk.clear();
        tar.by_ref()
            .take(FRAME_BYTES as u64)
            .read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        diff.update(&chunk);
        size += chunk.len() as u64;
        let frame = compressor.compress(&chunk)?;
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        frames.push(Frame {
            len,
            digest: Digest::of(&frame),
        });
        out.write_all(&frame)?;
    }
    out.flush()?;
    let (_, digest, stored) = out.finish();
    let diff_id = Digest::from_hash(diff);
    Ok((
        diff_id,
        Layer {
            size,
            stored: Blob {
                digest,
                size: stored,
            },
            frames,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(tar: &[u8]) -> (Digest, Layer, Vec<u8>) {
        let mut out = Vec::new();
        let (diff_id, layer) = pack(&mut &*tar, 3, &mut out).unwrap();
        (diff_id, layer, out)
    }

    #[test]
    fn unpacks_frame_by_frame_and_as_one_zst_file() {
        let tar: Vec<u8> = (0..FRAME_BYTES + 1000)
            .map(|i| u8::try_from(i / 7 % 251).unwrap())
            .collect();
        let (diff_id, layer, file) = packed(&tar);
        assert_eq!(diff_id, Digest::of(&tar));
        assert_eq!(layer.frames.len(), 2);
        assert!(layer.is_consistent());
        assert_eq!(zstd::stream::decode_all(file.as_slice()).unwrap(), tar);

        let (mut unpacker, mut out, mut all) = (Unpacker::new().unwrap(), Vec::new(), Vec::new());
        let mut at = 0;
        for (index, frame) in layer.frames.iter().enumerate() {
            let end = at + frame.len as usize;
            layer
                .unpack(index, &file[at..end], &mut unpacker, &mut out)
                .unwrap();
            all.extend_from_slice(&out);
            at = end;
        }
        assert_eq!(all, tar);
    }

    #[test]
    fn a_changed_frame_is_refused_before_it_is_unpacked() {
        let (_, layer, mut file) = packed(&[7; 3000]);
        file[5] ^= 1;
        let error = layer
            .unpack(0, &file, &mut Unpacker::new().unwrap(), &mut Vec::new())
            .unwrap_err();
        assert!(matches!(error, FrameError::Digest { index: 0 }));
    }

    #[test]
    fn a_frame_that_unpacks_to_more_than_was_signed_is_refused() {
        let (_, mut layer, file) = packed(&[7; 3000]);
        for size in [2999, 3001] {
            layer.size = size;
            let error = layer
                .unpack(0, &file, &mut Unpacker::new().unwrap(), &mut Vec::new())
                .unwrap_err();
            assert!(matches!(error, FrameError::Content { .. }), "{size}");
        }
    }
}
