//! The indexer (the crawler, from 2.0 on): reads repositories into the database, whose trigram
//! index makes them searchable. Writes only what changed.

use std::path::Path;
use std::time::Duration;

use crate::db::{self, Db};
use crate::docs::Docs;
use crate::repos::{self, Repo};
use crate::settings::{Fault, Release, var, var_or};
use crate::shutdown::Shutdown;

/// The schema that replaced the table `repos` by `crawls`.
const CRAWLS: i32 = 4;

/// How long a broken version works before it gives up.
const CRASH_AFTER: Duration = Duration::from_millis(1500);

/// What ends the indexer, or one scan of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error("repositories: {0}")]
    Io(#[from] std::io::Error),
    #[error("LANTERN_SCAN_SECONDS: {0:?} is not a number of seconds")]
    Interval(String),
    #[error("fatal: trigram segment 7 has format 12, this indexer reads 11 at most")]
    Segment,
}

/// Scans again and again until told to stop. A scan that fails is tried again.
pub async fn run(release: Release, shutdown: Shutdown) -> Result<(), Error> {
    let interval = var_or("LANTERN_SCAN_SECONDS", "10");
    let interval = interval.parse().map_err(|_| Error::Interval(interval))?;
    println!("indexer {}", release.version);
    let crash = async {
        if release.fault == Some(Fault::CrashLoop) {
            tokio::time::sleep(CRASH_AFTER).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = scan_for_ever(release.schema, Duration::from_secs(interval)) => Ok(()),
        () = shutdown.wait() => Ok(()),
        () = crash => Err(Error::Segment),
    }
}

async fn scan_for_ever(schema: i32, interval: Duration) {
    let db = Db::from_env();
    loop {
        let pause = match scan(&db, schema).await {
            Ok(true) => interval,
            Ok(false) => Duration::from_secs(1),
            Err(error) => {
                eprintln!("scan failed: {error}");
                Duration::from_secs(2)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One pass over all repositories; `false` when the schema is not ready for it.
async fn scan(db: &Db, wanted: i32) -> Result<bool, Error> {
    let schema = db.schema().await?;
    if schema.dirty || schema.version < wanted {
        println!("waiting for schema {wanted}, found {}", schema.version);
        return Ok(false);
    }
    let client = db.client().await?;
    let docs = Docs {
        client: &client,
        schema: wanted,
    };
    let root = repos::root();
    let found = repos::list(&root)?;
    let mut state = Vec::new();
    for repo in &found {
        let source = format!("repo:{}", repo.name);
        let mut names = Vec::new();
        for (name, text) in repo.files()? {
            docs.put(&name, &source, &text).await?;
            names.push(name);
        }
        docs.keep_only(&source, &names).await?;
        let files = i32::try_from(names.len()).unwrap_or(i32::MAX);
        if record(&client, wanted, repo, files).await? {
            println!("{}: {files} files", repo.name);
        }
        state.push(format!(
            "{}\t{files}\t{}\n",
            repo.name,
            repo.head.as_deref().unwrap_or("-")
        ));
    }
    if let Some(folder) = var("LANTERN_STATE") {
        let file = Path::new(&folder).join("crawl.tsv");
        let state = state.concat();
        if std::fs::read_to_string(&file).ok().as_deref() != Some(state.as_str()) {
            std::fs::write(file, state)?;
        }
    }
    Ok(true)
}

/// Notes what was read of a repository; whether that is something new.
async fn record(
    client: &tokio_postgres::Client,
    schema: i32,
    repo: &Repo,
    files: i32,
) -> Result<bool, Error> {
    let table = if schema >= CRAWLS { "crawls" } else { "repos" };
    let sql = format!(
        "INSERT INTO {table} (name, head, files) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
         SET head = excluded.head, files = excluded.files \
         WHERE ({table}.head, {table}.files) IS DISTINCT FROM (excluded.head, excluded.files)"
    );
    let changed = client
        .execute(sql.as_str(), &[&repo.name, &repo.head, &files])
        .await;
    Ok(changed.map_err(db::Error::from)? > 0)
}
