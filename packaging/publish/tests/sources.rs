//! Images as the tools of others write them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use berth_format::Digest;
use berth_format::root::Role;
use berth_publish::build::{Options, build};
use berth_publish::keys::Password;
use berth_publish::progress::Progress;
use berth_publish::roots;
use berth_publish::signer::Signer;
use serde_json::{Value, json};

/// A layer with one file.
fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

/// Writes a blob of a layout, and gives its descriptor.
fn blob(layout: &Path, media: &str, bytes: &[u8]) -> Value {
    let dir = layout.join("blobs/sha256");
    fs::create_dir_all(&dir).unwrap();
    let digest = Digest::of(bytes);
    fs::write(dir.join(digest.hex()), bytes).unwrap();
    json!({"mediaType": format!("application/vnd.oci.image.{media}"), "digest": digest, "size": bytes.len()})
}

/// An OCI layout of the image shop/web:1, its layers packed with `pack`. The last descriptor is
/// that of the config, those before it are the layers'.
fn layout(dir: &Path, pack: fn(&[u8]) -> Vec<u8>) -> Vec<Value> {
    let layers = [layer("base", b"base"), layer("web", &[7; 9000])];
    let ids: Vec<_> = layers.iter().map(|l| Digest::of(l)).collect();
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["web"]},
        "rootfs": {"type": "layers", "diff_ids": ids}, "history": [{"created_by": "x"}, {"created_by": "y"}],
    });
    let config = blob(dir, "config.v1+json", config.to_string().as_bytes());
    let layers = layers.iter().map(|l| blob(dir, "layer.v1.tar", &pack(l)));
    let mut all: Vec<Value> = layers.collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": all,
    });
    let mut manifest = blob(dir, "manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({
        "io.containerd.image.name": "docker.io/shop/web:1", "org.opencontainers.image.ref.name": "1",
    });
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    all.push(config);
    all
}

/// The release of a product whose only image comes from `source`.
fn release(dir: &Path, source: &str) -> Vec<u8> {
    fs::write(
        dir.join("compose.yaml"),
        "services: {web: {image: 'shop/web:1'}}",
    )
    .unwrap();
    let berth = format!("product: shop\nversion: 1.0.0\nimages: {{web: {{{source}}}}}\n");
    fs::write(dir.join("berth.yaml"), berth).unwrap();
    let (key, out) = (dir.join("keys"), dir.join("out"));
    if !key.exists() {
        let expires = "2036-01-01T00:00:00Z".parse().unwrap();
        roots::generate(&key, &"shop".parse().unwrap(), expires, &Password::None).unwrap();
    }
    let options = Options {
        engine: Path::new("/nonexistent.sock"),
        level: 3,
        replace: false,
        progress: Progress::silent(),
    };
    let key = Signer::load(&[key], Role::Release, None, &Password::None).unwrap();
    let built = build(dir, &out, &key, &options).unwrap_or_else(|e| panic!("{source}: {e}"));
    assert_eq!(built.packed, 2, "{source}");
    let bytes = fs::read(&built.path).unwrap();
    fs::remove_dir_all(out).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    std::io::Read::read_to_end(&mut reader, &mut out).unwrap();
    out
}

/// Engines from 25 on save a layout, with the `manifest.json` of old beside its `index.json`; those
/// that keep images in containerd leave the layers compressed.
#[test]
fn an_archive_of_a_new_engine_is_read_through_either_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut first = None;
    for (name, pack, lists) in [
        (
            "plain",
            <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>,
            ["manifest.json", "index.json"].as_slice(),
        ),
        ("packed", gzip, &["manifest.json", "index.json"]),
        ("docker", gzip, &["manifest.json"]),
        ("oci", gzip, &["index.json"]),
    ] {
        let saved = path(name);
        let mut all = layout(&saved, pack);
        let place = |d: &Value| {
            let digest = d["digest"].as_str().unwrap();
            digest.replace("sha256:", "blobs/sha256/")
        };
        let config = place(&all.pop().unwrap());
        let layers: Vec<_> = all.iter().map(place).collect();
        let sources: Value = all
            .iter()
            .map(|d| (d["digest"].as_str().unwrap().to_owned(), d.clone()))
            .collect();
        let manifest = json!([{
            "Config": config, "RepoTags": ["shop/web:1"], "Layers": layers, "LayerSources": sources,
        }]);
        fs::write(saved.join("manifest.json"), manifest.to_string()).unwrap();
        for list in ["manifest.json", "index.json"] {
            if !lists.contains(&list) {
                fs::remove_file(saved.join(list)).unwrap();
            }
        }
        let mut tar = tar::Builder::new(fs::File::create(path(&format!("{name}.tar"))).unwrap());
        tar.append_dir_all("", &saved).unwrap();
        tar.finish().unwrap();
        let bytes = release(dir.path(), &format!("archive: {name}.tar"));
        assert!(
            *first.get_or_insert_with(|| bytes.clone()) == bytes,
            "{name}"
        );
    }
}

#[test]
fn what_skopeo_writes_is_read() {
    if !common::has("skopeo", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    layout(&dir.path().join("raw"), <[u8]>::to_vec);
    let expected = release(dir.path(), "oci: raw");
    for (options, to, source) in [
        (
            "",
            "docker-archive:docker.tar:shop/web:1",
            "archive: docker.tar",
        ),
        (
            "--dest-compress --dest-compress-format=gzip",
            "oci:gzip:shop/web:1",
            "oci: gzip",
        ),
        (
            "--dest-compress --dest-compress-format=gzip",
            "oci:tag:1",
            "oci: tag",
        ),
        (
            "--dest-compress --dest-compress-format=gzip",
            "oci:none",
            "oci: none",
        ),
        (
            "--dest-compress --dest-compress-format=zstd",
            "oci:zstd:shop/web:1",
            "oci: zstd",
        ),
        (
            "--dest-compress",
            "oci-archive:oci.tar:shop/web:1",
            "archive: oci.tar",
        ),
    ] {
        let made = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet"])
            .args(options.split_whitespace())
            .args(["oci:raw:1", to])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{to}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        assert!(release(dir.path(), source) == expected, "{source}");
    }
}
