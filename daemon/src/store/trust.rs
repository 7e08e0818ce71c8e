//! Whom this appliance trusts.

use berth_format::Digest;
use berth_format::channel::Seen;
use serde::{Deserialize, Serialize};

use super::{Result, Store, put};

/// The newest root that was believed, and what was seen of channels under it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// What the admin confirmed: the digest of `1.root.json`.
    pub fingerprint: Option<Digest>,
    /// The newest root, as text. `None`: none was seen with this fingerprint yet.
    pub root: Option<String>,
    /// Serial, digest and signed time of each channel: what may not go back.
    #[serde(default)]
    pub seen: Seen,
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
