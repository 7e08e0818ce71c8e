//! minisign signatures, and only one way to write each.
//!
//! Prehashed (`ED`) only; exactly four lines, each ended by one LF; at most 1 KiB; the trusted
//! comment is exactly what this file must be. Format: <https://jedisct1.github.io/minisign/>.

use std::fmt;

use minisign_verify::{PublicKey, Signature};

use crate::name::Product;

/// The most bytes of a signature file.
pub const MAX_BYTES: usize = 1024;

/// What a signature says that it is for: the whole of its trusted comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The `version`th root of trust.
    Root { product: &'a Product, version: u32 },
    /// A release.
    Release {
        product: &'a Product,
        version: &'a semver::Version,
    },
    /// The list of a bundle.
    Bundle { product: &'a Product },
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { product, version } => {
                write!(f, "berth type=root product={product} version={version}")
            }
            Self::Release { product, version } => {
                write!(f, "berth type=release product={product} version={version}")
            }
            Self::Bundle { product } => write!(f, "berth type=bundle product={product}"),
        }
    }
}

/// Why bytes are not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not four LF lines of minisign's form.
    #[error("not a minisign signature of four lines")]
    Malformed,
    /// `Ed`: signs the file itself instead of its hash.
    #[error("minisign's legacy form")]
    Legacy,
    /// No trusted key made it, or the bytes were changed.
    #[error("not made by a trusted key over these bytes")]
    Invalid,
    /// Good, but for something else.
    #[error("signed as {found:?}, expected {expected:?}")]
    Subject { expected: String, found: String },
    /// A trusted key is not a minisign public key.
    #[error("not a minisign public key: {0:?}")]
    Key(String),
}

/// Believes `bytes` if one of `keys` (minisign's base64) signed exactly them as `subject`.
///
/// Returns the index of that key.
pub fn verify(
    keys: &[String],
    bytes: &[u8],
    signature: &[u8],
    subject: &Subject<'_>,
) -> Result<usize, SignatureError> {
    let signature = parse(signature)?;
    for (index, key) in keys.iter().enumerate() {
        let key = PublicKey::from_base64(key).map_err(|_| SignatureError::Key(key.clone()))?;
        if key.verify(bytes, &signature, false).is_ok() {
            // Only now is the comment itself known to be signed.
            let (expected, found) = (subject.to_string(), signature.trusted_comment());
            if found == expected {
                return Ok(index);
            }
            let found = found.chars().take(200).collect();
            return Err(SignatureError::Subject { expected, found });
        }
    }
    Err(SignatureError::Invalid)
}

fn parse(bytes: &[u8]) -> Result<Signature, SignatureError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SignatureError::Malformed)?;
    let mut lines = text.split('\n');
    let (Some(first), Some(second), Some(third), Some(fourth), Some(""), None) = (
        lines.next(),
        lines.next(),
        lines.next(),
        lines.next(),
        lines.next(),
        lines.next(),
    ) else {
        return Err(SignatureError::Malformed);
    };
    if bytes.len() > MAX_BYTES
        || text.contains('\r')
        || !first.starts_with("untrusted comment: ")
        || !third.starts_with("trusted comment: ")
        || fourth.is_empty()
    {
        return Err(SignatureError::Malformed);
    }
    // `Ed` and `ED` as the first two bytes, in base64.
    if second.starts_with("RW") {
        return Err(SignatureError::Legacy);
    }
    if !second.starts_with("RU") {
        return Err(SignatureError::Malformed);
    }
    Signature::decode(text).map_err(|_| SignatureError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minisign::KeyPair;
    use std::io::Cursor;

    fn sign(pair: &KeyPair, bytes: &[u8], comment: &str) -> String {
        minisign::sign(
            None,
            &pair.sk,
            Cursor::new(bytes),
            Some(comment),
            Some("berth"),
        )
        .unwrap()
        .into_string()
    }

    #[test]
    fn only_the_exact_form_by_a_trusted_key_for_this_subject_is_believed() {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let other = KeyPair::generate_unencrypted_keypair().unwrap();
        let product: Product = "lantern".parse().unwrap();
        let subject = Subject::Bundle { product: &product };
        let good = sign(&pair, b"bytes", &subject.to_string());
        let keys = [other.pk.to_base64(), pair.pk.to_base64()];
        let check = |keys: &[String], bytes: &[u8], sig: &str| {
            verify(keys, bytes, sig.as_bytes(), &subject)
        };

        assert_eq!(check(&keys, b"bytes", &good), Ok(1));
        assert_eq!(
            check(&keys[..1], b"bytes", &good),
            Err(SignatureError::Invalid)
        );
        assert_eq!(check(&keys, b"bytez", &good), Err(SignatureError::Invalid));
        for bad in [
            String::new(),
            good.replace('\n', "\r\n"),
            format!("{good}\n"),
            format!("{good}more\n"),
            good.trim_end().to_owned(),
            good.replacen("untrusted", "trusted", 1),
            format!(
                "untrusted comment: {}{}",
                "x".repeat(MAX_BYTES),
                &good[18..]
            ),
        ] {
            assert_eq!(
                check(&keys, b"bytes", &bad),
                Err(SignatureError::Malformed),
                "{bad:?}"
            );
        }
        let elsewhere = sign(&pair, b"bytes", "berth type=bundle product=other");
        assert!(matches!(
            check(&keys, b"bytes", &elsewhere),
            Err(SignatureError::Subject { found, .. }) if found.ends_with("other")
        ));
        // The trusted comment is signed too.
        let forged = elsewhere.replace("product=other", "product=lantern");
        assert_eq!(
            check(&keys, b"bytes", &forged),
            Err(SignatureError::Invalid)
        );
    }

    #[test]
    fn the_legacy_form_is_told_apart() {
        // From minisign-verify's own tests: a legacy signature.
        let legacy = "untrusted comment: signature from minisign secret key\nRWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\ntrusted comment: timestamp:1555779966\tfile:test\nQtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";
        let product: Product = "lantern".parse().unwrap();
        let keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".to_owned()];
        assert_eq!(
            verify(
                &keys,
                b"test",
                legacy.as_bytes(),
                &Subject::Bundle { product: &product }
            ),
            Err(SignatureError::Legacy)
        );
    }
}
