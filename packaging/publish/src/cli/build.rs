//! `berth-publish build`.

use std::path::{Path, PathBuf};

use berth_format::root::Role;
use clap::Args;

use super::{Failure, KeyArgs};
use crate::build::{self, Options};
use crate::layers::DEFAULT_LEVEL;
use crate::megabytes;
use crate::progress::Progress;

/// Where Docker's socket is when nobody says.
const SOCKET: &str = "/var/run/docker.sock";

/// Build the signed release of a folder
#[derive(Debug, Args)]
pub(super) struct Build {
    /// The folder with berth.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The folder that is published; releases share the layers in it
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
    /// The socket of the Docker engine that has the images [default: of `DOCKER_HOST`, else
    /// /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    engine: Option<PathBuf>,
    /// zstd's level for layers that are not packed yet
    #[arg(long, default_value_t = DEFAULT_LEVEL, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
    /// Overwrite a release of this version that differs
    #[arg(long)]
    replace: bool,
}

impl Build {
    pub(super) fn run(self) -> Result<(), Failure> {
        let key = self.key.load(Role::Release, Some(&self.out))?;
        let engine = self.engine.unwrap_or_else(default_socket);
        let progress = Progress::new();
        let options = Options {
            engine: &engine,
            level: self.level,
            replace: self.replace,
            progress,
        };
        let built = build::build(&self.dir, &self.out, &key, &options)?;
        // It may have been made only now.
        self.key.outside(&self.out)?;
        for warning in &built.warnings {
            progress.say(&format!("warning: {warning}"));
        }
        let layers = built.release.layers.values();
        let (mut raw, mut stored) = (0, 0);
        for layer in layers {
            raw += layer.size;
            stored += layer.stored.size;
        }
        progress.say(&format!(
            "{} {}: {} images, {} layers ({} new), {:.1} MB, {:.1} MB packed",
            built.release.product,
            built.release.version,
            built.release.images.len(),
            built.release.layers.len(),
            built.packed,
            megabytes(raw),
            megabytes(stored),
        ));
        println!("{}", built.path.display());
        Ok(())
    }
}

fn default_socket() -> PathBuf {
    std::env::var("DOCKER_HOST")
        .ok()
        .and_then(|host| host.strip_prefix("unix://").map(PathBuf::from))
        .unwrap_or_else(|| Path::new(SOCKET).to_owned())
}
