//! What the admin wants done with updates.

use super::{Result, Store, put};
use crate::schedule::Policy;

impl Store {
    /// The policy; the default while nobody has set one.
    pub fn policy(&self) -> Result<Policy> {
        Ok(self.get("policy")?.unwrap_or_default())
    }

    /// Sets it. It must have been checked.
    pub fn set_policy(&self, policy: &Policy) -> Result<()> {
        put(&self.db(), "policy", policy)
    }
}
