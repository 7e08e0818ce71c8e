//! Reading a bundle that nobody has verified yet.
//!
//! 1. [`read_head`] takes the list, its signature and the roots into bounded memory.
//! 2. The caller decides which root it believes and calls [`Head::verify`] with its keys.
//! 3. [`Members`] walks the rest in the order of the list; a header, size or padding that is
//!    not exactly what the list says ends the walk. The bytes of a member are the caller's to
//!    check against the list, or against the frames of the signed release.

use std::io::{self, Read, Seek, SeekFrom};

use super::{BLOCK, FORMAT, INDEX, Index, MAX_INDEX, Member, MemberKind, header, padding};
use crate::daemon::DaemonError;
use crate::digest::{Digest, Hashing};
use crate::layer::FrameError;
use crate::root::{self, Role, Root, RootFile};
use crate::signature::{self, SignatureError, Subject};

/// The most roots and root signatures in one bundle.
const MAX_ROOTS: usize = root::MAX_STEPS as usize * (1 + signature::MAX_FILES);

/// The most bytes of all roots together.
const MAX_ROOT_BYTES: u64 = 16 << 20;

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the file does not begin as a bundle does")]
    NotABundle,
    #[error("the file ends within {0}")]
    Truncated(String),
    #[error("expected the header of {expected} at byte {at}, found another")]
    Header { expected: String, at: u64 },
    #[error("{name} has {size} bytes, at most {max} are read")]
    TooLarge { name: String, size: u64, max: u64 },
    #[error("bytes between {0} and the next member are not zero")]
    Padding(String),
    #[error("{0} bytes after the end")]
    Trailing(u64),
    #[error("{0}: its bytes are not those that the list names")]
    Digest(String),
    #[error("the list names {0:?}, which no bundle has or which stands out of order")]
    Member(String),
    #[error("the list has no signature")]
    Unsigned,
    #[error("the list: {0}")]
    Signature(#[from] SignatureError),
    #[error("the list is not one that this Berth reads: {0}")]
    Index(String),
    #[error("{name}: {source}")]
    ReleaseSignature {
        name: String,
        source: SignatureError,
    },
    #[error("{name}: {problem}")]
    Manifest { name: String, problem: String },
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("{0} is of no release of this bundle")]
    Extra(String),
    #[error("{0} is missing")]
    Missing(String),
    #[error("{0}: the list and the release describe it in different ways")]
    Mismatch(String),
    #[error("{name}: {source}")]
    Frame { name: String, source: FrameError },
    #[error("{0}: unpacks to another tar than the one that it is named after")]
    DiffId(String),
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
    /// What the caller did with a verified piece failed.
    #[error("{0}")]
    Sink(#[source] io::Error),
}

/// The first members, in memory, not believed.
#[derive(Debug)]
pub struct Head {
    index: Vec<u8>,
    signature: Vec<u8>,
    roots: Vec<RootFile>,
    raw: Vec<(String, Digest, u64)>,
    end: u64,
}

/// Reads the list, its signature and the roots.
pub fn read_head(file: &mut (impl Read + Seek)) -> Result<Head, BundleError> {
    file.seek(SeekFrom::Start(0))?;
    let mut at = 0;
    let (name, size) = peek(file, &mut at)?.ok_or(BundleError::NotABundle)?;
    if name != INDEX {
        return Err(BundleError::NotABundle);
    }
    let index = take(file, &mut at, &name, size, MAX_INDEX)?;
    let signature_name = format!("{INDEX}.minisig");
    let signature = match peek(file, &mut at)? {
        Some((name, size)) if name == signature_name => {
            take(file, &mut at, &name, size, signature::MAX_BYTES as u64)?
        }
        _ => return Err(BundleError::Unsigned),
    };
    let (mut roots, mut raw, mut bytes_left) = (Vec::<RootFile>::new(), Vec::new(), MAX_ROOT_BYTES);
    let mut end = at;
    while let Some((name, size)) = peek(file, &mut at)? {
        let (version, number) = match MemberKind::of(&name) {
            Some(MemberKind::Root(version)) => (version, None),
            Some(MemberKind::RootSignature(version, n)) => (version, Some(n)),
            _ => break,
        };
        let max = number.map_or(root::MAX_BYTES, |_| signature::MAX_BYTES as u64);
        let bytes = take(file, &mut at, &name, size, max.min(bytes_left))?;
        bytes_left -= size;
        raw.push((name.clone(), Digest::of(&bytes), size));
        if raw.len() > MAX_ROOTS {
            return Err(BundleError::Member(name));
        }
        match (number, roots.last_mut()) {
            (None, _) => roots.push(RootFile {
                version,
                bytes,
                signatures: Vec::new(),
            }),
            (Some(n), Some(root)) if root.version == version && n == root.signatures.len() + 1 => {
                root.signatures.push(bytes);
            }
            (Some(_), _) => return Err(BundleError::Member(name)),
        }
        end = at;
    }
    Ok(Head {
        index,
        signature,
        roots,
        raw,
        end,
    })
}

impl Head {
    /// The roots that the bundle carries, in its order.
    pub fn roots(&self) -> &[RootFile] {
        &self.roots
    }

    /// Believes the list if `root` says so, and gives what is left to walk.
    pub fn verify(&self, root: &Root) -> Result<(Index, Members), BundleError> {
        let subject = Subject::Bundle {
            product: &root.product,
        };
        // One release key suffices, whatever the threshold: the list only says what is in the
        // file, and all that it can name is signed for by the releases themselves.
        signature::verify(
            root.keys(Role::Release),
            &self.index,
            &self.signature,
            &subject,
        )?;
        let index: Index = serde_json::from_slice(&self.index)
            .map_err(|error| BundleError::Index(error.to_string()))?;
        if index.format != FORMAT {
            return Err(BundleError::Index(format!(
                "format {}, expected {FORMAT}",
                index.format
            )));
        }
        if index.product != root.product {
            return Err(BundleError::Index(format!("product {}", index.product)));
        }
        check_order(&index)?;
        for (n, (name, digest, size)) in self.raw.iter().enumerate() {
            match index.members.get(n) {
                Some(member) if member.name == *name && member.size == *size => {
                    if member.digest != *digest {
                        return Err(BundleError::Digest(name.clone()));
                    }
                }
                _ => return Err(BundleError::Member(name.clone())),
            }
        }
        let members = index.members[self.raw.len()..].to_vec();
        if let Some(member) = members
            .iter()
            .find(|m| rank(&m.name).is_none_or(|r| r == 0))
        {
            return Err(BundleError::Member(member.name.clone()));
        }
        Ok((
            index,
            Members {
                left: members.into_iter(),
                at: self.end,
                current: None,
            },
        ))
    }
}

/// The members after the roots, in the order of the list.
#[derive(Debug, Clone)]
pub struct Members {
    left: std::vec::IntoIter<Member>,
    at: u64,
    current: Option<(String, u64)>,
}

impl Members {
    /// The next member: its header was checked and `file` stands at its first byte. `None` after
    /// the last one, when the end of the file was checked too.
    pub fn next(
        &mut self,
        file: &mut (impl Read + Seek),
    ) -> Result<Option<(Member, MemberKind)>, BundleError> {
        file.seek(SeekFrom::Start(self.at))?;
        if let Some((name, size)) = self.current.take() {
            zeros(
                file,
                padding(size),
                || BundleError::Padding(name.clone()),
                &name,
            )?;
            self.at += padding(size) as u64;
        }
        let Some(member) = self.left.next() else {
            let end = || BundleError::Padding("the last member".into());
            zeros(file, 2 * BLOCK, end, "the end")?;
            self.at += 2 * BLOCK as u64;
            let length = file.seek(SeekFrom::End(0))?;
            return if length == self.at {
                Ok(None)
            } else {
                Err(BundleError::Trailing(length - self.at))
            };
        };
        let kind =
            MemberKind::of(&member.name).ok_or_else(|| BundleError::Member(member.name.clone()))?;
        let expected = header(&member.name, member.size)
            .ok_or_else(|| BundleError::Member(member.name.clone()))?;
        let mut found = [0; BLOCK];
        read_exact(file, &mut found, &member.name)?;
        if found != expected {
            return Err(BundleError::Header {
                expected: member.name,
                at: self.at,
            });
        }
        self.at += BLOCK as u64 + member.size;
        self.current = Some((member.name.clone(), member.size));
        Ok(Some((member, kind)))
    }

    /// Reads a whole member of at most `max` bytes and believes it by its digest.
    pub fn bytes(file: &mut impl Read, member: &Member, max: u64) -> Result<Vec<u8>, BundleError> {
        if member.size > max {
            let (name, size) = (member.name.clone(), member.size);
            return Err(BundleError::TooLarge { name, size, max });
        }
        let mut bytes = Vec::new();
        file.take(member.size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != member.size {
            return Err(BundleError::Truncated(member.name.clone()));
        }
        if Digest::of(&bytes) != member.digest {
            return Err(BundleError::Digest(member.name.clone()));
        }
        Ok(bytes)
    }

    /// Reads a member that nobody takes, in little memory, and holds it against its digest.
    pub fn check(file: &mut impl Read, member: &Member) -> Result<(), BundleError> {
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file.take(member.size), &mut hashing)?;
        let (_, digest, size) = hashing.finish();
        if size != member.size {
            return Err(BundleError::Truncated(member.name.clone()));
        }
        if digest != member.digest {
            return Err(BundleError::Digest(member.name.clone()));
        }
        Ok(())
    }
}

// Roots, the channel, the daemon, then releases, each with its signatures, then blobs; each name once.
fn rank(name: &str) -> Option<u8> {
    Some(match MemberKind::of(name)? {
        MemberKind::Root(_) | MemberKind::RootSignature(..) => 0,
        MemberKind::Channel | MemberKind::ChannelSignature(_) => 1,
        MemberKind::Daemon(_) | MemberKind::DaemonSignature(..) => 2,
        MemberKind::Release(_) | MemberKind::ReleaseSignature(..) => 3,
        MemberKind::Config(_) => 4,
        MemberKind::File(_) => 5,
        MemberKind::Layer(_) => 6,
    })
}

fn check_order(index: &Index) -> Result<(), BundleError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    for member in &index.members {
        match rank(&member.name) {
            Some(rank) if rank >= last && seen.insert(&member.name) => last = rank,
            _ => return Err(BundleError::Member(member.name.clone())),
        }
    }
    Ok(())
}

/// Reads a header whose member the list has not announced yet. `None` at the end of the archive.
fn peek(file: &mut impl Read, at: &mut u64) -> Result<Option<(String, u64)>, BundleError> {
    let mut block = [0; BLOCK];
    read_exact(file, &mut block, "a header")?;
    *at += BLOCK as u64;
    if block == [0; BLOCK] {
        return Ok(None);
    }
    let name = block[..100]
        .split(|b| *b == 0)
        .next()
        .and_then(|n| std::str::from_utf8(n).ok());
    let size = std::str::from_utf8(&block[124..135])
        .ok()
        .and_then(|s| u64::from_str_radix(s, 8).ok());
    match (name, size) {
        (Some(name), Some(size)) if header(name, size) == Some(block) => {
            Ok(Some((name.to_owned(), size)))
        }
        _ if *at == BLOCK as u64 => Err(BundleError::NotABundle),
        _ => Err(BundleError::Header {
            expected: "a member".into(),
            at: *at - BLOCK as u64,
        }),
    }
}

fn take(
    file: &mut impl Read,
    at: &mut u64,
    name: &str,
    size: u64,
    max: u64,
) -> Result<Vec<u8>, BundleError> {
    if size > max {
        return Err(BundleError::TooLarge {
            name: name.to_owned(),
            size,
            max,
        });
    }
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        return Err(BundleError::Truncated(name.to_owned()));
    }
    zeros(
        file,
        padding(size),
        || BundleError::Padding(name.to_owned()),
        name,
    )?;
    *at += size + padding(size) as u64;
    Ok(bytes)
}

fn zeros(
    file: &mut impl Read,
    count: usize,
    error: impl Fn() -> BundleError,
    name: &str,
) -> Result<(), BundleError> {
    let mut bytes = [0; 2 * BLOCK];
    let bytes = &mut bytes[..count];
    read_exact(file, bytes, name)?;
    if bytes.iter().all(|b| *b == 0) {
        Ok(())
    } else {
        Err(error())
    }
}

fn read_exact(file: &mut impl Read, bytes: &mut [u8], name: &str) -> Result<(), BundleError> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated(name.to_owned()),
        _ => BundleError::Io(error),
    })
}
