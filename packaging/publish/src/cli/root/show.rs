//! `berth-publish root show`.

use std::path::PathBuf;

use berth_format::Digest;
use berth_format::bundle::RootFile;
use berth_format::root::{Root, file_name};
use clap::Args;
use serde_json::json;

use super::Failure;
use crate::cli::print_json;
use crate::keys::spoken;
use crate::roots;

/// Show who may sign what, who has signed, and the fingerprint for customers
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The folder of the roots of trust
    dir: PathBuf,
    /// As JSON on standard output
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self) -> Result<(), Failure> {
        let folder = roots::read(&self.dir)?;
        let mut all: Vec<(Root, RootFile)> = Vec::new();
        for file in folder.files {
            let root = Root::parse(&file.bytes).map_err(|error| error.refusal())?;
            all.push((root, file));
        }
        all.extend(folder.draft);
        let Some((_, first)) = all.first() else {
            return Err(crate::keys::KeyError::NoRoot(self.dir).into());
        };
        let fingerprint = Digest::of(&first.bytes);
        let mut shown = Vec::new();
        let mut before: Option<&Root> = None;
        for (root, file) in &all {
            let progress = roots::progress(before, root, file);
            if self.json {
                shown.push(json!({
                    "version": root.version, "expires": root.expires, "roles": root.roles,
                    "signed": progress.signed, "missing": progress.missing,
                }));
            } else {
                print(root, &progress);
            }
            before = Some(root);
        }
        if self.json {
            print_json(&json!({"fingerprint": fingerprint, "roots": shown}));
        } else {
            println!("fingerprint for customers: {fingerprint}");
            println!("  {}", spoken(&fingerprint));
        }
        Ok(())
    }
}

fn print(root: &Root, progress: &roots::Collected) {
    println!(
        "{} of {}, good until {}",
        file_name(root.version),
        root.product,
        root.expires
    );
    for (role, keys) in &root.roles {
        println!("  {role}: {} of {}", keys.threshold, keys.keys.len());
        for key in &keys.keys {
            let mark = if progress.signed.contains(key) {
                ", has signed"
            } else {
                ""
            };
            println!("    {key}{mark}");
        }
    }
    for missing in &progress.missing {
        println!("  not signed yet: {missing}");
    }
}
