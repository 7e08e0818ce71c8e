//! A vendor's machine, and the command as it runs there.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test uses another part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_format::channel::{Accepted, Channel, Expiry, FILE, Seen, signed_name};
use berth_format::root::Root;
use berth_format::signature::file_name;
use berth_format::{ChannelName, Digest};

/// What a command said.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A folder to work in.
pub struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    /// A product of one image with two layers, not built yet.
    pub fn new() -> Self {
        let shop = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(shop.path("product")).unwrap();
        shop.put(
            "product/compose.yaml",
            "services:\n  web:\n    image: 'shop/web:1'\n    volumes: [./web.conf:/etc/web.conf:ro]\n",
        );
        shop.put("product/web.conf", "listen 80\n");
        shop
    }

    /// The same with keys of the quick start.
    pub fn with_keys() -> Self {
        let shop = Self::new();
        let made = shop.run(&[
            "keygen",
            "--product",
            "shop",
            "--out",
            "keys",
            "--no-password",
        ]);
        assert_eq!(made.code, 0, "{}", made.err);
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs `berth-publish`.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    pub fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let result = Command::new(env!("CARGO_BIN_EXE_berth-publish"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env_remove("BERTH_KEY_PASSWORD")
            .env_remove("BERTH_KEY")
            .env_remove("DOCKER_HOST")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            code: result.status.code().unwrap(),
            out: String::from_utf8(result.stdout).unwrap(),
            err: String::from_utf8(result.stderr).unwrap(),
        }
    }

    /// Runs what must succeed.
    pub fn good(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
        ran
    }

    /// Runs what must be refused under this code.
    pub fn refused(&self, arguments: &[&str], code: &str) {
        let ran = self.run(arguments);
        assert_ne!(ran.code, 0, "{arguments:?}: {}", ran.err);
        assert!(
            ran.err.contains(&format!("[{code}]")),
            "{arguments:?}: expected {code}: {}",
            ran.err
        );
    }

    /// The product at a version, with an image that has a layer of its own.
    pub fn image(&self, version: &str) {
        self.image_with(version, "");
    }

    fn image_with(&self, version: &str, more: &str) {
        let image = format!("web-{version}.tar");
        self.put(
            "product/berth.yaml",
            &format!(
                "product: shop\nversion: {version}\nimages: {{web: {{archive: {image}}}}}\n{more}"
            ),
        );
        let layers = [
            b"the tar of the base layer".to_vec(),
            version.repeat(1000).into_bytes(),
        ];
        archive(&self.path("product").join(&image), &layers);
    }

    /// Builds a version into `out`.
    pub fn build(&self, version: &str, more: &str) {
        self.image_with(version, more);
        self.good(&["build", "product", "--out", "out", "--key", "keys"]);
    }

    /// `channel SUBCOMMAND out … --key keys --now NOW`.
    pub fn channel<'a>(command: &'a str, now: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["channel", command, "out", "--key", "keys", "--now", now];
        all.extend(rest);
        all
    }
}

fn archive(path: &Path, layers: &[Vec<u8>]) {
    let ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let names: Vec<_> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let manifest = serde_json::json!(
        [{"Config": "c.json", "RepoTags": ["shop/web:1"], "Layers": names}]
    );
    let mut members = vec![
        ("c.json".to_owned(), config.to_string().into_bytes()),
        (
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ),
    ];
    members.extend(names.into_iter().zip(layers.iter().cloned()));
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    tar.finish().unwrap();
}

/// Every file below a folder but the lock, by its name.
pub fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let inner = contents(&path).into_iter();
            all.extend(inner.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if name != ".lock" {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}

/// A program that must be there where the whole suite runs; elsewhere its test is left out.
pub fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("-h")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if found.is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("BERTH_TEST_ROOT").is_none(),
        "{program} is not installed"
    );
    eprintln!("left out: no {program} here");
    false
}

/// Runs a program of the system; whether it succeeded, and its standard output.
pub fn program(dir: &Path, name: &str, arguments: &[&str]) -> (bool, Vec<u8>) {
    let result = Command::new(name)
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    (result.status.success(), result.stdout)
}

pub const DAY_1: &str = "2026-03-01T12:00:00Z";
pub const DAY_2: &str = "2026-03-02T12:00:00Z";
pub const DAY_3: &str = "2026-03-03T12:00:00Z";

/// What an appliance makes of the files of a folder.
pub fn judge(dir: &Path, name: &str, seen: &Seen, now: &str) -> Accepted {
    let first = fs::read(dir.join("1.root.json")).unwrap();
    let signature = fs::read(dir.join("1.root.json.minisig")).unwrap();
    let root = Root::first(&first, &[signature]).unwrap();
    let name: ChannelName = name.parse().unwrap();
    let bytes = fs::read(dir.join(name.as_str()).join(FILE)).unwrap();
    let signed = file_name(&signed_name(&Digest::of(&bytes)), 1);
    let signature = fs::read(dir.join(name.as_str()).join(signed)).unwrap();
    seen.judge(
        &root,
        &name,
        &bytes,
        &[signature],
        now.parse().unwrap(),
        Expiry::Enforced,
    )
    .unwrap()
}

pub fn stable(shop: &Shop, now: &str) -> Channel {
    judge(&shop.path("out"), "stable", &Seen::default(), now).channel
}

pub fn publish<'a>(now: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut all = Shop::channel("publish", now, &["--channel", "stable"]);
    all.extend(rest);
    all
}
