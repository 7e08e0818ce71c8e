//! Reads blobs in the order of the list, checks them on every core and hands them over in order.

use std::collections::VecDeque;
use std::io::{self, Read, Seek};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::read::{BundleError, Members};
use super::super::{Member, MemberKind};
use super::{Expected, Sink};
use crate::digest::Digest;
use crate::image::{self, Blob, Platform, PlatformImage};
use crate::layer::{FrameError, Layer, Unpacker};
use crate::release;

/// More workers than this gain nothing: the tar is hashed by one thread.
const MAX_WORKERS: usize = 4;

/// Walks what is left of `members`; `total` is what its blobs weigh.
pub(super) fn walk(
    file: &mut (impl Read + Seek),
    sink: &mut impl Sink,
    members: &mut Members,
    expected: &Expected<'_>,
    total: u64,
) -> Result<(), BundleError> {
    let count = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_WORKERS);
    thread::scope(|scope| {
        let mut workers = Vec::with_capacity(count);
        for _ in 0..count {
            let (to, jobs) = sync_channel(1);
            let (results, from) = sync_channel(1);
            let unpacker = Unpacker::new()?;
            thread::Builder::new()
                .name("unpack".into())
                .spawn_scoped(scope, move || work(unpacker, &jobs, &results))?;
            workers.push(Worker { to, from });
        }
        let mut walk = Walk {
            file,
            sink,
            workers,
            spare: Vec::new(),
            done: 0,
            total,
        };
        walk.say()?;
        while let Some((member, kind)) = members.next(walk.file)? {
            walk.member(expected, &member, &kind)?;
        }
        Ok(())
    })
}

// A frame on its way through a worker.
struct Job<'a> {
    layer: &'a Layer,
    index: usize,
    unpack: bool,
    compressed: Vec<u8>,
    tar: Vec<u8>,
    result: Result<(), FrameError>,
}

// Takes every n-th frame, so that results come back in order without a queue between workers.
struct Worker<'a> {
    to: SyncSender<Job<'a>>,
    from: Receiver<Job<'a>>,
}

fn work<'a>(mut unpacker: Unpacker, jobs: &Receiver<Job<'a>>, results: &SyncSender<Job<'a>>) {
    for mut job in jobs {
        job.result = if job.unpack {
            job.layer
                .unpack(job.index, &job.compressed, &mut unpacker, &mut job.tar)
        } else {
            job.layer.check(job.index, &job.compressed)
        };
        if results.send(job).is_err() {
            return;
        }
    }
}

struct Walk<'a, 'f, F, S> {
    file: &'f mut F,
    sink: &'f mut S,
    workers: Vec<Worker<'a>>,
    // Buffers of frames, used again.
    spare: Vec<(Vec<u8>, Vec<u8>)>,
    done: u64,
    total: u64,
}

impl<'a, F: Read + Seek, S: Sink> Walk<'a, '_, F, S> {
    fn say(&mut self) -> Result<(), BundleError> {
        self.sink
            .progress(self.done, self.total)
            .map_err(BundleError::Sink)
    }

    fn member(
        &mut self,
        expected: &Expected<'a>,
        member: &Member,
        kind: &MemberKind,
    ) -> Result<(), BundleError> {
        let blob = Blob {
            digest: member.digest,
            size: member.size,
        };
        match kind {
            MemberKind::Config(digest) => {
                let bytes = Members::bytes(self.file, member, image::MAX_CONFIG)?;
                let images = expected.configs.get(digest).map(|(_, images)| images);
                for (platform, image) in images.into_iter().flatten() {
                    check_config(&bytes, platform, image).map_err(|problem| {
                        BundleError::Manifest {
                            name: member.name.clone(),
                            problem,
                        }
                    })?;
                }
                self.sink.config(blob, &bytes).map_err(BundleError::Sink)?;
                self.done += member.size;
                self.say()
            }
            MemberKind::File(digest) if !expected.files.contains_key(digest) => {
                // The program of a daemon: its size and digest are those that were signed.
                Members::check(self.file, member)?;
                self.done += member.size;
                self.say()
            }
            MemberKind::File(_) => {
                let bytes = Members::bytes(self.file, member, release::MAX_FILE)?;
                self.sink.file(blob, &bytes).map_err(BundleError::Sink)?;
                self.done += member.size;
                self.say()
            }
            MemberKind::Layer(diff_id) => {
                let layer = expected
                    .layers
                    .get(diff_id)
                    .ok_or_else(|| BundleError::Extra(member.name.clone()))?;
                self.layer(diff_id, layer, &member.name)
            }
            _ => Err(BundleError::Member(member.name.clone())),
        }
    }

    fn layer(&mut self, diff_id: &Digest, layer: &'a Layer, name: &str) -> Result<(), BundleError> {
        let unpack = self.sink.wants(diff_id, layer).map_err(BundleError::Sink)?;
        let mut hash = Sha256::new();
        let mut in_flight = VecDeque::new();
        for (index, frame) in layer.frames.iter().enumerate() {
            if in_flight.len() > self.workers.len() {
                self.collect(diff_id, &mut in_flight, &mut hash, name)?;
            }
            let (mut compressed, tar) = self.spare.pop().unwrap_or_default();
            compressed.clear();
            let len = u64::from(frame.len);
            (&mut *self.file).take(len).read_to_end(&mut compressed)?;
            if compressed.len() as u64 != len {
                return Err(BundleError::Truncated(name.to_owned()));
            }
            let worker = index % self.workers.len();
            let job = Job {
                layer,
                index,
                unpack,
                compressed,
                tar,
                result: Ok(()),
            };
            self.workers[worker].to.send(job).map_err(|_| gone())?;
            in_flight.push_back(worker);
        }
        while !in_flight.is_empty() {
            self.collect(diff_id, &mut in_flight, &mut hash, name)?;
        }
        if !unpack {
            return Ok(());
        }
        if Digest::from_hash(hash) != *diff_id {
            return Err(BundleError::DiffId(name.to_owned()));
        }
        self.sink.layer(diff_id).map_err(BundleError::Sink)
    }

    // Takes the oldest frame in flight.
    fn collect(
        &mut self,
        diff_id: &Digest,
        in_flight: &mut VecDeque<usize>,
        hash: &mut Sha256,
        name: &str,
    ) -> Result<(), BundleError> {
        let Some(worker) = in_flight.pop_front() else {
            return Ok(());
        };
        let job = self.workers[worker].from.recv().map_err(|_| gone())?;
        job.result.map_err(|source| BundleError::Frame {
            name: name.to_owned(),
            source,
        })?;
        if job.unpack {
            hash.update(&job.tar);
            self.sink
                .frame(diff_id, job.index, &job.tar)
                .map_err(BundleError::Sink)?;
        }
        self.done += job.compressed.len() as u64;
        self.spare.push((job.compressed, job.tar));
        self.say()
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that unpacks has ended")
}

/// Holds an image's config against what the release says of it.
///
/// Format: <https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md>.
pub fn check_config(
    bytes: &[u8],
    platform: &Platform,
    image: &PlatformImage,
) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Config {
        os: String,
        architecture: String,
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    let config: Config = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if config.os != platform.os || config.architecture != platform.architecture {
        return Err(format!(
            "it is for {}/{}, the release says {platform}",
            config.os, config.architecture
        ));
    }
    if config.rootfs.diff_ids != image.layers {
        return Err("its layers are not those of the release".into());
    }
    Ok(())
}
