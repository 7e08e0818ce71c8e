//! Releases whose signatures were verified, whether their images are in Docker, and which of
//! them failed here.

use berth_format::{Digest, Release};
use rusqlite::OptionalExtension;
use semver::Version;

use super::{Result, Store};

/// A verified release.
#[derive(Debug, Clone)]
pub struct StoredRelease {
    pub release: Release,
    /// Of its signed bytes.
    pub digest: Digest,
    /// Every image is in Docker, durably.
    pub fetched: bool,
    /// Why it is quarantined.
    pub failed: Option<String>,
}

impl Store {
    /// Keeps a release. Its bytes must be verified.
    ///
    /// Another release of the same version replaces one that is not installed: the marks go.
    pub fn put_release(&self, release: &Release, bytes: &[u8]) -> Result<()> {
        self.db().execute(
            "INSERT INTO releases (version, digest, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (version) DO UPDATE
             SET digest = excluded.digest, bytes = excluded.bytes, fetched = 0, failed = NULL
             WHERE digest <> excluded.digest",
            (
                release.version.to_string(),
                Digest::of(bytes).to_string(),
                bytes,
            ),
        )?;
        Ok(())
    }

    /// A release by its version.
    pub fn release(&self, version: &Version) -> Result<Option<StoredRelease>> {
        let row = self
            .db()
            .query_row(
                "SELECT digest, bytes, fetched, failed FROM releases WHERE version = ?1",
                [version.to_string()],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Vec<u8>>(1)?,
                        row.get::<_, bool>(2)?,
                        row.get::<_, Option<String>>(3)?,
                    ))
                },
            )
            .optional()?;
        let Some((digest, bytes, fetched, failed)) = row else {
            return Ok(None);
        };
        let digest = serde_json::from_value(serde_json::Value::String(digest))?;
        Ok(Some(StoredRelease {
            release: serde_json::from_slice(&bytes)?,
            digest,
            fetched,
            failed,
        }))
    }

    /// Every release, oldest first.
    pub fn releases(&self) -> Result<Vec<StoredRelease>> {
        let versions: Vec<String> = {
            let db = self.db();
            let mut statement = db.prepare("SELECT version FROM releases")?;
            statement
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?
        };
        let mut all = Vec::new();
        for version in versions.iter().filter_map(|v| Version::parse(v).ok()) {
            all.extend(self.release(&version)?);
        }
        all.sort_by(|a, b| a.release.version.cmp(&b.release.version));
        Ok(all)
    }

    /// Marks whether every image of a release is in Docker.
    pub fn set_fetched(&self, version: &Version, fetched: bool) -> Result<()> {
        self.db().execute(
            "UPDATE releases SET fetched = ?2 WHERE version = ?1",
            (version.to_string(), fetched),
        )?;
        Ok(())
    }

    /// Quarantines a release, or (`None`) lets it go.
    pub fn set_failed(&self, version: &Version, why: Option<&str>) -> Result<()> {
        self.db().execute(
            "UPDATE releases SET failed = ?2 WHERE version = ?1",
            (version.to_string(), why),
        )?;
        Ok(())
    }

    /// Forgets a release.
    pub fn remove_release(&self, version: &Version) -> Result<()> {
        self.db().execute(
            "DELETE FROM releases WHERE version = ?1",
            [version.to_string()],
        )?;
        Ok(())
    }
}
