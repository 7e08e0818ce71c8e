//! `berthd`, the service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use berth_daemon::appliance::Appliance;
use berth_daemon::engine::docker::Docker;
use berth_daemon::host::Linux;
use berth_daemon::http::Sockets;
use berth_daemon::release::offer;
use berth_daemon::store::Store;
use berth_daemon::{life, logging};
use berth_format::bundle::RootFile;
use berth_format::signature;
use clap::Parser;

/// Keeps a vendor's product on this machine: installs, updates, rolls back, watches.
#[derive(Debug, Parser)]
#[command(name = "berthd", version)]
struct Args {
    /// Where Berth keeps its state.
    #[arg(
        long,
        value_name = "DIR",
        env = "BERTH_STATE_DIR",
        default_value = "/var/lib/berth"
    )]
    state_dir: PathBuf,
    /// The API's Unix socket; `handover.sock` is made beside it.
    #[arg(
        long,
        value_name = "PATH",
        env = "BERTH_SOCKET",
        default_value = "/run/berth/berth.sock"
    )]
    socket: PathBuf,
    /// Docker's Unix socket, with or without unix://.
    #[arg(long, value_name = "PATH", env = "DOCKER_HOST", default_value = "/run/docker.sock", value_parser = docker_socket)]
    docker: PathBuf,
    /// A root of trust laid down by a package: trusted at the first start.
    #[arg(long, value_name = "PATH")]
    root_file: Option<PathBuf>,
    /// error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", env = "BERTH_LOG", default_value = "info")]
    log: String,
}

fn docker_socket(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err("expected the path of a Unix socket".to_owned())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    logging::init(&args.log);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("berthd ends: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    // Two: one may wait for the disk in the store while the other answers.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    let result = runtime.block_on(serve(args));
    // What still blocks is in the journal; waiting for it would wait for Docker.
    runtime.shutdown_background();
    result
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&args.state_dir).context("the state cannot be opened")?;
    if let Some(path) = &args.root_file {
        trust_package(&store, path)?;
    }
    let sockets = Sockets::bind(&args.socket)?;
    let appliance = Appliance::open(store, Docker::new(&args.docker), Linux);
    let work = {
        let appliance = appliance.clone();
        async move |mut stopped: tokio::sync::watch::Receiver<bool>| {
            let looks_after = async {
                if let Err(refusal) = appliance.recover().await {
                    log::error!("{refusal}");
                }
                appliance.supervise().await;
            };
            tokio::select! {
                () = appliance.supervise() => {}
                () = appliance.watch() => {}
                () = looks_after => {}
                () = appliance.tell() => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        }
    };
    Ok(life::live(sockets, appliance, work).await?)
}

/// Trusts the root that a package laid down, unless a root is trusted already.
fn trust_package(store: &Store, path: &Path) -> anyhow::Result<()> {
    let trust = store.trust()?;
    if trust.fingerprint.is_some() || trust.root.is_some() {
        return Ok(());
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let name = path.to_str().context("the root's path is not UTF-8")?;
    // The first must be there; others where the root wants several.
    let mut signatures = vec![read(Path::new(&signature::file_name(name, 1)))?];
    let others = (2..=signature::MAX_FILES).map(|n| PathBuf::from(signature::file_name(name, n)));
    for other in others.take_while(|path| path.exists()) {
        signatures.push(read(&other)?);
    }
    let file = RootFile {
        version: 1,
        bytes: read(path)?,
        signatures,
    };
    let trust = offer::pin(&file)?;
    store.set_trust(&trust)?;
    log::info!("trusts the root of the package: {}", path.display());
    Ok(())
}
