//! `berth-publish check`.

use std::path::PathBuf;

use berth_format::Code;
use clap::Args;
use serde_json::json;

use super::{Failure, print_json};
use crate::compose;

/// Resolve a folder without any image, and tell every problem at once
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The folder with berth.yaml
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Problems and warnings as JSON on standard output
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let resolved = compose::resolve(&self.dir);
        if self.json {
            let (problems, warnings) = match &resolved {
                Ok(resolved) => (&[][..], resolved.warnings.as_slice()),
                Err(problems) => (problems.as_slice(), &[][..]),
            };
            print_json(&json!({
                "ok": resolved.is_ok(), "problems": problems, "warnings": warnings,
            }));
            return match resolved {
                Ok(_) => Ok(()),
                Err(_) => Err(Failure::Said(Code::ComposeInvalid)),
            };
        }
        let resolved = resolved.map_err(Failure::Problems)?;
        for warning in &resolved.warnings {
            eprintln!("warning: {warning}");
        }
        let release = &resolved.release;
        println!(
            "{} {}: {} services, {} migrations, {} images: good",
            release.product,
            release.version,
            release.services.len(),
            release.migrations.len(),
            release.images.len()
        );
        Ok(())
    }
}
