//! The walk over the bundle's members, on a thread that may block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_format::Digest;
use berth_format::bundle::{BundleError, Member, MemberKind, Members};
use berth_format::image::{Blob, config_file_name};
use berth_format::layer::{Layer, Unpacker};
use berth_format::release::blob_file_name;

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

/// Where the blobs are.
pub(super) enum Blobs {
    Bundle(At, Members),
    /// By the digits of their digests.
    Folder(PathBuf),
}

/// What the walk goes over.
pub(super) struct Walk {
    from: Blobs,
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
    pub(super) fn new(from: Blobs, files: Files) -> Self {
        Self { from, files }
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
        let mut load = Load {
            tar: &mut tar,
            wanted,
            meter: &mut meter,
            frames: Frames::new()?,
            files: &self.files,
        };
        let walked = match &mut self.from {
            Blobs::Bundle(bundle, members) => load.members(bundle, members),
            Blobs::Folder(folder) => load.folder(folder),
        };
        match walked {
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
}

/// What goes on the way to Docker.
struct Load<'a, 't> {
    tar: &'a mut TarWriter,
    wanted: &'a Wanted,
    meter: &'a mut Meter<'t>,
    frames: Frames,
    files: &'a Files,
}

impl Load<'_, '_> {
    fn members(&mut self, bundle: &mut At, members: &mut Members) -> Result<(), ImportError> {
        while let Some((member, kind)) = members.next(bundle)? {
            if !self.wanted.takes(&kind) {
                continue;
            }
            let Member {
                name, size, digest, ..
            } = member;
            match kind {
                MemberKind::Config(id) => self.config(id, &name, size, bundle)?,
                MemberKind::File(id) => self.file(id, &name, size, bundle)?,
                MemberKind::Layer(id) => self.layer(id, &name, Blob { digest, size }, bundle)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> Result<(), ImportError> {
        let open = |digest: &Digest| {
            let path = folder.join(digest.hex());
            File::open(&path).map_err(ImportError::io(&path))
        };
        let wanted = self.wanted;
        for (digest, size) in &wanted.configs {
            let name = config_file_name(digest);
            self.config(*digest, &name, *size, &mut open(digest)?)?;
        }
        for (digest, size) in &wanted.files {
            let name = blob_file_name(digest);
            self.file(*digest, &name, *size, &mut open(digest)?)?;
        }
        for (diff_id, layers) in &wanted.layers {
            let Some(layer) = layers.first() else {
                continue;
            };
            let mut file = open(&layer.stored.digest)?;
            self.layer(
                *diff_id,
                &Layer::file_name(diff_id),
                layer.stored,
                &mut file,
            )?;
        }
        Ok(())
    }

    fn config(
        &mut self,
        digest: Digest,
        name: &str,
        size: u64,
        from: &mut impl Read,
    ) -> Result<(), ImportError> {
        if size > MAX_CONFIG || self.wanted.configs.get(&digest) != Some(&size) {
            return Err(ImportError::Mismatch(name.to_owned()));
        }
        let mut bytes = Vec::new();
        from.take(size)
            .read_to_end(&mut bytes)
            .map_err(BundleError::Io)?;
        if Digest::of(&bytes) != digest {
            return Err(BundleError::Digest(name.to_owned()).into());
        }
        self.tar.blob(digest, &bytes)?;
        self.meter.add(size);
        Ok(())
    }

    fn file(
        &mut self,
        digest: Digest,
        name: &str,
        size: u64,
        from: &mut impl Read,
    ) -> Result<(), ImportError> {
        if self.wanted.files.get(&digest) != Some(&size) {
            return Err(ImportError::Mismatch(name.to_owned()));
        }
        if !self.files.put(&digest, size, from)? {
            return Err(BundleError::Digest(name.to_owned()).into());
        }
        self.meter.add(size);
        Ok(())
    }

    fn layer(
        &mut self,
        diff_id: Digest,
        name: &str,
        stored: Blob,
        from: &mut impl Read,
    ) -> Result<(), ImportError> {
        let described = self.wanted.layers.get(&diff_id);
        let layer = described.and_then(|all| all.iter().find(|l| l.stored == stored));
        let layer = layer
            .filter(|l| l.is_consistent())
            .ok_or_else(|| ImportError::Mismatch(name.to_owned()))?;
        self.tar.begin(diff_id, layer.size)?;
        self.frames.send(from, name, layer, self.tar, self.meter)?;
        Ok(self.tar.end()?)
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
        from: &mut impl Read,
        name: &str,
        layer: &Layer,
        tar: &mut TarWriter,
        meter: &mut Meter<'_>,
    ) -> Result<(), ImportError> {
        for (index, frame) in layer.frames.iter().enumerate() {
            self.compressed.clear();
            let taken = from
                .by_ref()
                .take(frame.len.into())
                .read_to_end(&mut self.compressed)
                .map_err(BundleError::Io)?;
            if taken != frame.len as usize {
                return Err(BundleError::Truncated(name.to_owned()).into());
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
                    member: name.to_owned(),
                    error,
                })?;
            tar.piece(buffer.freeze())?;
            meter.add(frame.len.into());
        }
        Ok(())
    }
}
