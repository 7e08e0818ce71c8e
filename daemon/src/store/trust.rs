//! Whom this appliance trusts.

use berth_format::Digest;
use berth_format::channel::Seen;
use berth_format::root::Root;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::{Result, Store, get, put};

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

    /// Replaces it: what the admin says, or the package.
    pub fn set_trust(&self, trust: &Trust) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        replace(&tx, trust)?;
        Ok(tx.commit()?)
    }

    /// Keeps a root that is believed, with the serials that still count under it. Says whether it
    /// did: what somebody else kept meanwhile is never taken back.
    pub fn keep_root(&self, text: &str, root: &Root) -> Result<bool> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let trust: Trust = get(&tx, "trust")?.unwrap_or_default();
        let kept = trust.root.as_deref();
        let kept = kept.and_then(|text| Root::parse(text.as_bytes()).ok());
        if kept.is_some_and(|kept| kept.version >= root.version) {
            return Ok(false);
        }
        let trust = Trust {
            root: Some(text.to_owned()),
            seen: trust.seen.under(root),
            ..trust
        };
        replace(&tx, &trust)?;
        tx.commit()?;
        Ok(true)
    }
}

fn replace(tx: &Connection, trust: &Trust) -> Result<()> {
    let before: Trust = get(tx, "trust")?.unwrap_or_default();
    if before.root != trust.root {
        // Signed by keys of another root: they are fetched and verified anew.
        tx.execute("DELETE FROM offered", [])?;
    }
    put(tx, "trust", trust)
}

#[cfg(test)]
mod tests {
    use berth_format::root::{FORMAT, Keys, Role};

    use super::*;

    fn root(version: u32) -> (String, Root) {
        let keys = Keys {
            threshold: 1,
            keys: vec!["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3".into()],
        };
        let root = Root {
            format: FORMAT,
            product: "shop".parse().unwrap(),
            version,
            expires: "2036-01-01T00:00:00Z".parse().unwrap(),
            roles: [(Role::Root, keys.clone()), (Role::Release, keys)].into(),
        };
        let text = String::from_utf8(berth_format::canonical(&root)).unwrap();
        (text, root)
    }

    #[test]
    fn a_root_is_never_taken_back_by_an_older_one() {
        let store = Store::in_memory().unwrap();
        for (version, is_kept) in [(1, true), (3, true), (2, false), (3, false), (4, true)] {
            let (text, root) = root(version);
            assert_eq!(store.keep_root(&text, &root).unwrap(), is_kept, "{version}");
        }
        assert_eq!(store.trust().unwrap().root, Some(root(4).0));
    }
}
