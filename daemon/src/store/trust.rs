//! Whom this appliance trusts.

use berth_format::Digest;
use serde::{Deserialize, Serialize};

use super::{Result, Store, put};

/// The pinned root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// What the admin confirmed: the digest of `1.root.json`.
    pub fingerprint: Option<Digest>,
    /// The root that was seen with it, as text.
    pub root: Option<String>,
}

impl Store {
    /// Whom this appliance trusts; nobody at first.
    pub fn trust(&self) -> Result<Trust> {
        Ok(self.get("trust")?.unwrap_or_default())
    }

    /// Replaces it.
    pub fn set_trust(&self, trust: &Trust) -> Result<()> {
        put(&self.db(), "trust", trust)
    }
}
