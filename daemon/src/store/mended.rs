//! What the supervisor did to keep the stack as it is.

use berth_format::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Result, Store};

/// So many lines are kept.
const KEPT: u32 = 10_000;

/// Something that was mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mended {
    pub at: Timestamp,
    pub service: Name,
    /// One sentence.
    pub what: String,
}

impl Store {
    /// Keeps it.
    pub fn put_mended(&self, mended: &Mended) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "INSERT INTO mended (at, service, what) VALUES (?1, ?2, ?3)",
            (mended.at.to_string(), mended.service.as_str(), &mended.what),
        )?;
        tx.execute(
            "DELETE FROM mended WHERE seq <= (SELECT max(seq) FROM mended) - ?1",
            [KEPT],
        )?;
        Ok(tx.commit()?)
    }

    /// The last of it, newest first.
    pub fn mended(&self, limit: u32) -> Result<Vec<Mended>> {
        let db = self.db();
        let mut statement =
            db.prepare("SELECT at, service, what FROM mended ORDER BY seq DESC LIMIT ?1")?;
        let rows = statement
            .query_map([limit], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get(2)?,
                ))
            })?
            .collect::<rusqlite::Result<Vec<(String, String, String)>>>()?;
        rows.into_iter()
            .map(|(at, service, what)| {
                let text = |text: String| serde_json::Value::String(text);
                Ok(Mended {
                    at: serde_json::from_value(text(at))?,
                    service: serde_json::from_value(text(service))?,
                    what,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let store = Store::in_memory().unwrap();
        for n in 0..3_i64 {
            let mended = Mended {
                at: Timestamp::from_second(n).unwrap(),
                service: "db".parse().unwrap(),
                what: format!("{n}"),
            };
            store.put_mended(&mended).unwrap();
        }
        let what = |n| -> Vec<String> {
            let mended = store.mended(n).unwrap();
            mended.into_iter().map(|m| m.what).collect()
        };
        assert_eq!(what(2), ["2", "1"]);
        assert_eq!(what(9), ["2", "1", "0"]);
    }
}
