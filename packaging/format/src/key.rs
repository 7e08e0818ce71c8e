//! minisign's public keys, told apart by what signs.
//!
//! The text of a key holds two bytes of algorithm, eight of an id and the 32 bytes of the key. The
//! id is a label that nothing vouches for: the same key under another id is another text, and would
//! count as a second signer. So keys are compared by their 32 bytes alone.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The 32 bytes of an Ed25519 public key, written as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Why a text is not a key.
#[derive(Debug, thiserror::Error)]
#[error("not a minisign public key: {0:?}")]
pub struct ParseKeyError(String);

impl PublicKey {
    /// Reads minisign's base64, without its comment line.
    pub fn from_minisign(text: &str) -> Result<Self, ParseKeyError> {
        let bad = || ParseKeyError(text.chars().take(80).collect());
        minisign_verify::PublicKey::from_base64(text).map_err(|_| bad())?;
        let bytes = STANDARD.decode(text).map_err(|_| bad())?;
        let key = bytes.get(10..).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(bad)
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseKeyError(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_under_two_ids_is_one_key() {
        let text = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        let key = PublicKey::from_minisign(text).unwrap();
        let mut bytes = STANDARD.decode(text).unwrap();
        bytes[2] ^= 1;
        let other = STANDARD.encode(&bytes);
        assert_ne!(text, other);
        assert_eq!(PublicKey::from_minisign(&other).unwrap(), key);
        bytes[10] ^= 1;
        let other = STANDARD.encode(&bytes);
        assert_ne!(PublicKey::from_minisign(&other).unwrap(), key);
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        for bad in [
            "",
            "x",
            &good[1..],
            &format!("{good}A"),
            &format!("{good}\n"),
        ] {
            assert!(PublicKey::from_minisign(bad).is_err(), "{bad:?}");
        }
    }
}
