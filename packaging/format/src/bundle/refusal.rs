//! How a bundle is refused, in the same words on both sides.

use super::read::BundleError;
use crate::code::Code;
use crate::refusal::Refusal;
use crate::root::RootError;
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
            Self::TooFew { found, threshold } => Refusal::new(
                Code::SignatureMissing,
                format!("{what}: too few of the trusted keys signed it"),
            )
            .because(
                format!("signatures by {threshold} keys"),
                format!("by {found}"),
            ),
            Self::Subject { expected, found } => Refusal::new(
                Code::SignatureMismatch,
                format!("{what}: signed as something else"),
            )
            .because(expected, found),
        }
    }
}

impl RootError {
    /// The refusal of a root of trust.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Signature(error) => error.refusal("the root of trust"),
            Self::Expired { expires, now } => {
                Refusal::new(Code::TrustExpired, "the root of trust is past its expiry")
                    .because(format!("an expiry after {now}"), expires.to_string())
            }
            other => Refusal::new(Code::ManifestInvalid, Code::ManifestInvalid.means())
                .because("a root of trust that this Berth reads", other.to_string()),
        }
    }
}

impl BundleError {
    /// The refusal of the bundle.
    pub fn refusal(&self) -> Refusal {
        let as_code = |code: Code| Refusal::new(code, code.means());
        match self {
            Self::NotABundle => as_code(Code::BundleNotABundle).because(
                "a .berth file, which begins with the member bundle.json",
                "something else",
            ),
            Self::Truncated(name) => as_code(Code::BundleTruncated)
                .because(format!("all of {name}"), "the end of the file"),
            Self::Trailing(count) => as_code(Code::BundleTrailing)
                .because("the end of the file", format!("{count} more bytes")),
            Self::TooLarge { name, size, max } => as_code(Code::BundleTooLarge).because(
                format!("at most {max} bytes in {name}"),
                format!("{size} bytes"),
            ),
            Self::Header { expected, at } => as_code(Code::BundleMember)
                .because(format!("the header of {expected} at byte {at}"), "another"),
            Self::Member(name) => as_code(Code::BundleMember).because(
                "members in their order, each once, under names that bundles have",
                format!("{name:?}"),
            ),
            Self::Extra(name) => as_code(Code::BundleMember)
                .because("only what the releases name", format!("{name:?}")),
            Self::Missing(name) => as_code(Code::BundleMember).because(name, "no such member"),
            Self::Mismatch(name) => as_code(Code::BundleMember).because(
                format!("{name} with the size and digest that the release names"),
                "another size or digest in the list",
            ),
            Self::Padding(name) => as_code(Code::BundleDamaged)
                .because(format!("zeros after {name}"), "something else"),
            Self::Digest(_) | Self::DiffId(_) | Self::Frame { .. } => {
                as_code(Code::BundleDamaged).because("the bytes that were signed", self.to_string())
            }
            Self::Unsigned => as_code(Code::SignatureMissing)
                .because("the member bundle.json.minisig after bundle.json", "none"),
            Self::Signature(error) => error.refusal("the bundle's list"),
            Self::ReleaseSignature { name, source } => source.refusal(name),
            Self::Daemon(error) => error.refusal(),
            Self::Index(_) | Self::Manifest { .. } => as_code(Code::ManifestInvalid)
                .because("signed files that this Berth reads", self.to_string()),
            Self::Io(error) => as_code(Code::Internal)
                .found(format!("reading the bundle failed: {error}"))
                .next("Look at the disk or the medium that the bundle is on, then try again."),
            Self::Sink(error) => as_code(Code::Internal).found(error.to_string()),
        }
    }
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        error.refusal()
    }
}
