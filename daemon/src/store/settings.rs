//! What the admin set: config values by name, secrets among them.

use std::collections::BTreeMap;

use super::{Result, Store};

impl Store {
    /// Every value that was set or generated.
    pub fn config(&self) -> Result<BTreeMap<String, String>> {
        let db = self.db();
        let mut statement = db.prepare("SELECT name, value FROM config")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Sets values, all or none. `None` takes one away.
    pub fn set_config(&self, values: &BTreeMap<String, Option<String>>) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        for (name, value) in values {
            match value {
                Some(value) => tx.execute(
                    "INSERT INTO config (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, value),
                )?,
                None => tx.execute("DELETE FROM config WHERE name = ?1", [name])?,
            };
        }
        tx.commit()?;
        Ok(())
    }
}
