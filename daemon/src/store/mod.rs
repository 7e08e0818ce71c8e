//! Everything that Berth itself remembers, below one folder (`/var/lib/berth`).
//!
//! `berth.db` is SQLite in WAL mode with `synchronous = FULL`: a record is on the disk when the
//! call returns. The folder is 0700 and the database 0600, because config values may be secrets.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::Connection;

mod channel;
mod installed;
mod journal;
mod mended;
mod notify;
mod policy;
mod releases;
mod settings;
mod trust;

pub use channel::{Carried, ChannelSettings, Following};
pub use installed::{Installed, PlacedNetwork, PlacedService, Previous};
pub use journal::{Ended, Entry, Outcome, Run};
pub use mended::Mended;
pub use notify::{Tried, WAITING, Waiting};
pub use releases::StoredRelease;
pub use trust::{Believed, Trust};

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a record that this Berth does not read: {0}")]
    Record(#[from] serde_json::Error),
    #[error("the state in {0} was written by a newer Berth")]
    Newer(PathBuf),
}

/// Result of the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The schema that this Berth writes.
const SCHEMA: i64 = 1;

/// The state of one appliance. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    dir: PathBuf,
    db: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the state in `dir`, making what is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(io(dir))?;
        let path = dir.join("berth.db");
        let db = Connection::open(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io(&path))?;
        Self::prepare(dir, db)
    }

    /// A store in memory: what is forgotten with it was never on a disk.
    #[cfg(any(test, feature = "fake"))]
    pub fn in_memory() -> Result<Self> {
        Self::prepare(Path::new("/var/lib/berth"), Connection::open_in_memory()?)
    }

    /// Whether records can be written, as on a disk that is full or fails.
    #[cfg(any(test, feature = "fake"))]
    pub fn set_writable(&self, writable: bool) -> Result<()> {
        Ok(self.db().pragma_update(None, "query_only", !writable)?)
    }

    fn prepare(dir: &Path, db: Connection) -> Result<Self> {
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        let schema: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if schema > SCHEMA {
            return Err(StoreError::Newer(dir.to_owned()));
        }
        if schema < SCHEMA {
            db.execute_batch(&format!(
                "BEGIN;{}PRAGMA user_version = {SCHEMA};COMMIT;",
                include_str!("schema.sql")
            ))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            db: Arc::new(Mutex::new(db)),
        })
    }

    /// Shipped files by digest.
    pub fn files_dir(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Blobs of a channel on their way into Docker.
    pub fn downloads_dir(&self) -> PathBuf {
        self.dir.join("downloads")
    }

    /// Room that is kept on this disk while an update is under way, and let go when it is full.
    pub fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// What is bind-mounted into containers, by content.
    pub fn mounts_dir(&self) -> PathBuf {
        self.dir.join("mounts")
    }

    // A panic while the lock is held leaves SQLite's own transaction rolled back.
    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        get(&self.db(), key)
    }
}

fn get<T: serde::de::DeserializeOwned>(db: &Connection, key: &str) -> Result<Option<T>> {
    use rusqlite::OptionalExtension;
    let text: Option<String> = db
        .query_row("SELECT value FROM state WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()?;
    // `null` is what `put` writes for nothing.
    let value = text.map(|text| serde_json::from_str::<Option<T>>(&text));
    Ok(value.transpose()?.flatten())
}

fn put(db: &Connection, key: &str, value: &impl serde::Serialize) -> Result<()> {
    db.execute(
        "INSERT INTO state (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, serde_json::to_string(value)?),
    )?;
    Ok(())
}
