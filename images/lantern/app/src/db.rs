//! The database: one connection that is made anew when it was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::settings::{var, var_or};

/// Longest wait for the database where someone waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("database: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("database: no answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// The library says "db error" and keeps the reason as the source.
fn describe(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => match db.detail() {
            Some(detail) => format!("{}: {} ({detail})", db.severity(), db.message()),
            None => format!("{}: {}", db.severity(), db.message()),
        },
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// What the version table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The last migration that ended well; 0 in an empty database.
    pub version: i32,
    /// A migration began and did not end.
    pub dirty: bool,
}

/// The product's database.
pub struct Db {
    config: Config,
    client: Mutex<Option<Arc<Client>>>,
}

impl Db {
    /// As `PGHOST`, `PGUSER`, `PGPASSWORD` and `PGDATABASE` say. Connects when first used.
    pub fn from_env() -> Self {
        let mut config = Config::new();
        config
            .host(var_or("PGHOST", "db"))
            .user(var_or("PGUSER", "lantern"))
            .dbname(var_or("PGDATABASE", "lantern"))
            .connect_timeout(Duration::from_secs(2))
            .application_name("lantern");
        if let Some(password) = var("PGPASSWORD") {
            config.password(password);
        }
        Self {
            config,
            client: Mutex::new(None),
        }
    }

    /// A living connection. The host name is resolved at each connect.
    pub async fn client(&self) -> Result<Arc<Client>, Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("database connection lost: {}", describe(&error));
            }
        });
        let client = Arc::new(client);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Runs `work` within [`PATIENCE`]; a connection that does not answer is given up.
    pub async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Ok(done) = tokio::time::timeout(PATIENCE, work).await {
            return done;
        }
        self.client.lock().await.take();
        Err(Error::Timeout)
    }

    /// What the version table says.
    pub async fn schema(&self) -> Result<Schema, Error> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "SELECT coalesce(max(version) FILTER (WHERE NOT dirty), 0), \
                 coalesce(bool_or(dirty), false) FROM schema_migrations",
                &[],
            )
            .await;
        match row {
            Ok(row) => Ok(Schema {
                version: row.get(0),
                dirty: row.get(1),
            }),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Schema {
                version: 0,
                dirty: false,
            }),
            Err(error) => Err(error.into()),
        }
    }
}
