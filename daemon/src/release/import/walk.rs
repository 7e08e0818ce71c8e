//! The walk over the bundle's members, on a thread that may block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use berth_format::Digest;
use berth_format::bundle::{BundleError, Member, MemberKind, Members};
use berth_format::layer::{Layer, Unpacker};

use super::files::Files;
use super::{ImportError, Imported, Phase, Progress, Wanted};
use crate::engine::load::{Pool, TarWriter};

/// The most bytes of an image's config.
const MAX_CONFIG: u64 = 8 << 20;

/// Frames of 4 MiB between the bundle and Docker: one is filled while others are sent.
const BUFFERS: usize = 4;

/// A place in an open file. The file's own offset belongs to whoever handed it over.
#[derive(Clone)]
pub(super) struct At {
    file: Arc<File>,
    at: u64,
}

impl At {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            at: 0,
        }
    }
}

impl Read for At {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(bytes, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, offset) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(offset) => (self.at, offset),
            SeekFrom::End(offset) => (self.file.metadata()?.len(), offset),
        };
        self.at = base
            .checked_add_signed(offset)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// What the walk goes over.
pub(super) struct Walk {
    bundle: At,
    members: Members,
    files: Files,
}

/// Who is told how far it is.
type Tell<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How far it is.
struct Meter<'a> {
    tell: Tell<'a>,
    done: u64,
    total: u64,
}

impl Meter<'_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.tell(Phase::Reading);
    }

    fn tell(&self, phase: Phase) {
        (self.tell)(Progress {
            phase,
            done: self.done,
            total: self.total,
        });
    }
}

impl Walk {
    pub(super) fn new(bundle: At, members: Members, files: Files) -> Self {
        Self {
            bundle,
            members,
            files,
        }
    }

    /// Writes everything that is wanted to `tar` or into files; whatever goes wrong ends the load.
    pub(super) fn run(
        mut self,
        mut tar: TarWriter,
        wanted: &Wanted,
        tell: Tell<'_>,
    ) -> Result<Imported, ImportError> {
        let layers = wanted.layers.values().filter_map(|l| l.first());
        let mut meter = Meter {
            tell,
            done: 0,
            total: layers.map(|l| l.stored.size).sum::<u64>()
                + wanted.configs.values().sum::<u64>()
                + wanted.files.values().sum::<u64>(),
        };
        match self.members(&mut tar, wanted, &mut meter) {
            Ok(()) => {
                tar.finish(&wanted.images)?;
                self.files.sync()?;
                meter.tell(Phase::Unpacking);
                Ok(Imported {
                    images: wanted.ids.clone(),
                    layers: wanted.layers.len(),
                    known: wanted.known,
                    bytes: meter.done,
                })
            }
            Err(error) => {
                tar.abort(&error.to_string());
                Err(error)
            }
        }
    }

    fn members(
        &mut self,
        tar: &mut TarWriter,
        wanted: &Wanted,
        meter: &mut Meter<'_>,
    ) -> Result<(), ImportError> {
        let mut frames = Frames::new()?;
        while let Some((member, kind)) = self.members.next(&mut self.bundle)? {
            if !wanted.takes(&kind) {
                continue;
            }
            match kind {
                MemberKind::Config(digest) => {
                    let bytes = Members::bytes(&mut self.bundle, &member, MAX_CONFIG)?;
                    if Digest::of(&bytes) != digest
                        || wanted.configs.get(&digest) != Some(&member.size)
                    {
                        return Err(ImportError::Mismatch(member.name));
                    }
                    tar.blob(digest, &bytes)?;
                    meter.add(member.size);
                }
                MemberKind::File(digest) => {
                    if wanted.files.get(&digest) != Some(&member.size) {
                        return Err(ImportError::Mismatch(member.name));
                    }
                    if !self.files.put(&digest, member.size, &mut self.bundle)? {
                        return Err(BundleError::Digest(member.name).into());
                    }
                    meter.add(member.size);
                }
                MemberKind::Layer(digest) => {
                    let fits = |l: &&Layer| {
                        l.stored.size == member.size && l.stored.digest == member.digest
                    };
                    let described = wanted.layers.get(&digest);
                    let layer = described.and_then(|all| all.iter().find(fits));
                    let layer = layer
                        .filter(|l| l.is_consistent())
                        .ok_or_else(|| ImportError::Mismatch(member.name.clone()))?;
                    tar.begin(digest, layer.size)?;
                    frames.send(&mut self.bundle, &member, layer, tar, meter)?;
                    tar.end()?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Takes layers apart, always in the same memory.
struct Frames {
    pool: Pool,
    compressed: Vec<u8>,
    unpacker: Unpacker,
}

impl Frames {
    fn new() -> Result<Self, ImportError> {
        Ok(Self {
            pool: Pool::new(BUFFERS),
            compressed: Vec::new(),
            unpacker: Unpacker::new().map_err(BundleError::Io)?,
        })
    }

    fn send(
        &mut self,
        bundle: &mut At,
        member: &Member,
        layer: &Layer,
        tar: &mut TarWriter,
        meter: &mut Meter<'_>,
    ) -> Result<(), ImportError> {
        for (index, frame) in layer.frames.iter().enumerate() {
            self.compressed.clear();
            let taken = bundle
                .by_ref()
                .take(frame.len.into())
                .read_to_end(&mut self.compressed)
                .map_err(BundleError::Io)?;
            if taken != frame.len as usize {
                return Err(BundleError::Truncated(member.name.clone()).into());
            }
            let mut buffer = self.pool.take();
            layer
                .unpack(
                    index,
                    &self.compressed,
                    &mut self.unpacker,
                    buffer.content(),
                )
                .map_err(|error| ImportError::Frame {
                    member: member.name.clone(),
                    error,
                })?;
            tar.piece(buffer.freeze())?;
            meter.add(frame.len.into());
        }
        Ok(())
    }
}
