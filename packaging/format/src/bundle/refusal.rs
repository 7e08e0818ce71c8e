//! How a bundle is refused, in the same words on both sides.

use super::read::BundleError;
use crate::code::Code;
use crate::refusal::Refusal;
use crate::signature::SignatureError;

impl SignatureError {
    /// The refusal of `what`, which this signature is over.
    pub fn refusal(&self, what: &str) -> Refusal {
        match self {
            Self::Malformed => Refusal::new(
                Code::SignatureInvalid,
                format!("{what}: the signature is damaged"),
            )
            .because("a minisign signature of four lines", "something else"),
            Self::Legacy => Refusal::new(
                Code::SignatureLegacy,
                format!("{what}: the signature has the legacy form"),
            )
            .because("a prehashed signature (ED)", "a legacy one (Ed)"),
            Self::Invalid => Refusal::new(
                Code::SignatureInvalid,
                format!("{what}: not signed by a trusted key"),
            )
            .because(
                "a signature by a key of the root of trust",
                "none that fits these bytes",
            ),
            Self::Subject { expected, found } => Refusal::new(
                Code::SignatureMismatch,
                format!("{what}: signed as something else"),
            )
            .because(expected, found),
            Self::Key(_) => Refusal::new(
                Code::ManifestInvalid,
                "the root of trust holds a key that is none",
            ),
        }
    }
}

impl BundleError {
    /// The refusal of the bundle.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::NotABundle => Code::BundleNotABundle,
            Self::Truncated(_) => Code::BundleTruncated,
            Self::Header { .. } | Self::Member(_) => Code::BundleMember,
            Self::TooLarge { .. } => Code::BundleTooLarge,
            Self::Padding(_) | Self::Digest(_) => Code::BundleDamaged,
            Self::Trailing(_) => Code::BundleTrailing,
            Self::Unsigned => Code::SignatureMissing,
            Self::Signature(error) => return error.refusal("the bundle's list"),
            Self::Index(_) => Code::ManifestInvalid,
            Self::Io(_) => Code::Internal,
        };
        Refusal::new(code, code.means()).found(self.to_string())
    }
}
