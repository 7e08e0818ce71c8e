//! Lantern: a small self-hosted code search, the reference product that Berth is tried on.
//!
//! One binary, a subcommand a service. What differs between Lantern's versions is in its images
//! (`/etc/lantern/release.json`, `/migrations`), not in this code.

mod cache;
mod db;
mod docs;
mod frontend;
mod gateway;
mod healthcheck;
mod indexer;
mod migrator;
mod page;
mod repos;
mod settings;
mod shutdown;

use std::process::ExitCode;

use crate::settings::Release;
use crate::shutdown::Shutdown;

const USAGE: &str = "usage: lantern frontend | indexer | crawler | gateway | migrator up [N] | \
                     seed | healthcheck URL";

/// Whatever ends a service with exit code 1.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] settings::Error),
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Migrator(#[from] migrator::Error),
    #[error(transparent)]
    Indexer(#[from] indexer::Error),
    #[error(transparent)]
    Health(#[from] healthcheck::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["healthcheck", url] => healthcheck::run(url).map_err(Failure::from),
        ["seed"] => repos::seed().map_err(Failure::from),
        other => service(other).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lantern: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What runs until it is told to stop. As PID 1 a process without a handler ignores SIGTERM, so
/// the handler comes first.
async fn service(arguments: &[&str]) -> Result<(), Failure> {
    let shutdown = Shutdown::on_signals()?;
    match arguments {
        ["frontend"] => frontend::run(Release::load()?, shutdown).await?,
        ["indexer" | "crawler"] => indexer::run(Release::load()?, shutdown).await?,
        ["gateway"] => gateway::run(shutdown).await?,
        ["migrator", "up"] => migrator::run(i32::MAX, shutdown).await?,
        ["migrator", "up", version] => match version.parse() {
            Ok(version) => migrator::run(version, shutdown).await?,
            Err(_) => return Err(settings::Error::Usage(USAGE).into()),
        },
        _ => return Err(settings::Error::Usage(USAGE).into()),
    }
    Ok(())
}
