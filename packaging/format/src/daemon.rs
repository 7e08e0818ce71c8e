//! `berth-VERSION.json`: the daemon itself, for appliances that update it.
//!
//! Threat: a channel key is online, and a daemon runs as root. So a channel only names this file,
//! by digest, and the release key signs it, as it signs releases: a thief of the channel key can
//! offer an older daemon, which no appliance takes, and never one of his own. Checks of [`believe`]:
//!
//! 1. Enough release keys signed the raw bytes as this version of the daemon for this product.
//! 2. Strict JSON in a format that this Berth reads, at most 64 KiB.
//! 3. Product and version are those that were signed for; each file has a size that can be.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::image::{Blob, Platform};
use crate::name::Product;
use crate::refusal::Refusal;
use crate::root::{Role, Root};
use crate::signature::{SignatureError, Subject};

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes of `berth-VERSION.json`.
pub const MAX_BYTES: u64 = 64 << 10;

/// The most bytes of the program.
pub const MAX_PROGRAM: u64 = 1 << 30;

/// The file name in channels.
pub fn file_name(version: &Version) -> String {
    format!("berth-{version}.json")
}

/// A version of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// [`FORMAT`].
    pub format: u32,
    /// The product whose appliances it is for.
    pub product: Product,
    /// Of the daemon.
    pub version: Version,
    /// The program by platform; it lies under `files/` ([`crate::release::blob_file_name`]).
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub files: BTreeMap<Platform, Blob>,
}

/// Why a daemon is not believed.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("{name}: {source}")]
    Signature {
        name: String,
        source: SignatureError,
    },
    #[error("{name}: {problem}")]
    Unsound { name: String, problem: String },
}

impl Daemon {
    /// The bytes that are signed and published; the same for equal daemons.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = crate::canonical(self);
        bytes.push(b'\n');
        bytes
    }
}

/// Believes and reads `berth-VERSION.json`.
pub fn believe(
    root: &Root,
    version: &Version,
    bytes: &[u8],
    signatures: &[Vec<u8>],
) -> Result<Daemon, DaemonError> {
    let name = || file_name(version);
    let signatures: Vec<_> = signatures.iter().map(Vec::as_slice).collect();
    let subject = Subject::Daemon {
        product: &root.product,
        version,
    };
    // 1
    root.verify(Role::Release, bytes, &signatures, &subject)
        .map_err(|source| DaemonError::Signature {
            name: name(),
            source,
        })?;
    let unsound = |problem: String| DaemonError::Unsound {
        name: name(),
        problem,
    };
    // 2
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unsound(format!("more than {MAX_BYTES} bytes")));
    }
    let daemon: Daemon =
        serde_json::from_slice(bytes).map_err(|error| unsound(error.to_string()))?;
    if daemon.format != FORMAT {
        return Err(unsound(format!(
            "format {}, this Berth reads {FORMAT}",
            daemon.format
        )));
    }
    // 3
    if daemon.product != root.product || daemon.version != *version {
        return Err(unsound(format!(
            "it is {} for {}",
            daemon.version, daemon.product
        )));
    }
    let is_possible = |file: &Blob| file.size > 0 && file.size <= MAX_PROGRAM;
    if daemon.files.is_empty() || !daemon.files.values().all(is_possible) {
        return Err(unsound(
            "it has no program, or one of no possible size".into(),
        ));
    }
    Ok(daemon)
}

impl DaemonError {
    /// The refusal of the daemon.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Signature { name, source } => source
                .refusal(name)
                .next("The installed Berth stays; tell the vendor."),
            Self::Unsound { .. } => {
                Refusal::new(Code::ManifestInvalid, Code::ManifestInvalid.means())
                    .because("a daemon that this Berth understands", self.to_string())
            }
        }
    }
}

impl From<DaemonError> for Refusal {
    fn from(error: DaemonError) -> Self {
        error.refusal()
    }
}
