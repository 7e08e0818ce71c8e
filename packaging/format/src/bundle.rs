//! A bundle: one `.berth` file that holds releases and everything that they need.
//!
//! A tar in which only one byte sequence is possible for a given list of members: every header
//! is compared whole with the one that [`header`] makes, so nothing of the tar format is
//! interpreted beyond the size of the first members. Members stand in this order:
//! `bundle.json` (the list), its signature, the roots of trust, the channel and the daemon that it
//! names if the vendor put them in, the releases, then blobs.

use std::io::{self, Read, Write};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::channel;
use crate::digest::Digest;
use crate::name::{ChannelName, Product};
use crate::signature;

mod carried;
mod read;
mod refusal;
mod walk;
mod write;

pub use crate::root::RootFile;
pub use carried::{Carried, CarriedDaemon, CarriedError};
pub use read::{BundleError, Head, Members, read_head};
pub use walk::{Opened, SignedRelease, Sink, believe, check_config, open, verify_whole};
pub use write::{Content, write};

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes of `bundle.json`.
pub const MAX_INDEX: u64 = 10 << 20;

/// The name of the first member.
pub const INDEX: &str = "bundle.json";

const BLOCK: usize = 512;

/// `bundle.json`: what is in the bundle, and nothing else is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose releases these are.
    pub product: Product,
    /// Oldest first.
    pub releases: Vec<Version>,
    /// Which channel's file it carries, if it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
    /// The version of the daemon that it carries; the channel names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub berth: Option<Version>,
    /// Every member after the signature of this list, in order.
    pub members: Vec<Member>,
}

/// A member of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name: see [`MemberKind`].
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its bytes.
    pub digest: Digest,
}

/// What a member is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// `N.root.json`.
    Root(u32),
    /// `N.root.json.minisig`, `N.root.json.2.minisig` and so on, by their number.
    RootSignature(u32, usize),
    /// `channel.json`.
    Channel,
    /// `channel.json.minisig`, `channel.json.2.minisig` and so on.
    ChannelSignature(usize),
    /// `berth-VERSION.json`.
    Daemon(Version),
    /// `berth-VERSION.json.minisig` and so on.
    DaemonSignature(Version, usize),
    /// `release-VERSION.json`.
    Release(Version),
    /// `release-VERSION.json.minisig`, `release-VERSION.json.2.minisig` and so on.
    ReleaseSignature(Version, usize),
    /// `configs/HEX.json`: an image's config.
    Config(Digest),
    /// `files/HEX`: a file of a release, or the program of a daemon.
    File(Digest),
    /// `layers/HEX.tar.zst`, by diff id.
    Layer(Digest),
}

impl MemberKind {
    /// Reads a member's name; `None` for every name that no bundle has.
    pub fn of(name: &str) -> Option<Self> {
        let digest = |prefix: &str, suffix: &str| {
            let hex = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            Digest::from_hex(hex).ok()
        };
        if let Some((file, n)) = signature::read_file_name(name) {
            return match Self::of(file)? {
                Self::Root(version) => Some(Self::RootSignature(version, n)),
                Self::Channel => Some(Self::ChannelSignature(n)),
                Self::Daemon(version) => Some(Self::DaemonSignature(version, n)),
                Self::Release(version) => Some(Self::ReleaseSignature(version, n)),
                _ => None,
            };
        }
        if name == channel::FILE {
            return Some(Self::Channel);
        }
        if let Some(rest) = name.strip_prefix("berth-") {
            let version = rest.strip_suffix(".json")?;
            return Some(Self::Daemon(plain_version(version)?));
        }
        if let Some(rest) = name.strip_prefix("release-") {
            let version = rest.strip_suffix(".json")?;
            return Some(Self::Release(plain_version(version)?));
        }
        if let Some(digest) = digest("configs/", ".json") {
            return Some(Self::Config(digest));
        }
        if let Some(digest) = digest("files/", "") {
            return Some(Self::File(digest));
        }
        if let Some(digest) = digest("layers/", ".tar.zst") {
            return Some(Self::Layer(digest));
        }
        let number = plain_number(name.strip_suffix(".root.json")?)?;
        Some(Self::Root(number))
    }
}

// One way only to write each, so that no two names mean the same member.
fn plain_version(text: &str) -> Option<Version> {
    Version::parse(text).ok().filter(|v| v.to_string() == text)
}

fn plain_number(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .filter(|n: &u32| *n > 0 && n.to_string() == text)
}

/// The only header that a member of this name and size may have: POSIX ustar, regular file,
/// mode 0644, no owner, no time. `None` where a name or size cannot be written.
fn header(name: &str, size: u64) -> Option<[u8; BLOCK]> {
    // Eleven octal digits; a layer beyond this is refused when it is published.
    if name.is_empty() || name.len() > 100 || size >= 1 << 33 {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[expect(clippy::cast_possible_truncation, reason = "less than a block")]
fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

fn copy_exactly(from: &mut impl Read, to: &mut impl Write, size: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(size), to)?;
    if copied == size {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_way_only() {
        let hex = Digest::of(b"x").hex();
        for good in [
            "1.root.json".to_owned(),
            "12.root.json.minisig".to_owned(),
            "1.root.json.2.minisig".to_owned(),
            "release-1.2.3.json.16.minisig".to_owned(),
            "release-1.2.3-rc.1.json".to_owned(),
            "release-1.2.3.json.minisig".to_owned(),
            "channel.json".to_owned(),
            "channel.json.2.minisig".to_owned(),
            "berth-0.2.0.json".to_owned(),
            "berth-0.2.0.json.minisig".to_owned(),
            format!("configs/{hex}.json"),
            format!("files/{hex}"),
            format!("layers/{hex}.tar.zst"),
        ] {
            assert!(MemberKind::of(&good).is_some(), "{good}");
        }
        for bad in [
            String::new(),
            "01.root.json".to_owned(),
            "0.root.json".to_owned(),
            "1.root.json.minisig.2".to_owned(),
            "1.root.json.minisig.minisig".to_owned(),
            "release-1.2.3.json.17.minisig".to_owned(),
            "../1.root.json".to_owned(),
            "release-01.2.3.json".to_owned(),
            "release-1.2.3.json/".to_owned(),
            format!("files/../{hex}"),
            format!("/files/{hex}"),
            format!("files/{}", hex.to_uppercase()),
            format!("layers/{hex}.tar.gz"),
            "bundle.json".to_owned(),
            "stable/channel.json".to_owned(),
            "channel.json.1.minisig".to_owned(),
            "berth-01.2.0.json".to_owned(),
        ] {
            assert!(MemberKind::of(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_header_is_one_that_tar_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        let mut bytes = header("files/a", 3).unwrap().to_vec();
        bytes.extend_from_slice(b"abc");
        bytes.resize(BLOCK * 4, 0);
        std::fs::write(&path, bytes).unwrap();
        let out = std::process::Command::new("tar")
            .arg("-tvf")
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(String::from_utf8_lossy(&out.stdout).contains("files/a"));
    }
}
