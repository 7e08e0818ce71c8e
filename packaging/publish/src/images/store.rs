//! Named parts: a folder, or a tar in which every member can be opened at any time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ImageError;

/// Links from member to member are followed so often.
const MAX_HOPS: usize = 8;

const BUFFER: usize = 256 << 10;

/// A part, open, and its size in bytes.
pub type Part = (Box<dyn Read + Send>, u64);

/// Where images are.
#[derive(Debug)]
pub struct Store {
    name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder(PathBuf),
    Tar {
        file: Arc<File>,
        members: BTreeMap<String, Member>,
    },
}

#[derive(Debug)]
enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

impl Store {
    /// A folder in OCI image layout.
    pub fn folder(dir: &Path) -> Self {
        Self {
            name: dir.display().to_string(),
            kind: Kind::Folder(dir.to_owned()),
        }
    }

    /// An archive, perhaps compressed; then it is unpacked into a file in `scratch` first.
    pub fn archive(path: &Path, scratch: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let io = |source| ImageError::Io {
            store: name.clone(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(io)?;
        file.rewind().map_err(io)?;
        if compression(&magic[..read]) != Compression::None {
            let mut whole = tempfile::tempfile_in(scratch).map_err(io)?;
            io::copy(&mut plain(BufReader::new(file)).map_err(io)?, &mut whole).map_err(io)?;
            whole.rewind().map_err(io)?;
            file = whole;
        }
        Self::tar(&name, file)
    }

    /// An open tar. Only its list of members is read now.
    pub fn tar(name: &str, mut file: File) -> Result<Self, ImageError> {
        let members = index(&mut file).map_err(|source| ImageError::Io {
            store: name.to_owned(),
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            kind: Kind::Tar {
                file: Arc::new(file),
                members,
            },
        })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A part and its size in bytes; `None` where there is none of this name.
    pub fn open(&self, name: &str) -> Result<Option<Part>, ImageError> {
        let io = |source| ImageError::Io {
            store: self.name.clone(),
            source,
        };
        match &self.kind {
            Kind::Folder(dir) => match File::open(dir.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                other => {
                    let file = other.map_err(io)?;
                    let size = file.metadata().map_err(io)?.len();
                    Ok(Some((
                        Box::new(BufReader::with_capacity(BUFFER, file)),
                        size,
                    )))
                }
            },
            Kind::Tar { file, members } => {
                let mut member = members.get(name);
                for _ in 0..MAX_HOPS {
                    match member {
                        Some(Member::Link(to)) => member = members.get(to),
                        Some(Member::File { at, size }) => {
                            let slice = Slice {
                                file: Arc::clone(file),
                                at: *at,
                                left: *size,
                            };
                            let reader = BufReader::with_capacity(BUFFER, slice);
                            return Ok(Some((Box::new(reader), *size)));
                        }
                        None => return Ok(None),
                    }
                }
                Ok(None)
            }
        }
    }

    /// A small part, whole.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some((reader, size)) = self.open(name)? else {
            return Ok(None);
        };
        if size > max {
            return Err(self.damaged(format!("{name} has {size} bytes, at most {max} are read")));
        }
        let mut bytes = Vec::new();
        reader
            .take(max)
            .read_to_end(&mut bytes)
            .map_err(|source| ImageError::Io {
                store: self.name.clone(),
                source,
            })?;
        Ok(Some(bytes))
    }

    pub(super) fn damaged(&self, problem: impl Into<String>) -> ImageError {
        ImageError::Damaged {
            store: self.name.clone(),
            problem: problem.into(),
        }
    }
}

fn index(file: &mut File) -> io::Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER, file));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = clean(&entry.path()?, "");
        let member = match entry.header().entry_type() {
            kind if kind.is_file() => Member::File {
                at: entry.raw_file_position(),
                size: entry.size(),
            },
            kind if kind.is_symlink() || kind.is_hard_link() => {
                let Some(target) = entry.link_name()? else {
                    continue;
                };
                // A symlink is seen from its folder, a hard link from the top.
                let folder = match name.rsplit_once('/') {
                    Some((folder, _)) if kind.is_symlink() => folder,
                    _ => "",
                };
                Member::Link(clean(&target, folder))
            }
            _ => continue,
        };
        members.insert(name, member);
    }
    Ok(members)
}

// Names only look into the list of members, so that `..` can do no harm.
fn clean(path: &Path, folder: &str) -> String {
    let mut parts: Vec<String> = folder
        .split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    for part in path.to_string_lossy().split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.to_owned()),
        }
    }
    parts.join("/")
}

// A part of a file, read by position, so that several can be read at once.
struct Slice {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Slice {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let n = self.file.read_at(&mut bytes[..max], self.at)?;
        if n == 0 && max > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

fn compression(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// What `reader` holds, uncompressed: told by its first bytes, not by its media type.
pub fn plain(mut reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut magic)?;
    let kind = compression(&magic);
    let reader = io::Cursor::new(magic).chain(reader);
    Ok(match kind {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(reader)?),
    })
}

/// Goes back to the beginning of a spooled file.
pub(super) fn rewind(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0)).map(drop)
}
