//! The root of trust: which keys may sign what.
//!
//! `1.root.json` is confirmed by its fingerprint, the SHA-256 of its bytes, or laid down by the
//! vendor's package. A later root must be signed by the one before it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::name::Product;
use crate::signature::{self, SignatureError, Subject};

/// The format that this crate reads and writes.
pub const FORMAT: u32 = 1;

/// The most bytes of a root file.
pub const MAX_BYTES: u64 = 1 << 20;

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
    #[error("role {0:?} has no keys, or a threshold that cannot be reached")]
    Role(Role),
    #[error("version {found} of {product}, expected version {expected} of the same product")]
    Order {
        product: Product,
        expected: u32,
        found: u32,
    },
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl Root {
    /// Reads version 1, which signs itself. Whoever calls this has confirmed its fingerprint, or
    /// has it from a place that is trusted.
    pub fn first(bytes: &[u8], signatures: &[Vec<u8>]) -> Result<Self, RootError> {
        let root = Self::parse(bytes)?;
        root.must_be(&root.product, 1)?;
        root.signed_by(&root, bytes, signatures)?;
        Ok(root)
    }

    /// Follows a rotation: the next version is signed by this root and by itself.
    pub fn next(&self, bytes: &[u8], signatures: &[Vec<u8>]) -> Result<Self, RootError> {
        let next = Self::parse(bytes)?;
        next.must_be(&self.product, self.version.saturating_add(1))?;
        next.signed_by(self, bytes, signatures)?;
        next.signed_by(&next, bytes, signatures)?;
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

    fn signed_by(
        &self,
        signer: &Self,
        bytes: &[u8],
        signatures: &[Vec<u8>],
    ) -> Result<(), SignatureError> {
        let signatures: Vec<_> = signatures.iter().map(Vec::as_slice).collect();
        let subject = Subject::Root {
            product: &self.product,
            version: self.version,
        };
        signer.verify(Role::Root, bytes, &signatures, &subject)
    }

    /// Reads a root whose bytes are already believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        let root: Self = serde_json::from_slice(bytes)?;
        if root.format != FORMAT {
            return Err(RootError::Format(root.format));
        }
        for role in [Role::Root, Role::Release] {
            let unique: BTreeSet<_> = root.keys(role).iter().collect();
            let threshold = root.roles.get(&role).map_or(0, |keys| keys.threshold);
            if threshold == 0 || unique.len() < threshold as usize {
                return Err(RootError::Role(role));
            }
        }
        Ok(root)
    }

    /// The keys of a role; none if the root does not name it.
    pub fn keys(&self, role: Role) -> &[String] {
        self.roles.get(&role).map_or(&[], |keys| &keys.keys)
    }

    /// Believes a file of `role` if enough different keys of that role signed it.
    pub fn verify(
        &self,
        role: Role,
        bytes: &[u8],
        signatures: &[&[u8]],
        subject: &Subject<'_>,
    ) -> Result<(), SignatureError> {
        let Some(keys) = self.roles.get(&role) else {
            return Err(SignatureError::Invalid);
        };
        let mut signed = BTreeSet::new();
        let mut last = SignatureError::Invalid;
        for signature in signatures {
            match signature::verify(&keys.keys, bytes, signature, subject) {
                // Counted by key, not by place: a key that is listed twice is one key.
                Ok(index) => drop(signed.insert(&keys.keys[index])),
                Err(error) => last = error,
            }
        }
        if signed.len() >= keys.threshold.max(1) as usize {
            Ok(())
        } else {
            Err(last)
        }
    }
}
