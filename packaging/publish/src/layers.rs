//! Layers into frames on every core, the same bytes as `berth_format::layer::pack` makes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

use berth_format::Digest;
use berth_format::digest::Hashing;
use berth_format::image::Blob;
use berth_format::layer::{FRAME_BYTES, Frame, Layer, Unpacker};
use sha2::{Digest as _, Sha256};

/// zstd's level. The 118 MB of the reference product: 44.1 MB at 3, 40.4 MB at 9, 40.1 MB at 13
/// with six times the work of 9, 35.5 MB at 19 with sixteen times; unpacking costs the same.
pub const DEFAULT_LEVEL: i32 = 9;

/// Writes `tar` as frames to `out`. `told` gets the bytes of tar that are done.
pub fn pack(
    tar: &mut impl Read,
    level: i32,
    out: impl Write,
    mut told: impl FnMut(u64),
) -> io::Result<(Digest, Layer)> {
    let mut out = Hashing::new(out);
    let mut diff = Sha256::new();
    let (mut size, mut frames) = (0, Vec::new());
    let next = |mut chunk: Vec<u8>| -> io::Result<Option<Vec<u8>>> {
        chunk.clear();
        tar.by_ref()
            .take(FRAME_BYTES as u64)
            .read_to_end(&mut chunk)?;
        diff.update(&chunk);
        size += chunk.len() as u64;
        Ok((!chunk.is_empty()).then_some(chunk))
    };
    let compress = || {
        let mut compressor = zstd::bulk::Compressor::new(level)?;
        Ok(move |chunk: Vec<u8>| (compressor.compress(&chunk), chunk))
    };
    in_order(next, compress, |(frame, chunk)| {
        let frame = frame?;
        frames.push(Frame {
            len: u32::try_from(frame.len()).map_err(io::Error::other)?,
            digest: Digest::of(&frame),
        });
        out.write_all(&frame)?;
        told(chunk.len() as u64);
        Ok(chunk)
    })?;
    out.flush()?;
    let (_, digest, stored) = out.finish();
    let stored = Blob {
        digest,
        size: stored,
    };
    Ok((
        Digest::from_hash(diff),
        Layer {
            size,
            stored,
            frames,
        },
    ))
}

/// Whether `stored` is, byte for byte, the layer that `layer` describes.
pub fn is_intact(
    diff_id: &Digest,
    layer: &Layer,
    stored: &mut impl Read,
    mut told: impl FnMut(u64),
) -> io::Result<bool> {
    if !layer.is_consistent() {
        return Ok(false);
    }
    let mut whole = Sha256::new();
    let mut diff = Sha256::new();
    let mut indexes = 0..layer.frames.len();
    let next = |mut frame: Vec<u8>| -> io::Result<Option<(usize, Vec<u8>)>> {
        let Some(index) = indexes.next() else {
            return Ok(None);
        };
        frame.clear();
        let len = u64::from(layer.frames[index].len);
        stored.by_ref().take(len).read_to_end(&mut frame)?;
        whole.update(&frame);
        Ok(Some((index, frame)))
    };
    let unpack = || {
        let mut unpacker = Unpacker::new()?;
        Ok(move |(index, frame): (usize, Vec<u8>)| {
            let mut tar = Vec::new();
            let result = layer.unpack(index, &frame, &mut unpacker, &mut tar);
            (result.is_ok(), frame, tar)
        })
    };
    let mut good = true;
    in_order(next, unpack, |(is_good, frame, tar)| {
        good &= is_good;
        diff.update(&tar);
        told(tar.len() as u64);
        Ok(frame)
    })?;
    let end = stored.read(&mut [0])? == 0;
    Ok(good
        && end
        && Digest::from_hash(whole) == layer.stored.digest
        && Digest::from_hash(diff) == *diff_id)
}

// Takes what `next` gives through one worker a core, and hands the results over in order. Each
// worker gets every n-th item. What `done` returns is given to `next` again.
fn in_order<I, O, F>(
    mut next: impl FnMut(Vec<u8>) -> io::Result<Option<I>>,
    worker: impl Fn() -> io::Result<F>,
    mut done: impl FnMut(O) -> io::Result<Vec<u8>>,
) -> io::Result<()>
where
    I: Send,
    O: Send,
    F: FnMut(I) -> O + Send,
{
    let gone = || io::Error::other("a thread has ended");
    let count = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            let (to, items) = sync_channel::<I>(1);
            let (results, from) = sync_channel::<O>(1);
            let mut work = worker()?;
            scope.spawn(move || {
                for item in items {
                    if results.send(work(item)).is_err() {
                        return;
                    }
                }
            });
            workers.push((to, from));
        }
        let mut in_flight = VecDeque::new();
        let mut spare = Vec::new();
        let mut turn = 0;
        loop {
            if in_flight.len() > workers.len() {
                collect(&workers, &mut in_flight, &mut spare, &mut done)?;
            }
            let Some(item) = next(spare.pop().unwrap_or_default())? else {
                break;
            };
            workers[turn].0.send(item).map_err(|_| gone())?;
            in_flight.push_back(turn);
            turn = (turn + 1) % workers.len();
        }
        while !in_flight.is_empty() {
            collect(&workers, &mut in_flight, &mut spare, &mut done)?;
        }
        Ok(())
    })
}

type Lane<I, O> = (std::sync::mpsc::SyncSender<I>, std::sync::mpsc::Receiver<O>);

fn collect<I, O>(
    workers: &[Lane<I, O>],
    in_flight: &mut VecDeque<usize>,
    spare: &mut Vec<Vec<u8>>,
    done: &mut impl FnMut(O) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    if let Some(turn) = in_flight.pop_front() {
        let result = workers[turn].1.recv();
        spare.push(done(
            result.map_err(|_| io::Error::other("a thread has ended"))?,
        )?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_make_the_bytes_that_one_makes() {
        let tar: Vec<u8> = (0..5 * FRAME_BYTES + 77)
            .map(|i| u8::try_from((i * i / 991) % 251).unwrap())
            .collect();
        for level in [1, 9] {
            let (mut one, mut all) = (Vec::new(), Vec::new());
            let expected = berth_format::layer::pack(&mut tar.as_slice(), level, &mut one).unwrap();
            let mut told = 0;
            let found = pack(&mut tar.as_slice(), level, &mut all, |n| told += n).unwrap();
            assert!(found == expected && one == all);
            assert_eq!(told, tar.len() as u64);
        }
    }

    #[test]
    fn a_stored_layer_is_intact_or_it_is_not() {
        let tar = vec![3; FRAME_BYTES + 5];
        let mut file = Vec::new();
        let (diff_id, layer) = pack(&mut tar.as_slice(), 3, &mut file, |_| {}).unwrap();
        let check =
            |id: &Digest, bytes: &[u8]| is_intact(id, &layer, &mut &*bytes, |_| {}).unwrap();
        assert!(check(&diff_id, &file));
        assert!(!check(&Digest::of(b"other"), &file));
        assert!(!check(&diff_id, &file[..file.len() - 1]));
        assert!(!check(&diff_id, &[file.as_slice(), b"x"].concat()));
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(!check(&diff_id, &changed), "{at}");
        }
    }
}
