//! Names: of products, services, networks, volumes, and of the variables of a config form.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not a name.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct ParseNameError {
    expected: &'static str,
    found: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $max:literal, $expected:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let ok: fn(&str) -> bool = $ok;
                if !text.is_empty() && text.len() <= $max && ok(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseNameError { expected: $expected, found: text.chars().take(80).collect() })
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A product: part of the name of every container, network and volume on the appliance.
    Product, 32, "1 to 32 of a-z, 0-9 and -, a letter first, no - last",
    |t| t.starts_with(|c: char| c.is_ascii_lowercase()) && !t.ends_with('-')
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name! {
    /// A channel: a folder beside `layers`, `configs` and `files` on a web server, and so not one
    /// of these.
    ChannelName, 32, "1 to 32 of a-z, 0-9 and -, a letter first, no - last, not layers, configs or files",
    |t| t.parse::<Product>().is_ok() && !matches!(t, "layers" | "configs" | "files")
}

name! {
    /// A service, network, volume or migration, as Compose allows them.
    Name, 63, "1 to 63 of a-z, A-Z, 0-9, _, . and -, a letter or digit first",
    |t| t.starts_with(|c: char| c.is_ascii_alphanumeric())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

name! {
    /// A variable: a field of the config form, and `${NAME}` in a template.
    Variable, 64, "1 to 64 of A-Z, a-z, 0-9 and _, a letter or _ first",
    |t| t.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        for bad in ["", ".", "..", "../x", "a/b", "-a", "a b", "a\n", "Ä", "A"] {
            assert!(bad.parse::<Product>().is_err(), "{bad:?}");
            assert!(bad.parse::<ChannelName>().is_err(), "{bad:?}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "-a", "a b", "a\n", "Ä"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for taken in ["layers", "configs", "files"] {
            assert!(taken.parse::<ChannelName>().is_err(), "{taken:?}");
        }
        assert!("stable".parse::<ChannelName>().is_ok());
        assert!("lantern-2".parse::<Product>().is_ok());
        assert!("code_search.v2".parse::<Name>().is_ok());
    }
}
