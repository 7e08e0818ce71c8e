//! The migrator: runs the SQL files of `/migrations` in the order of their numbers.
//!
//! A file whose first line is `-- transaction` runs in one; any other statement by statement, each
//! committed by itself, as `CREATE INDEX CONCURRENTLY` needs it. So such a file can fail half way,
//! and what it did until then stays. The version is then marked dirty, and nothing runs after it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::db::{self, Db};
use crate::settings::var_or;
use crate::shutdown::Shutdown;

/// How long the database may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two migrators at once: the second one waits. Any number does; this one is the product's.
const LOCK: i64 = 0x6c61_6e74_6572_6e00;

/// Why the schema is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}: the name is not like 0001_what_it_does.sql")]
    Name(String),
    #[error("migration {0} began before and did not end; the database needs a restore")]
    Dirty(i32),
    #[error("migration {version} ({name}), statement {statement}: {source}")]
    Statement {
        version: i32,
        name: String,
        statement: usize,
        source: db::Error,
    },
    #[error("told to stop")]
    Stopped,
}

struct Migration {
    version: i32,
    name: String,
    sql: String,
}

/// Brings the schema up to `target`, or to the last one that there is.
pub async fn run(target: i32, shutdown: Shutdown) -> Result<(), Error> {
    tokio::select! {
        done = up(target) => done,
        () = shutdown.wait() => Err(Error::Stopped),
    }
}

async fn up(target: i32) -> Result<(), Error> {
    let migrations = load(&var_or("LANTERN_MIGRATIONS", "/migrations").into())?;
    let db = Db::from_env();
    let client = patient_client(&db).await?;
    execute(&client, &format!("SELECT pg_advisory_lock({LOCK})")).await?;
    execute(
        &client,
        "CREATE TABLE IF NOT EXISTS schema_migrations (version int PRIMARY KEY, name text NOT NULL, \
         dirty boolean NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
    )
    .await?;
    let rows = client
        .query("SELECT version, dirty FROM schema_migrations", &[])
        .await;
    let rows = rows.map_err(db::Error::from)?;
    if let Some(row) = rows.iter().find(|row| row.get(1)) {
        return Err(Error::Dirty(row.get(0)));
    }
    let applied: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    for migration in &migrations {
        if migration.version <= target && !applied.contains(&migration.version) {
            apply(&client, migration).await?;
        }
    }
    println!("schema {}", db.schema().await?.version);
    Ok(())
}

async fn patient_client(db: &Db) -> Result<std::sync::Arc<Client>, db::Error> {
    let start = Instant::now();
    loop {
        match db.client().await {
            Err(error) if start.elapsed() < PATIENCE => {
                println!("waiting: {error}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            result => return result,
        }
    }
}

async fn apply(client: &Client, migration: &Migration) -> Result<(), Error> {
    let Migration { version, name, sql } = migration;
    println!("migration {version}: {name}");
    let begin = "INSERT INTO schema_migrations (version, name, dirty) VALUES ($1, $2, true)";
    client
        .execute(begin, &[version, name])
        .await
        .map_err(db::Error::from)?;
    let transaction = sql.starts_with("-- transaction\n");
    if transaction {
        execute(client, "BEGIN").await?;
    }
    for (index, statement) in statements(sql).into_iter().enumerate() {
        println!("  {}", statement.lines().next().unwrap_or_default());
        if let Err(source) = execute(client, &statement).await {
            if transaction {
                execute(client, "ROLLBACK").await?;
                let undo = "DELETE FROM schema_migrations WHERE version = $1";
                client
                    .execute(undo, &[version])
                    .await
                    .map_err(db::Error::from)?;
            }
            let (version, name) = (*version, name.clone());
            return Err(Error::Statement {
                version,
                name,
                statement: index + 1,
                source,
            });
        }
    }
    if transaction {
        execute(client, "COMMIT").await?;
    }
    let end = "UPDATE schema_migrations SET dirty = false, applied_at = now() WHERE version = $1";
    client
        .execute(end, &[version])
        .await
        .map_err(db::Error::from)?;
    Ok(())
}

async fn execute(client: &Client, sql: &str) -> Result<(), db::Error> {
    Ok(client.batch_execute(sql).await?)
}

fn load(folder: &PathBuf) -> Result<Vec<Migration>, Error> {
    let read = |path: &PathBuf, source| Error::Read {
        path: path.clone(),
        source,
    };
    let mut migrations = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| read(folder, source))? {
        let path = entry.map_err(|source| read(folder, source))?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (version, name) = file
            .strip_suffix(".sql")
            .and_then(|stem| stem.split_once('_'))
            .and_then(|(version, name)| Some((version.parse().ok()?, name.replace('_', " "))))
            .ok_or_else(|| Error::Name(file.clone()))?;
        let sql = std::fs::read_to_string(&path).map_err(|source| read(&path, source))?;
        migrations.push(Migration { version, name, sql });
    }
    migrations.sort_by_key(|migration| migration.version);
    Ok(migrations)
}

/// A statement ends with a semicolon at the end of a line. The database runs several statements
/// that are sent together as one transaction, which is not what these files ask for.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
    {
        if !line.trim().is_empty() {
            statement += line;
            statement.push('\n');
        }
        if line.trim_end().ends_with(';') {
            statements.push(std::mem::take(&mut statement));
        }
    }
    if !statement.trim().is_empty() {
        statements.push(statement);
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_end_lines() {
        let sql = "-- transaction\nSELECT ';' AS a\nFROM b;\n\n-- why;\nDROP TABLE b;\nSELECT 1";
        let expected = [
            "SELECT ';' AS a\nFROM b;\n",
            "DROP TABLE b;\n",
            "SELECT 1\n",
        ];
        assert_eq!(statements(sql), expected);
    }

    #[test]
    fn migrations_are_run_by_number_and_badly_named_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["0010_b.sql", "0002_a_c.sql"] {
            std::fs::write(folder.path().join(name), "SELECT 1;").unwrap();
        }
        let loaded = load(&folder.path().into()).unwrap();
        let loaded: Vec<_> = loaded
            .iter()
            .map(|m| (m.version, m.name.as_str()))
            .collect();
        assert_eq!(loaded, [(2, "a c"), (10, "b")]);
        std::fs::write(folder.path().join("README"), "").unwrap();
        assert!(matches!(load(&folder.path().into()), Err(Error::Name(_))));
    }
}
