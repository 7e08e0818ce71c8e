//! `berth-publish inspect`.

use std::io::Read;
use std::path::{Path, PathBuf};

use berth_format::{Code, Digest, Refusal, Release};
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;

use super::verify::{self, open_unverified};
use super::{Failure, io, print_json};
use crate::megabytes;

/// Show what is in a bundle or a release.json, without saying that it is to be trusted
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A .berth file, or a release.json
    file: PathBuf,
    /// As JSON on standard output
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (releases, bundle) = if is_json(&self.file)? {
            (vec![read_release(&self.file)?], None)
        } else {
            let bundle = open_unverified(&self.file)?;
            let releases = bundle.opened.releases().iter();
            (releases.map(|r| r.release.clone()).collect(), Some(bundle))
        };
        if self.json {
            let releases: Vec<_> = releases.iter().map(summary).collect();
            let fingerprint = bundle.as_ref().map(|b| b.fingerprint);
            let channel = bundle.as_ref().and_then(|b| b.channel.as_ref());
            let members = bundle.as_ref().map(|b| b.opened.index().members.clone());
            print_json(&json!({
                "fingerprint": fingerprint, "channel": channel.map(verify::summary),
                "releases": releases, "members": members.unwrap_or_default(),
            }));
            return Ok(());
        }
        if let Some(bundle) = bundle {
            println!("signed under the root of trust {}", bundle.fingerprint);
            println!("(what a bundle says of itself: `berth-publish verify` checks it)");
            if let Some(channel) = &bundle.channel {
                println!("{}", verify::said(channel));
            }
        }
        for release in &releases {
            print(release);
        }
        Ok(())
    }
}

fn is_json(path: &Path) -> Result<bool, Failure> {
    let failed = |error| io(format!("{}: {error}", path.display()));
    let mut first = [0];
    let mut file = std::fs::File::open(path).map_err(failed)?;
    Ok(file.read(&mut first).map_err(failed)? == 1 && first == *b"{")
}

fn read_release(path: &Path) -> Result<Release, Failure> {
    let bytes = std::fs::read(path).map_err(|error| io(format!("{}: {error}", path.display())))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let code = Code::ManifestInvalid;
        Refusal::new(code, code.means())
            .found(error.to_string())
            .into()
    })
}

/// Bytes of layers: unpacked, stored.
fn sizes(release: &Release, layers: &[Digest]) -> (u64, u64) {
    let known = layers.iter().filter_map(|id| release.layers.get(id));
    known.fold((0, 0), |(raw, stored), layer| {
        (raw + layer.size, stored + layer.stored.size)
    })
}

fn all_sizes(release: &Release) -> (u64, u64) {
    let layers: Vec<_> = release.layers.keys().copied().collect();
    sizes(release, &layers)
}

fn summary(release: &Release) -> serde_json::Value {
    let (raw, stored) = all_sizes(release);
    let images = release.images.iter().map(|(name, image)| {
        let platforms = image.platforms.iter().map(|(platform, image)| {
            let (raw, stored) = sizes(release, &image.layers);
            json!({
                "platform": platform, "config": image.config.digest, "manifest": image.manifest,
                "layers": image.layers, "bytes": raw, "packed": stored,
            })
        });
        json!({
            "name": name, "source": image.source, "tag": image.tag,
            "platforms": platforms.collect::<Vec<_>>(),
        })
    });
    json!({
        "product": release.product,
        "version": release.version,
        "from": release.upgrade.from.to_string(),
        "stop": release.upgrade.stop,
        "data": release.data,
        "services": release.services.iter()
            .map(|(name, service)| json!({"name": name, "image": service.image}))
            .collect::<Vec<_>>(),
        "migrations": release.migrations.iter().map(|m| &m.name).collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
        "grants": release.grants,
        "config": release.config,
        "requires": release.requires,
        "bytes": raw,
        "packed": stored,
    })
}

fn print(release: &Release) {
    let (raw, stored) = all_sizes(release);
    println!("\n{} {}", release.product, release.version);
    println!(
        "  from {}{}; data {}; {:.1} MB, {:.1} MB packed",
        release.upgrade.from,
        if release.upgrade.stop {
            ", nobody may skip it"
        } else {
            ""
        },
        text(&release.data),
        megabytes(raw),
        megabytes(stored)
    );
    let mut table = table(&["image", "platform", "MB", "packed", "layers", "from"]);
    for (name, image) in &release.images {
        for (platform, one) in &image.platforms {
            let (raw, stored) = sizes(release, &one.layers);
            table.add_row([
                name.clone(),
                platform.to_string(),
                format!("{:.1}", megabytes(raw)),
                format!("{:.1}", megabytes(stored)),
                one.layers.len().to_string(),
                image.source.clone(),
            ]);
        }
    }
    println!("{table}");
    let mut table = self::table(&["runs", "image", "when"]);
    for (name, service) in &release.services {
        table.add_row([name.as_str(), &service.image, "always"]);
    }
    for migration in &release.migrations {
        let from = migration.from.as_ref();
        let when = from.map_or("every update".into(), |from| format!("from {from}"));
        table.add_row([migration.name.as_str(), &migration.service.image, &when]);
    }
    println!("{table}");
    for grant in &release.grants {
        println!(
            "  grant: {} gets {} {}",
            grant.service,
            text(&grant.kind),
            grant.detail
        );
    }
    for field in &release.config {
        let required = if field.required { ", required" } else { "" };
        println!("  config: {} ({}{required})", field.name, text(&field.kind));
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    table
}

// The word that the format writes for a value.
fn text(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
