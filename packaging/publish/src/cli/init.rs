//! `berth-publish init`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use berth_format::{Code, Refusal};
use clap::Args;

use super::Failure;
use crate::berth_yaml::{FILE, usual};
use crate::compose::{self, Refused};

/// Write a commented berth.yaml beside an existing Compose file
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The Compose file, or its folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Write to standard output instead
    #[arg(long)]
    stdout: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failure> {
        let files = if self.path.is_dir() {
            let found = usual(&self.path).into_iter();
            found.map(|name| self.path.join(name)).collect()
        } else {
            vec![self.path]
        };
        let text = compose::init(&files).map_err(|problem| {
            Failure::Problems(Refused {
                problems: vec![problem],
                warnings: Vec::new(),
            })
        })?;
        if self.stdout {
            print!("{text}");
            return Ok(());
        }
        let path = files
            .first()
            .map_or_else(|| FILE.into(), |f| f.with_file_name(FILE));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => {
                eprintln!("Read the comments in it, then run `berth-publish check`.");
                println!("{}", path.display());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Refusal::new(Code::Usage, "A berth.yaml is there already.")
                    .found(path.display().to_string())
                    .next("Move it away, or say --stdout.")
                    .into())
            }
            Err(error) => Err(super::io(format!("{}: {error}", path.display()))),
        }
    }
}
