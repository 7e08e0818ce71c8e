//! The root of trust: which keys may sign what.
//!
//! Threat: whoever holds the mirror, or the line to it, sends any bytes as `N.root.json`; whoever
//! holds fewer root keys than the threshold signs any of them. Neither may change the keys.
//!
//! `1.root.json` is confirmed by its fingerprint, the SHA-256 of its bytes, or laid down by the
//! vendor's package. A later root is believed after these checks, in this order ([`Root::next`]):
//!
//! 1. Enough root keys of the root before it signed its raw bytes, as root N+1 of this product.
//!    Keys are counted by their 32 bytes, not by their texts or ids; a spoiled extra signature
//!    spoils nothing. Only now is it parsed.
//! 2. It is strict JSON in a format that this Berth reads, at most 1 MiB.
//! 3. It is of the same product, and its version is exactly N+1.
//! 4. Its keys are sane: each is a minisign key and stands once in its role, and each threshold can
//!    be reached. `channel` may be absent: then no channel is believed.
//! 5. Enough of its own root keys signed it too.
//!
//! The caller keeps each root as soon as it is believed, also one that is expired: an older one
//! must not be offered again. Expiry is judged at the end, of the last root alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::{ParseKeyError, PublicKey};
use crate::name::Product;
use crate::signature::{self, MAX_FILES, SignatureError, Subject};

mod chain;

pub use chain::{Chain, End};

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes of a root file.
pub const MAX_BYTES: u64 = 1 << 20;

/// The most keys of a role.
pub const MAX_KEYS: usize = 64;

/// The most rotations that are followed in one go.
pub const MAX_STEPS: u32 = 1024;

/// The file name in channels and bundles.
pub fn file_name(version: u32) -> String {
    format!("{version}.root.json")
}

/// Which keys may sign what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// [`FORMAT`].
    pub format: u32,
    /// The only product that these keys speak for.
    pub product: Product,
    /// 1, then one more with each rotation.
    pub version: u32,
    /// After this it must be renewed.
    pub expires: Timestamp,
    /// Who may sign each kind of file.
    #[serde(deserialize_with = "crate::strict::ordered")]
    pub roles: BTreeMap<Role, Keys>,
}

/// A kind of signed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Root,
    Release,
    Channel,
}

/// The keys of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// So many different keys must have signed.
    pub threshold: u32,
    /// minisign public keys, base64 without the comment line.
    pub keys: Vec<String>,
}

/// Why a root is not one.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("not a root file: {0}")]
    Parse(#[from] serde_json::Error),
    #[error("format {0}, this Berth reads {FORMAT}")]
    Format(u32),
    #[error("{0} bytes, at most {MAX_BYTES} are read")]
    TooLarge(u64),
    #[error("role {0} has no keys, too many, or a threshold that cannot be reached")]
    Role(Role),
    #[error("role {role} lists {source}")]
    Key { role: Role, source: ParseKeyError },
    #[error("role {0} lists one key twice")]
    Twice(Role),
    #[error("version {found} of {product}, expected version {expected} of the same product")]
    Order {
        product: Product,
        expected: u32,
        found: u32,
    },
    #[error("expired at {expires}, it is {now}")]
    Expired { expires: Timestamp, now: Timestamp },
    #[error("more than {MAX_STEPS} rotations in one go")]
    TooMany,
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// A root of trust with its signatures, as it was offered; it vouches for nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootFile {
    pub version: u32,
    pub bytes: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
}

impl Role {
    /// The word of the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Channel => "channel",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Root {
    /// Reads version 1, which signs itself. Whoever calls this has confirmed its fingerprint, or
    /// has it from a place that is trusted.
    pub fn first(bytes: &[u8], signatures: &[Vec<u8>]) -> Result<Self, RootError> {
        let root = Self::parse(bytes)?;
        root.must_be(&root.product, 1)?;
        root.must_have_signed(&root.product, 1, bytes, signatures)?;
        Ok(root)
    }

    /// Follows a rotation: the next version is signed by this root and by itself.
    pub fn next(&self, bytes: &[u8], signatures: &[Vec<u8>]) -> Result<Self, RootError> {
        let version = self.version.checked_add(1).ok_or(RootError::TooMany)?;
        self.must_have_signed(&self.product, version, bytes, signatures)?;
        let next = Self::parse(bytes)?;
        next.must_be(&self.product, version)?;
        next.must_have_signed(&self.product, version, bytes, signatures)?;
        Ok(next)
    }

    fn must_be(&self, product: &Product, version: u32) -> Result<(), RootError> {
        if self.product == *product && self.version == version {
            return Ok(());
        }
        Err(RootError::Order {
            product: self.product.clone(),
            expected: version,
            found: self.version,
        })
    }

    fn must_have_signed(
        &self,
        product: &Product,
        version: u32,
        bytes: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<(), SignatureError> {
        let signatures: Vec<_> = signatures.iter().map(Vec::as_slice).collect();
        let subject = Subject::Root { product, version };
        self.verify(Role::Root, bytes, &signatures, &subject)?;
        Ok(())
    }

    /// Reads a root whose bytes are already believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(RootError::TooLarge(bytes.len() as u64));
        }
        let root: Self = serde_json::from_slice(bytes)?;
        if root.format != FORMAT {
            return Err(RootError::Format(root.format));
        }
        for role in [Role::Root, Role::Release] {
            if !root.roles.contains_key(&role) {
                return Err(RootError::Role(role));
            }
        }
        for (role, keys) in &root.roles {
            keys.must_be_sane(*role)?;
        }
        Ok(root)
    }

    /// The keys of a role; none if the root does not name it.
    pub fn keys(&self, role: Role) -> &[String] {
        self.roles.get(&role).map_or(&[], |keys| &keys.keys)
    }

    /// So many keys of a role must sign; `None` if the root does not name it.
    pub fn threshold(&self, role: Role) -> Option<usize> {
        self.roles
            .get(&role)
            .map(|keys| keys.threshold.max(1) as usize)
    }

    /// Whether it must be renewed. At the very second of its expiry a root is expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires
    }

    /// Refuses a root that is expired.
    pub fn must_be_fresh(&self, now: Timestamp) -> Result<(), RootError> {
        if self.is_expired(now) {
            return Err(RootError::Expired {
                expires: self.expires,
                now,
            });
        }
        Ok(())
    }

    /// Believes a file of `role` if enough different keys of that role signed it as `subject`.
    ///
    /// Returns those keys.
    pub fn verify(
        &self,
        role: Role,
        bytes: &[u8],
        signatures: &[&[u8]],
        subject: &Subject<'_>,
    ) -> Result<BTreeSet<PublicKey>, SignatureError> {
        let expected = subject.to_string();
        self.signers(role, bytes, signatures, |comment| {
            signature::must_say(comment, expected.clone())
        })
    }

    /// The keys of `role` that signed `bytes`, each under a comment that `accept` takes, if they
    /// are enough. At most [`MAX_FILES`] signatures are looked at.
    pub(crate) fn signers(
        &self,
        role: Role,
        bytes: &[u8],
        signatures: &[&[u8]],
        accept: impl Fn(&str) -> Result<(), SignatureError>,
    ) -> Result<BTreeSet<PublicKey>, SignatureError> {
        let Some(keys) = self.roles.get(&role) else {
            return Err(SignatureError::Invalid);
        };
        let mut signed = BTreeSet::new();
        let mut last = SignatureError::Invalid;
        for signature in signatures.iter().take(MAX_FILES) {
            let accepted = signature::open(&keys.keys, bytes, signature)
                .and_then(|(index, comment)| accept(&comment).map(|()| index));
            match accepted {
                Ok(index) => signed.extend(PublicKey::from_minisign(&keys.keys[index]).ok()),
                Err(error) => last = error,
            }
        }
        let (found, threshold) = (signed.len(), keys.threshold.max(1) as usize);
        match found {
            0 => Err(last),
            _ if found < threshold => Err(SignatureError::TooFew { found, threshold }),
            _ => Ok(signed),
        }
    }
}

impl Keys {
    /// The keys themselves; texts that are none are left out.
    pub fn public(&self) -> BTreeSet<PublicKey> {
        self.keys
            .iter()
            .filter_map(|text| PublicKey::from_minisign(text).ok())
            .collect()
    }

    fn must_be_sane(&self, role: Role) -> Result<(), RootError> {
        let mut unique = BTreeSet::new();
        for text in &self.keys {
            let key =
                PublicKey::from_minisign(text).map_err(|source| RootError::Key { role, source })?;
            if !unique.insert(key) {
                return Err(RootError::Twice(role));
            }
        }
        let threshold = self.threshold as usize;
        if threshold == 0
            || threshold > unique.len()
            || threshold > MAX_FILES
            || unique.len() > MAX_KEYS
        {
            return Err(RootError::Role(role));
        }
        Ok(())
    }
}
