//! A release that a test makes up: of lantern's vendor, by `berth-publish`, from an image that
//! never runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::tamper::{Member, Parts};
use crate::{Machine, PRODUCT, program, run};

/// A product of one service that does not exist but on paper.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    pub version: &'a str,
    /// Of its image, as OCI names it.
    pub architecture: &'a str,
    /// Lines of berth.yaml beyond product, version and image.
    pub berth: &'a str,
    /// Lines of the service in compose.yaml, each indented by four.
    pub service: &'a str,
}

impl Draft<'_> {
    /// Builds and bundles it.
    pub fn publish(&self, machine: &Machine) -> Result<PathBuf> {
        let dir = machine.dir.path().join(format!("draft-{}", self.version));
        fs::create_dir_all(&dir)?;
        archive(&dir.join("image.tar"), self.architecture)?;
        let compose = format!(
            "services:\n  paper:\n    image: {PRODUCT}/paper:1\n{}\n",
            self.service
        );
        fs::write(dir.join("compose.yaml"), compose)?;
        let berth = format!(
            "product: {PRODUCT}\nversion: {}\nplatforms: [linux/{}]\n\
             images: {{paper: {{archive: image.tar}}}}\n{}\n",
            self.version, self.architecture, self.berth
        );
        fs::write(dir.join("berth.yaml"), berth)?;
        let (out, keys) = (dir.join("out"), machine.published.keys());
        run(Command::new(program("berth-publish"))
            .arg("build")
            .arg(&dir)
            .arg("--out")
            .arg(&out)
            .arg("--key")
            .arg(&keys))?;
        let bundle = dir.join(format!("{PRODUCT}-{}.berth", self.version));
        run(Command::new(program("berth-publish"))
            .args(["bundle", "--release", self.version, "--key"])
            .arg(&keys)
            .arg("--out")
            .arg(&bundle)
            .arg(&out))?;
        Ok(bundle)
    }
}

/// The other architecture than this machine's.
pub fn other_architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" {
        "amd64"
    } else {
        "arm64"
    }
}

/// An image as `docker save` writes it, with one file in one layer.
fn archive(path: &Path, architecture: &str) -> Result<()> {
    let layer = path.with_extension("layer");
    tar(&layer, vec![Member::new("paper", b"never read")])?;
    let layer = fs::read(layer)?;
    let id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let config = serde_json::json!({
        "os": "linux", "architecture": architecture, "config": {"Cmd": ["/paper"]},
        "rootfs": {"type": "layers", "diff_ids": [id]},
    });
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": [format!("{PRODUCT}/paper:1")], "Layers": ["layer.tar"],
    }]);
    tar(
        path,
        vec![
            Member::new("config.json", config.to_string().as_bytes()),
            Member::new("manifest.json", manifest.to_string().as_bytes()),
            Member::new("layer.tar", &layer),
        ],
    )
}

fn tar(path: &Path, members: Vec<Member>) -> Result<()> {
    let end = vec![0; 1024];
    Parts { members, end }.write(path)
}
