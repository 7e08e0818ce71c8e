//! The channel that this appliance follows, and what it last offered.

use std::path::PathBuf;

use berth_format::{ChannelName, Digest, Release};
use jiff::Timestamp;
use rusqlite::Connection;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Result, Store, put};
use crate::release::download::Tag;

/// Where the channel is, as the admin set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// Which of the vendor's channels: `stable`.
    pub name: ChannelName,
    /// Folders on web servers, asked in this order.
    pub mirrors: Vec<String>,
    /// A proxy; `direct` for none. `None`: what the environment of berthd says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// PEM: authorities that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file of root's, mode 0600, with a token, or with the password of `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// A mirror may be http://, at an address that is not public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// A redirect may lead to an address that is not public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_private: bool,
}

/// The channel with what was last believed of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    pub settings: ChannelSettings,
    /// The bytes of `channel.json` that were last believed.
    #[serde(default)]
    pub channel: Option<String>,
    /// What its server called them.
    #[serde(default)]
    pub tag: Option<Tag>,
    /// When that was, or when the server last said that nothing has changed.
    #[serde(default)]
    pub checked: Option<Timestamp>,
}

/// The channel that the last bundle brought to an appliance that follows none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub name: ChannelName,
    /// The bytes of `channel.json`.
    pub channel: String,
}

impl Store {
    /// What the last bundle said, where no channel is followed.
    pub fn carried(&self) -> Result<Option<Carried>> {
        self.get("carried")
    }

    /// The channel that is followed; `None`: none is.
    pub fn following(&self) -> Result<Option<Following>> {
        self.get("channel")
    }

    /// Follows another channel, or none. What the one before offered is forgotten; its serial is
    /// not, that is part of [`super::Trust`].
    pub fn set_following(&self, settings: Option<&ChannelSettings>) -> Result<()> {
        let following = settings.map(|settings| Following {
            settings: settings.clone(),
            channel: None,
            tag: None,
            checked: None,
        });
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute("DELETE FROM offered", [])?;
        put(&tx, "channel", &following)?;
        Ok(tx.commit()?)
    }

    /// Releases that the channel offers, oldest first, with their signed bytes.
    pub fn offered(&self) -> Result<Vec<(Release, Vec<u8>)>> {
        let db = self.db();
        let mut statement = db.prepare("SELECT bytes FROM offered")?;
        let rows = statement
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
        let mut all = Vec::new();
        for bytes in rows {
            all.push((serde_json::from_slice::<Release>(&bytes)?, bytes));
        }
        all.sort_by(|(a, _), (b, _)| a.version.cmp(&b.version));
        Ok(all)
    }

    /// Keeps a release of the channel. Its bytes must be verified.
    pub fn put_offered(&self, release: &Release, bytes: &[u8]) -> Result<()> {
        offered(&self.db(), &release.version, &Digest::of(bytes), bytes)
    }

    /// Forgets what the channel does not offer any more.
    pub fn retain_offered(&self, keep: impl Fn(&Version, &Digest) -> bool) -> Result<()> {
        for (release, bytes) in self.offered()? {
            if !keep(&release.version, &Digest::of(&bytes)) {
                self.db().execute(
                    "DELETE FROM offered WHERE version = ?1",
                    [release.version.to_string()],
                )?;
            }
        }
        Ok(())
    }

    /// A random name that nobody else gets to know: it gives this appliance its place in rollouts.
    pub fn appliance(&self) -> Result<String> {
        if let Some(id) = self.get("appliance")? {
            return Ok(id);
        }
        let mut bytes = [0_u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| super::StoreError::Io {
                path: "random numbers".into(),
                source: error.into(),
            },
        )?;
        let id = hex::encode(bytes);
        put(&self.db(), "appliance", &id)?;
        Ok(id)
    }
}

fn offered(db: &Connection, version: &Version, digest: &Digest, bytes: &[u8]) -> Result<()> {
    db.execute(
        "INSERT INTO offered (version, digest, bytes) VALUES (?1, ?2, ?3)
         ON CONFLICT (version) DO UPDATE SET digest = excluded.digest, bytes = excluded.bytes",
        (version.to_string(), digest.to_string(), bytes),
    )?;
    Ok(())
}
