//! Frames of a layer: zstd from outside, whose digest is signed.
//!
//! The input: how much more or less than the truth the layer claims to be, which byte is changed
//! after it was signed, then the frame itself.
//!
//! - Bytes whose digest is not the signed one are refused, and nothing is unpacked.
//! - What is unpacked has exactly the signed size, and is what zstd's streaming reader gives.
//! - No more memory is taken than a frame of tar needs, whatever the frame claims to hold.
//! - Any tar that is packed comes back.

use std::io::Read;

use berth_format::Digest;
use berth_format::image::Blob;
use berth_format::layer::{FRAME_BYTES, Frame, FrameError, Layer, Unpacker, pack};

use crate::bytes::Bytes;

pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (more, flip) = (u64::from(bytes.byte()), usize::from(bytes.byte()));
    let frame = bytes.0;
    // What another reader makes of it, as far as a frame may go.
    let mut content = Vec::new();
    let limit = FRAME_BYTES as u64 + 1;
    let is_whole = zstd::stream::Decoder::new(frame)
        .and_then(|decoder| decoder.take(limit).read_to_end(&mut content))
        .is_ok();
    let size = match more {
        0..128 => (content.len() as u64 + more).max(1),
        _ => (content.len() as u64).saturating_sub(more - 128).max(1),
    };
    let layer = Layer {
        size: size.min(FRAME_BYTES as u64),
        stored: blob(frame),
        frames: vec![Frame {
            len: u32::try_from(frame.len()).unwrap(),
            digest: Digest::of(frame),
        }],
    };
    let (mut unpacker, mut out) = (Unpacker::new().unwrap(), b"old".to_vec());
    match layer.unpack(0, frame, &mut unpacker, &mut out) {
        Ok(()) => {
            assert!(is_whole, "the streaming reader refuses it");
            assert_eq!(out.len() as u64, layer.size);
            assert!(out == content, "two readers, two contents");
        }
        Err(error) => {
            assert!(
                matches!(error, FrameError::Content { index: 0, .. }),
                "{error}"
            );
            // A last block of nothing is all that the streaming reader wants; what the frame says
            // of its content is then not held against it.
            let says = zstd::zstd_safe::get_frame_content_size(frame);
            let is_honest = says.is_ok_and(|says| says.is_none_or(|n| n == content.len() as u64));
            let may_differ = !is_whole || !is_honest || content.len() as u64 != layer.size;
            assert!(may_differ, "{error}, and yet it is whole");
        }
    }
    assert!(out.capacity() <= FRAME_BYTES.max(2 * frame.len()));

    let mut changed = frame.to_vec();
    if let Some(byte) = changed.get_mut(flip) {
        *byte ^= 1;
        let mut out = Vec::new();
        let error = layer.unpack(0, &changed, &mut unpacker, &mut out);
        assert!(matches!(error, Err(FrameError::Digest { index: 0 })));
        assert!(out.is_empty(), "unpacked before it was checked");
    }
    there_and_back(data, &mut unpacker);
}

fn there_and_back(tar: &[u8], unpacker: &mut Unpacker) {
    let (mut stored, mut out) = (Vec::new(), Vec::new());
    let (diff_id, layer) = pack(&mut &*tar, 1, &mut stored).unwrap();
    assert_eq!(layer.is_consistent(), !tar.is_empty());
    assert_eq!((diff_id, layer.stored), (Digest::of(tar), blob(&stored)));
    let Some(frame) = layer.frames.first() else {
        return;
    };
    // An input is never larger than one frame.
    assert_eq!((layer.frames.len(), frame.len as usize), (1, stored.len()));
    layer.unpack(0, &stored, unpacker, &mut out).unwrap();
    assert!(out == tar);
}

fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}
