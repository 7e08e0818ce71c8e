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
            return match resolved {
                Ok(resolved) => {
                    print_json(&json!({
                        "ok": true, "problems": [], "warnings": resolved.warnings,
                        "left_out": resolved.left_out,
                    }));
                    Ok(())
                }
                Err(refused) => {
                    print_json(&json!({
                        "ok": false, "problems": refused.problems, "warnings": refused.warnings,
                    }));
                    Err(Failure::Said(Code::ComposeInvalid))
                }
            };
        }
        let resolved = resolved.map_err(Failure::Problems)?;
        for warning in &resolved.warnings {
            eprintln!("warning: {warning}");
        }
        if !resolved.left_out.is_empty() {
            let names: Vec<_> = resolved.left_out.iter().map(String::as_str).collect();
            eprintln!("left out by their profiles: {}", names.join(", "));
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
