//! What is installed: the one record that a commit replaces.

use std::collections::BTreeMap;

use berth_format::{Digest, Name, Product};
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Result, Store};

/// The committed stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub product: Product,
    pub version: Version,
    /// Of the release's bytes.
    pub release: Digest,
    /// The highest generation that was ever given out.
    pub generation: u64,
    pub services: BTreeMap<Name, PlacedService>,
    /// By label.
    pub networks: BTreeMap<String, PlacedNetwork>,
    /// Config values that the containers were made with; secrets among them.
    pub values: BTreeMap<String, String>,
    pub committed: Timestamp,
    /// Where a rollback by hand goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

/// A service of the committed stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedService {
    /// Real name.
    pub container: String,
    pub generation: u64,
    pub spec: Digest,
    /// At the commit it had done its work and ended: it is not run once more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// A network of the committed stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedNetwork {
    /// Real name.
    pub name: String,
    pub spec: Digest,
}

/// The stack before the committed one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    pub version: Version,
    pub release: Digest,
    pub values: BTreeMap<String, String>,
    /// When its data was left: what was written since goes with a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The run whose snapshots hold its data, and the hop in it. `None`: its data was not changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<(i64, usize)>,
}

impl Store {
    /// The committed stack; `None` before the first install.
    pub fn installed(&self) -> Result<Option<Installed>> {
        self.get("installed")
    }
}
