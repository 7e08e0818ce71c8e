//! Whom this appliance trusts.

use berth_format::Digest;
use berth_format::channel::Seen;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Carried, Following, Result, Store, StoreError, get, put};

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

/// All that is believed of roots and channels: one record, so that none of it is ever of another
/// moment than the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    pub trust: Trust,
    /// The channel that is followed, and what it last said.
    pub following: Option<Following>,
    /// What the last bundle said, where none is followed.
    pub carried: Option<Carried>,
}

impl Store {
    /// Whom this appliance trusts; nobody at first.
    pub fn trust(&self) -> Result<Trust> {
        Ok(self.get("trust")?.unwrap_or_default())
    }

    /// Replaces it.
    pub fn set_trust(&self, trust: &Trust) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let before: Trust = get(&tx, "trust")?.unwrap_or_default();
        replace(&tx, &before, trust)?;
        Ok(tx.commit()?)
    }

    /// Changes what is believed, in one transaction: nobody else looks or writes between what
    /// `change` is given and what it leaves, so that no serial goes back by two who judge at once.
    /// Nothing is written if it says why not. It must not ask the store itself.
    pub fn believe<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&mut Believed) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut db = self.db();
        let tx = db.transaction().map_err(StoreError::from)?;
        let before = Believed {
            trust: get(&tx, "trust")?.unwrap_or_default(),
            following: get(&tx, "channel")?,
            carried: get(&tx, "carried")?,
        };
        let mut after = before.clone();
        let result = change(&mut after)?;
        if after != before {
            replace(&tx, &before.trust, &after.trust)?;
            put(&tx, "channel", &after.following)?;
            put(&tx, "carried", &after.carried)?;
            tx.commit().map_err(StoreError::from)?;
        }
        Ok(result)
    }
}

fn replace(tx: &Connection, before: &Trust, after: &Trust) -> Result<()> {
    if before.root.is_some() && before.root != after.root {
        // Signed by keys of another root: they are fetched and verified anew.
        tx.execute("DELETE FROM offered", [])?;
    }
    put(tx, "trust", after)
}
