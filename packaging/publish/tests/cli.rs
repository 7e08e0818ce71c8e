//! The command as a release engineer and a script meet it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(dir: &Path, arguments: &[&str]) -> Ran {
    let result = Command::new(env!("CARGO_BIN_EXE_berth-publish"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("BERTH_KEY_PASSWORD")
        .env_remove("DOCKER_HOST")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: result.status.code().unwrap(),
        out: String::from_utf8(result.stdout).unwrap(),
        err: String::from_utf8(result.stderr).unwrap(),
    }
}

/// A product whose one image is an archive, and keys for it.
fn vendor() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let product = dir.path().join("product");
    fs::create_dir(&product).unwrap();
    fs::write(
        product.join("compose.yaml"),
        "services:\n  web: {image: 'shop/web:1'}\n",
    )
    .unwrap();
    fs::write(
        product.join("berth.yaml"),
        "product: shop\nversion: 1.0.0\nimages: {web: {archive: web.tar}}\n",
    )
    .unwrap();
    let layer = b"a tar".as_slice();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [berth_format::Digest::of(layer)]},
    })
    .to_string();
    let manifest = r#"[{"Config":"c.json","RepoTags":["shop/web:1"],"Layers":["l.tar"]}]"#;
    let mut tar = tar::Builder::new(fs::File::create(product.join("web.tar")).unwrap());
    for (name, bytes) in [
        ("c.json", config.as_bytes()),
        ("l.tar", layer),
        ("manifest.json", manifest.as_bytes()),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.finish().unwrap();
    let keys = [
        "keygen",
        "--product",
        "shop",
        "--out",
        "keys",
        "--no-password",
    ];
    assert_eq!(run(dir.path(), &keys).code, 0);
    dir
}

#[test]
fn from_keys_to_a_bundle_that_verifies() {
    let vendor = vendor();
    let dir = vendor.path();
    let fingerprint = fs::read_to_string(dir.join("keys/fingerprint")).unwrap();
    let fingerprint = fingerprint.trim();
    let built = run(dir, &["build", "product", "--out", "out", "--key", "keys"]);
    assert_eq!(
        (built.code, built.out.as_str()),
        (0, "out/release-1.0.0.json\n"),
        "{}",
        built.err
    );
    let made = run(
        dir,
        &[
            "bundle",
            "out",
            "--key",
            "keys/release.key",
            "--out",
            "shop.berth",
        ],
    );
    assert_eq!(made.code, 0, "{}", made.err);

    let seen = run(dir, &["inspect", "shop.berth", "--json"]);
    let seen: Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(seen["fingerprint"], fingerprint);
    assert_eq!(seen["releases"][0]["images"][0]["source"], "shop/web:1");
    assert!(
        run(dir, &["inspect", "out/release-1.0.0.json"])
            .out
            .contains("shop 1.0.0")
    );

    for trust in [
        ["--fingerprint", fingerprint],
        [
            "--fingerprint",
            &fingerprint.replacen("sha256:", "", 1).replace('a', "a "),
        ],
        ["--root", "keys/1.root.json"],
    ] {
        let good = run(dir, &["verify", "shop.berth", trust[0], trust[1]]);
        assert_eq!(
            (good.code, good.out.as_str()),
            (0, "good: shop 1.0.0\n"),
            "{}",
            good.err
        );
    }
    assert_eq!(run(dir, &["verify", "shop.berth"]).code, 2);
    let stranger = format!("sha256:{}", "0".repeat(64));
    let refused = run(
        dir,
        &["verify", "shop.berth", "--fingerprint", &stranger, "--json"],
    );
    assert_eq!(refused.code, 4);
    let refused: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(refused["refusal"]["code"], "trust-fingerprint");

    let mut bytes = fs::read(dir.join("shop.berth")).unwrap();
    let last = bytes.len() - 1500;
    bytes[last] ^= 1;
    fs::write(dir.join("bad.berth"), bytes).unwrap();
    let refused = run(dir, &["verify", "bad.berth", "--fingerprint", fingerprint]);
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("[bundle-damaged]"), "{}", refused.err);
}

#[test]
fn wrong_use_has_its_own_exit_codes_and_changes_nothing() {
    let vendor = vendor();
    let dir = vendor.path();
    let build = |out: &str, key: &str| run(dir, &["build", "product", "--out", out, "--key", key]);
    assert_eq!(build("out", "product").code, 2);
    fs::create_dir(dir.join("open")).unwrap();
    fs::rename(dir.join("keys"), dir.join("open/keys")).unwrap();
    let published = build("open", "open/keys");
    assert_eq!(published.code, 2);
    assert!(
        published.err.contains("[key-unusable]"),
        "{}",
        published.err
    );
    assert!(!dir.join("open/layers").exists());
    fs::rename(dir.join("open/keys"), dir.join("keys")).unwrap();

    // A key with a password, and nobody who could type it.
    let locked = ["keygen", "--product", "shop", "--out", "locked"];
    assert_eq!(run(dir, &locked).code, 2);
    fs::write(dir.join("word"), "correct horse\n").unwrap();
    let locked = [&locked[..], &["--password-file", "word"]].concat();
    assert_eq!(run(dir, &locked).code, 0);
    let refused = build("out", "locked");
    assert!(
        refused.err.contains("no password was given"),
        "{}",
        refused.err
    );
    let build_locked = [
        "build",
        "product",
        "--out",
        "out",
        "--key",
        "locked",
        "--password-file",
        "word",
    ];
    assert_eq!(run(dir, &build_locked).code, 0);

    // The same version, another release.
    fs::write(
        dir.join("product/compose.yaml"),
        "services:\n  web: {image: 'shop/web:1', init: true}\n",
    )
    .unwrap();
    let exists = run(dir, &build_locked);
    assert_eq!(exists.code, 6);
    assert!(exists.err.contains("[release-exists]"), "{}", exists.err);
    assert_eq!(
        run(dir, &[&build_locked[..], &["--replace"]].concat()).code,
        0
    );

    fs::remove_file(dir.join("product/web.tar")).unwrap();
    assert_ne!(run(dir, &build_locked).code, 0);
    let none = run(
        dir,
        &[
            "bundle",
            "out",
            "--key",
            "locked",
            "--password-file",
            "word",
            "--release",
            "9.0.0",
            "--out",
            "x",
        ],
    );
    assert_eq!(none.code, 2);
    assert!(none.err.contains("[not-found]"), "{}", none.err);
}

#[test]
fn check_tells_every_problem_and_init_writes_once() {
    let vendor = vendor();
    let dir = vendor.path();
    assert_eq!(run(dir, &["check", "product"]).code, 0);
    let text = "version: '3'\nservices:\n  web: {image: 'a'}\n  dev: {image: a, profiles: [dev]}\n";
    fs::write(dir.join("product/compose.yaml"), text).unwrap();
    let good = run(dir, &["check", "product", "--json"]);
    assert_eq!(good.code, 0);
    let good: Value = serde_json::from_str(&good.out).unwrap();
    assert_eq!(good["ok"], true);
    assert_eq!(good["problems"], serde_json::json!([]));
    assert_eq!(good["warnings"][0]["key"], "version");
    assert_eq!(good["left_out"], serde_json::json!(["dev"]));
    let good = run(dir, &["check", "product"]);
    assert!(
        good.err.contains("warning: compose.yaml:1:1: version: "),
        "{}",
        good.err
    );
    assert!(
        good.err.contains("left out by their profiles: dev"),
        "{}",
        good.err
    );
    let text = "version: '3'\nservices:\n  web: {image: 'a', build: ., links: [x]}\n";
    fs::write(dir.join("product/compose.yaml"), text).unwrap();
    let bad = run(dir, &["check", "product", "--json"]);
    assert_eq!(bad.code, 3);
    let bad: Value = serde_json::from_str(&bad.out).unwrap();
    assert_eq!(bad["ok"], false);
    assert_eq!(bad["problems"].as_array().unwrap().len(), 2);
    assert_eq!(bad["problems"][0]["line"], 3);
    assert_eq!(bad["warnings"][0]["key"], "version");
    let bad = run(dir, &["check", "product"]);
    assert!(bad.err.contains("compose.yaml:3:"), "{}", bad.err);
    assert!(
        bad.err.contains("warning: compose.yaml:1:1: version: "),
        "{}",
        bad.err
    );

    fs::create_dir(dir.join("new")).unwrap();
    fs::write(
        dir.join("new/compose.yaml"),
        "services:\n  web: {image: nginx}\n",
    )
    .unwrap();
    assert_eq!(run(dir, &["init", "new"]).code, 0);
    assert!(dir.join("new/berth.yaml").exists());
    assert_eq!(run(dir, &["init", "new"]).code, 2);
    assert_eq!(run(dir, &["init", "nothing"]).code, 3);
}
