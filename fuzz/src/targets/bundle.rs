//! Bundles, as somebody else changed them, and as a vendor would sign them by mistake.
//!
//! The first byte of the input says who signs: nobody (what is in the file is all there is), or
//! the vendor, who signs each release and the list anew over whatever is in the file.
//!
//! - Nothing is read beyond the end, and no member of the head beyond its cap.
//! - Without the vendor nothing is believed but what he made: the committed seeds.
//! - What is believed is, to the reader of the tar crate, exactly what the list names.
//! - Each piece that is handed over has the digest that it is handed over under.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::LazyLock;

use berth_format::bundle::{
    BundleError, Content, Index, Member, MemberKind, Sink, open, read_head, write,
};
use berth_format::image::Blob;
use berth_format::layer::{FRAME_BYTES, Layer};
use berth_format::signature::Subject;
use berth_format::{Digest, Product};
use semver::Version;

use crate::bytes::Bytes;
use crate::{keys, seeds};

/// The vendor signs releases anew.
pub const SIGN_RELEASES: u8 = 1;
/// The vendor signs the list anew.
pub const SIGN_LIST: u8 = 2;
/// The list is made anew of what is in the file.
pub const MAKE_LIST: u8 = 4;

type Raw = Vec<(String, Vec<u8>)>;

// By the digests of all that the vendor ever released.
static RELEASED: LazyLock<Vec<Digest>> = LazyLock::new(|| {
    let all = seeds::bundles().into_iter();
    all.flat_map(|(_, bundle)| members(&bundle).unwrap())
        .filter(|(name, _)| name == "bundle.json")
        .map(|(_, bytes)| Digest::of(&bytes))
        .collect()
});

pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let flags = bytes.byte() & (SIGN_RELEASES | SIGN_LIST | MAKE_LIST);
    let file = bytes.0;
    if flags == 0 {
        if let Ok(index) = walk(file) {
            assert!(RELEASED.contains(&Digest::of(&index)), "never signed");
        }
    } else if let Some(file) = members(file).and_then(|raw| signed_anew(raw, flags)) {
        drop(walk(&file));
    }
}

/// Reads a bundle whole; gives the bytes of its list if it is believed.
fn walk(file: &[u8]) -> Result<Vec<u8>, BundleError> {
    let mut counting = Counting {
        inner: Cursor::new(file),
        read: 0,
    };
    let result = verify(&mut counting);
    // Each byte is read once, but for the headers that begin what is not the head.
    assert!(counting.read <= file.len() as u64 + 1024);
    match result {
        Ok(sink) => {
            let raw = members(file).unwrap();
            two_readers(file, &raw);
            sink.matches(&raw);
            Ok(raw[0].1.clone())
        }
        Err(error) => {
            let refusal = error.refusal();
            assert_ne!(refusal.code, berth_format::Code::Internal, "{refusal}");
            Err(error)
        }
    }
}

fn verify(file: &mut (impl Read + Seek)) -> Result<Pieces, BundleError> {
    let head = read_head(file)?;
    let opened = open(file, &head, &keys::root(1))?;
    let mut sink = Pieces::default();
    opened.walk(file, &mut sink)?;
    Ok(sink)
}

fn two_readers(file: &[u8], raw: &Raw) {
    let index: Index = serde_json::from_slice(&raw[0].1).unwrap();
    let mut archive = tar::Archive::new(file);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert!(entry.header().entry_type().is_file());
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        seen.push((name, bytes));
    }
    assert_eq!(seen, *raw);
    assert_eq!(seen.len(), index.members.len() + 2);
    for ((name, bytes), member) in seen.iter().skip(2).zip(&index.members) {
        assert_eq!((name, bytes.len() as u64), (&member.name, member.size));
        assert_eq!(Digest::of(bytes), member.digest, "{name}");
        assert!(MemberKind::of(name).is_some());
    }
}

/// The members of a file that looks like a bundle, if only from afar.
fn members(file: &[u8]) -> Option<Raw> {
    let (mut raw, mut at) = (Vec::new(), 0_usize);
    loop {
        let header = file.get(at..at.checked_add(512)?)?;
        if header.iter().all(|byte| *byte == 0) {
            return Some(raw);
        }
        let name = header[..100].split(|byte| *byte == 0).next()?;
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let size = std::str::from_utf8(&header[124..135]).ok()?;
        let size = usize::from_str_radix(size, 8).ok()?;
        let start = at + 512;
        raw.push((name, file.get(start..start.checked_add(size)?)?.to_vec()));
        at = start.checked_add(size)?.checked_next_multiple_of(512)?;
    }
}

fn signed_anew(mut raw: Raw, flags: u8) -> Option<Vec<u8>> {
    if raw.len() < 3 || raw.len() > 100 {
        return None;
    }
    let product = keys::product();
    if flags & SIGN_RELEASES != 0 {
        let releases: BTreeMap<String, Vec<u8>> = raw.iter().cloned().collect();
        for (name, bytes) in &mut raw {
            let Some(MemberKind::ReleaseSignature(version, _)) = MemberKind::of(name) else {
                continue;
            };
            if let Some(release) = releases.get(&format!("release-{version}.json")) {
                *bytes = sign_release(&product, &version, release);
            }
        }
    }
    let blobs = &raw[2..];
    let mut list = raw[0].1.clone();
    if flags & MAKE_LIST != 0 {
        let mut index: Index = serde_json::from_slice(&list).ok()?;
        let member = |(name, bytes): &(String, Vec<u8>)| Member {
            name: name.clone(),
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        index.members = blobs.iter().map(member).collect();
        list = berth_format::canonical(&index);
    }
    let subject = Subject::Bundle { product: &product };
    let signature = match flags & SIGN_LIST {
        0 => raw[1].1.clone(),
        _ => keys::sign(1, &list, &subject),
    };
    bundle(&list, &signature, blobs)
}

/// A release's signature.
pub fn sign_release(product: &Product, version: &Version, bytes: &[u8]) -> Vec<u8> {
    keys::sign(1, bytes, &Subject::Release { product, version })
}

/// A file of these members. `None` where one cannot be written.
pub fn bundle(list: &[u8], signature: &[u8], members: &[(String, Vec<u8>)]) -> Option<Vec<u8>> {
    let listed = members.iter().map(|(name, bytes)| Member {
        name: name.clone(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
    });
    let index = Index {
        format: 1,
        product: keys::product(),
        releases: Vec::new(),
        channel: None,
        berth: None,
        members: listed.collect(),
    };
    let contents: Vec<_> = members
        .iter()
        .map(|(_, bytes)| Content::Bytes(bytes.clone()))
        .collect();
    let mut out = Vec::new();
    write(&mut out, &index, list, signature, &contents).ok()?;
    Some(out)
}

/// Counts what is read.
struct Counting<'a> {
    inner: Cursor<&'a [u8]>,
    read: u64,
}

impl Read for Counting<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl Seek for Counting<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// What was handed over.
#[derive(Default)]
struct Pieces {
    blobs: BTreeMap<Digest, u64>,
    layers: BTreeMap<Digest, Vec<u8>>,
    finished: usize,
}

impl Sink for Pieces {
    fn config(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(
            (Digest::of(bytes), bytes.len() as u64),
            (blob.digest, blob.size)
        );
        assert!(self.blobs.insert(blob.digest, blob.size).is_none());
        Ok(())
    }

    fn file(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(
            (Digest::of(bytes), bytes.len() as u64),
            (blob.digest, blob.size)
        );
        Ok(())
    }

    fn wants(&mut self, _: &Digest, _: &Layer) -> io::Result<bool> {
        Ok(true)
    }

    fn frame(&mut self, diff_id: &Digest, index: usize, tar: &[u8]) -> io::Result<()> {
        let layer = self.layers.entry(*diff_id).or_default();
        assert_eq!(layer.len(), index * FRAME_BYTES);
        layer.extend_from_slice(tar);
        Ok(())
    }

    fn layer(&mut self, diff_id: &Digest) -> io::Result<()> {
        assert_eq!(Digest::of(&self.layers[diff_id]), *diff_id);
        self.finished += 1;
        Ok(())
    }
}

impl Pieces {
    fn matches(&self, raw: &Raw) {
        let count = |is: fn(&MemberKind) -> bool| {
            let kinds = raw.iter().filter_map(|(name, _)| MemberKind::of(name));
            kinds.filter(is).count()
        };
        let layers = count(|kind| matches!(kind, MemberKind::Layer(_)));
        assert_eq!((self.layers.len(), self.finished), (layers, layers));
        let configs = count(|kind| matches!(kind, MemberKind::Config(_)));
        assert_eq!(self.blobs.len(), configs);
    }
}
