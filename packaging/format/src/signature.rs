//! minisign signatures, and only one way to write each.
//!
//! Prehashed (`ED`) only; exactly four lines, each ended by one LF; at most 1 KiB; the trusted
//! comment is exactly what this file must be. Format: <https://jedisct1.github.io/minisign/>.

use std::fmt;

use minisign_verify::{PublicKey, Signature};

use crate::name::{ChannelName, Product};

/// The most bytes of a signature file.
pub const MAX_BYTES: usize = 1024;

/// The most signature files of one signed file, and so the highest threshold.
pub const MAX_FILES: usize = 16;

/// How the names of all signed files end.
const SIGNED: &str = ".json";

/// The name of the `n`th signature of `file`: `x.json.minisig`, `x.json.2.minisig` and so on.
pub fn file_name(file: &str, n: usize) -> String {
    if n <= 1 {
        format!("{file}.minisig")
    } else {
        format!("{file}.{n}.minisig")
    }
}

/// Reads what [`file_name`] writes: the signed file, whose name ends in `.json`, and the number.
pub fn read_file_name(name: &str) -> Option<(&str, usize)> {
    let rest = name.strip_suffix(".minisig")?;
    if rest.ends_with(SIGNED) {
        return Some((rest, 1));
    }
    let (file, number) = rest.rsplit_once('.')?;
    let n = number.parse().ok()?;
    let is_plain = (2..=MAX_FILES).contains(&n) && n.to_string() == number;
    (is_plain && file.ends_with(SIGNED)).then_some((file, n))
}

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
    /// The daemon itself.
    Daemon {
        product: &'a Product,
        version: &'a semver::Version,
    },
    /// What a channel offers.
    Channel {
        product: &'a Product,
        channel: &'a ChannelName,
        serial: u64,
    },
    /// The list of a bundle.
    Bundle { product: &'a Product },
}

impl Subject<'_> {
    /// The serial that a comment names, if it is one of this channel.
    pub fn serial(comment: &str, product: &Product, channel: &ChannelName) -> Option<u64> {
        let (_, number) = comment.rsplit_once('=')?;
        let serial = number.parse().ok()?;
        let subject = Subject::Channel {
            product,
            channel,
            serial,
        };
        (subject.to_string() == comment).then_some(serial)
    }
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
            Self::Daemon { product, version } => {
                write!(f, "berth type=daemon product={product} version={version}")
            }
            Self::Channel {
                product,
                channel,
                serial,
            } => write!(
                f,
                "berth type=channel product={product} channel={channel} serial={serial}"
            ),
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
    /// Good, but by too few keys.
    #[error("signed by {found} of at least {threshold} keys")]
    TooFew { found: usize, threshold: usize },
    /// Good, but for something else.
    #[error("signed as {found:?}, expected {expected:?}")]
    Subject { expected: String, found: String },
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
    let (index, comment) = open(keys, bytes, signature)?;
    must_say(&comment, subject.to_string())?;
    Ok(index)
}

/// The key of `keys` that signed exactly `bytes`, by its index, and what the signature says that
/// it is for, which is the caller's to judge.
pub fn open(
    keys: &[String],
    bytes: &[u8],
    signature: &[u8],
) -> Result<(usize, String), SignatureError> {
    let signature = parse(signature)?;
    for (index, key) in keys.iter().enumerate() {
        // One text that is no key does not hide the keys after it.
        let Ok(key) = PublicKey::from_base64(key) else {
            continue;
        };
        if key.verify(bytes, &signature, false).is_ok() {
            // Only now is the comment itself known to be signed.
            return Ok((index, signature.trusted_comment().to_owned()));
        }
    }
    Err(SignatureError::Invalid)
}

/// Refuses a comment that is not exactly this.
pub(crate) fn must_say(comment: &str, expected: String) -> Result<(), SignatureError> {
    if comment == expected {
        return Ok(());
    }
    let found = comment.chars().take(200).collect();
    Err(SignatureError::Subject { expected, found })
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
    fn a_name_of_a_signature_is_read_in_one_way_only() {
        for n in 1..=MAX_FILES {
            assert_eq!(
                read_file_name(&file_name("1.root.json", n)),
                Some(("1.root.json", n))
            );
        }
        for bad in [
            "",
            "1.root.json",
            "1.root.json.1.minisig",
            "1.root.json.02.minisig",
            "1.root.json.17.minisig",
            "1.root.json.+2.minisig",
            "1.root.2.minisig",
            "1.root.json.minisig.2",
        ] {
            assert_eq!(read_file_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_serial_is_read_from_a_comment_of_this_channel_only() {
        let (product, channel) = ("lantern".parse().unwrap(), "stable".parse().unwrap());
        let comment = "berth type=channel product=lantern channel=stable serial=7";
        assert_eq!(Subject::serial(comment, &product, &channel), Some(7));
        for bad in [
            "",
            "berth type=channel product=lantern channel=stable serial=",
            "berth type=channel product=lantern channel=stable serial=07",
            "berth type=channel product=lantern channel=stable serial=7 ",
            "berth type=channel product=lantern channel=beta serial=7",
            "berth type=channel product=other channel=stable serial=7",
            "berth type=root product=lantern version=7",
        ] {
            assert_eq!(Subject::serial(bad, &product, &channel), None, "{bad}");
        }
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
