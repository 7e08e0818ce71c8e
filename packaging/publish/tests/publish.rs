//! From images in a file to a bundle that an appliance would take, without an engine.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_format::bundle::verify_whole;
use berth_format::root::Role;
use berth_format::signature::Subject;
use berth_format::{Digest, Release};
use berth_publish::build::{BuildError, Built, Options, build};
use berth_publish::bundle::{Wanted, make};
use berth_publish::images::ImageError;
use berth_publish::keys::{self, KeyError, Password};
use berth_publish::progress::Progress;
use berth_publish::roots;
use berth_publish::signer::Signer;
use serde_json::{Value, json};

/// A vendor's machine.
struct Vendor {
    dir: tempfile::TempDir,
}

impl Vendor {
    fn new() -> Self {
        let vendor = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(vendor.path("product")).unwrap();
        vendor.put(
            "product/compose.yaml",
            b"services:\n  web:\n    image: shop/web:1\n    volumes: [./web.conf:/etc/web.conf:ro]\n  db: {image: shop/db}\n",
        );
        vendor.put("product/web.conf", b"listen 80\n");
        let expires = "2036-01-01T00:00:00Z".parse().unwrap();
        let product = "shop".parse().unwrap();
        roots::generate(&vendor.path("keys"), &product, expires, &Password::None).unwrap();
        vendor
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn key(&self) -> Signer {
        load(&self.path("keys"), &Password::None).unwrap()
    }

    /// berth.yaml with every image from this source.
    fn from(&self, version: &str, source: &str) {
        let text = format!(
            "product: shop\nversion: {version}\nimages:\n  web: {{{source}}}\n  db: {{{source}}}\n"
        );
        self.put("product/berth.yaml", text.as_bytes());
    }

    fn build(&self, out: &str) -> Result<Built, BuildError> {
        let options = Options {
            engine: Path::new("/nonexistent.sock"),
            level: 3,
            replace: false,
            progress: Progress::silent(),
        };
        build(
            &self.path("product"),
            &self.path(out),
            &self.key(),
            &options,
        )
    }

    fn archive(&self, name: &str, members: &[(&str, Content)]) {
        let file = fs::File::create(self.path("product").join(name)).unwrap();
        let mut tar = tar::Builder::new(file);
        for (name, content) in members {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            match content {
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, name, bytes.as_slice())
                        .unwrap();
                }
                Content::Symlink(to) => {
                    header.set_size(0);
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, name, to).unwrap();
                }
            }
        }
        tar.finish().unwrap();
    }

    /// As Docker 20.10 saves: a folder a layer, a layer that is there already as a symlink.
    fn docker_archive(&self, name: &str, images: &Images) {
        let (web, db) = (config(&[BASE, WEB]), config(&[BASE, DB]));
        let (web_name, db_name) = (json_name(&web), json_name(&db));
        let manifest = json!([
            {"Config": web_name, "RepoTags": ["shop/web:1"], "Layers": ["a/layer.tar", "b/layer.tar"]},
            {"Config": db_name, "RepoTags": ["shop/db:latest"], "Layers": ["c/layer.tar", "d/layer.tar"]},
        ]);
        self.archive(
            name,
            &[
                ("a/layer.tar", Content::File(images.base.clone())),
                ("b/layer.tar", Content::File(WEB.to_vec())),
                ("c/layer.tar", Content::Symlink("../a/layer.tar")),
                ("d/layer.tar", Content::File(DB.to_vec())),
                (&web_name, Content::File(web)),
                (&db_name, Content::File(db)),
                (
                    "manifest.json",
                    Content::File(manifest.to_string().into_bytes()),
                ),
            ],
        );
    }

    /// An OCI layout: one image below an index of two platforms, layers compressed with `pack`.
    fn oci(&self, name: &str, pack: fn(&[u8]) -> Vec<u8>) {
        let dir = self.path("product").join(name);
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |bytes: &[u8]| -> Value {
            let digest = Digest::of(bytes);
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
            json!({"digest": digest, "size": bytes.len(), "mediaType": "x"})
        };
        let image = |config: &[u8], layers: &[&[u8]]| {
            let layers: Vec<_> = layers.iter().map(|l| blob(&pack(l))).collect();
            let manifest = json!({"config": blob(config), "layers": layers});
            blob(manifest.to_string().as_bytes())
        };
        let mut web = image(&config(&[BASE, WEB]), &[BASE, WEB]);
        let other = String::from_utf8(config(&[BASE])).unwrap();
        let other = image(other.replace("amd64", "arm64").as_bytes(), &[BASE]);
        let record = json!({"digest": Digest::of(b"gone"), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
        let platforms = json!({"manifests": [record, other, web]});
        web = blob(platforms.to_string().as_bytes());
        web["annotations"] = json!({"io.containerd.image.name": "docker.io/shop/web:1", "org.opencontainers.image.ref.name": "1"});
        let mut db = image(&config(&[BASE, DB]), &[BASE, DB]);
        db["annotations"] = json!({"org.opencontainers.image.ref.name": "shop/db:latest"});
        let index = json!({"schemaVersion": 2, "manifests": [web, db]});
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

fn load(path: &Path, password: &Password) -> Result<Signer, KeyError> {
    Signer::load(&[path.to_owned()], Role::Release, None, password)
}

enum Content {
    File(Vec<u8>),
    Symlink(&'static str),
}

const BASE: &[u8] = b"the tar of the base layer";
const WEB: &[u8] = b"the tar of the web layer";
const DB: &[u8] = b"the tar of the database layer";

struct Images {
    base: Vec<u8>,
}

fn images() -> Images {
    Images {
        base: BASE.to_vec(),
    }
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|l| Digest::of(l)).collect();
    json!({
        "os": "linux", "architecture": "amd64", "config": {"Volumes": {"/data": {}}},
        "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string()
    .into_bytes()
}

fn json_name(config: &[u8]) -> String {
    format!("{}.json", Digest::of(config).hex())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// Every file of a folder, but the lock.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let inner = contents(&path).into_iter();
            all.extend(inner.map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if name != ".lock" {
            all.push((name, fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn every_kind_of_source_gives_the_same_bytes() {
    let vendor = Vendor::new();
    vendor.docker_archive("saved.tar", &images());
    let saved = fs::read(vendor.path("product/saved.tar")).unwrap();
    vendor.put("product/saved.tar.gz", &gzip(&saved));
    vendor.put("product/saved.tar.zst", &zstd(&saved));
    vendor.oci("raw", <[u8]>::to_vec);
    vendor.oci("gz", gzip);
    vendor.oci("zst", zstd);
    let mut first = None;
    for source in [
        "archive: saved.tar",
        "archive: saved.tar",
        "archive: saved.tar.gz",
        "archive: saved.tar.zst",
        "oci: raw",
        "oci: gz",
        "oci: zst",
    ] {
        vendor.from("1.0.0", source);
        let built = vendor.build("out").unwrap();
        assert_eq!(built.packed, 3, "{source}");
        let all = contents(&vendor.path("out"));
        assert_eq!(all.len(), 2 + 2 + 1 + 3, "{source}");
        assert!(*first.get_or_insert_with(|| all.clone()) == all, "{source}");
        // What the image asks a volume for has a name.
        assert!(built.release.volumes.contains_key("db-data"));
        fs::remove_dir_all(vendor.path("out")).unwrap();
    }
}

fn wanted(versions: &[&str]) -> Wanted {
    Wanted {
        versions: versions.iter().map(|v| v.parse().unwrap()).collect(),
        channel: None,
        now: jiff::Timestamp::now(),
    }
}

#[test]
fn a_bundle_of_two_releases_is_the_same_each_time_and_shares_layers() {
    let vendor = Vendor::new();
    vendor.docker_archive("saved.tar", &images());
    vendor.from("1.1.0", "archive: saved.tar");
    assert_eq!(vendor.build("out").unwrap().packed, 3);
    vendor.from("1.0.0", "archive: saved.tar");
    assert_eq!(vendor.build("out").unwrap().packed, 0);
    let (key, out) = (vendor.key(), vendor.path("out"));
    let bundle = |name: &str| {
        let to = vendor.path(name);
        make(&out, &wanted(&[]), &key, &to, Progress::silent()).unwrap();
        fs::read(to).unwrap()
    };
    let bytes = bundle("a.berth");
    assert!(bytes == bundle("b.berth"));
    let mut file = fs::File::open(vendor.path("a.berth")).unwrap();
    let mut last = (0, 0);
    let releases = verify_whole(&mut file, &key.root, |done, of| last = (done, of)).unwrap();
    assert!(last.0 > 0 && last.0 == last.1);
    let versions: Vec<_> = releases.iter().map(|r| r.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0"]);

    let only = wanted(&["1.1.0"]);
    let made = make(
        &out,
        &only,
        &key,
        &vendor.path("c.berth"),
        Progress::silent(),
    )
    .unwrap();
    assert_eq!(made.releases.len(), 1);
    let missing = wanted(&["9.0.0"]);
    assert!(
        make(
            &out,
            &missing,
            &key,
            &vendor.path("d.berth"),
            Progress::silent()
        )
        .is_err()
    );

    // A layer that was damaged on the vendor's disk does not leave it.
    let layer = fs::read_dir(out.join("layers")).unwrap().next();
    let layer = layer.unwrap().unwrap().path();
    let mut bytes = fs::read(&layer).unwrap();
    bytes[9] ^= 1;
    fs::write(&layer, &bytes).unwrap();
    assert!(
        make(
            &out,
            &wanted(&[]),
            &key,
            &vendor.path("e.berth"),
            Progress::silent()
        )
        .is_err()
    );
    assert!(!vendor.path("e.berth").exists());
    // The next build sees it and mends it.
    assert_eq!(vendor.build("out").unwrap().packed, 1);
    make(
        &out,
        &wanted(&[]),
        &key,
        &vendor.path("e.berth"),
        Progress::silent(),
    )
    .unwrap();
}

#[test]
fn a_release_that_is_out_is_not_changed() {
    let vendor = Vendor::new();
    vendor.docker_archive("saved.tar", &images());
    vendor.from("1.0.0", "archive: saved.tar");
    vendor.build("out").unwrap();
    vendor.put("product/web.conf", b"listen 81\n");
    let before = contents(&vendor.path("out"));
    let error = vendor.build("out").unwrap_err();
    assert!(matches!(error, BuildError::Exists(_)), "{error}");
    let after = contents(&vendor.path("out"));
    assert!(before.iter().all(|file| after.contains(file)));
}

#[test]
fn images_that_are_not_what_they_say_are_refused() {
    let vendor = Vendor::new();
    let refused = |source: &str| {
        vendor.from("1.0.0", source);
        let error = vendor.build("out").unwrap_err();
        assert!(!vendor.path("out/release-1.0.0.json").exists());
        error
    };
    let changed = Images {
        base: b"the tar of the base layer, changed".to_vec(),
    };
    vendor.docker_archive("saved.tar", &changed);
    let error = refused("archive: saved.tar");
    assert!(matches!(error, BuildError::Layer { .. }), "{error}");

    vendor.archive("empty.tar", &[]);
    let error = refused("archive: empty.tar");
    assert!(
        matches!(error, BuildError::Image(ImageError::Missing { .. })),
        "{error}"
    );

    let config = String::from_utf8(config(&[BASE])).unwrap();
    let config = config.replace("amd64", "s390x").into_bytes();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["shop/web:1", "shop/db:latest"], "Layers": ["l"]}]);
    vendor.archive(
        "other.tar",
        &[
            ("c.json", Content::File(config)),
            ("l", Content::File(BASE.to_vec())),
            ("manifest.json", Content::File(manifest.to_string().into())),
        ],
    );
    let error = refused("archive: other.tar");
    let text = error.to_string();
    assert!(
        text.contains("linux/s390x") && text.contains("linux/amd64"),
        "{text}"
    );

    vendor.oci("layout", gzip);
    let blob = |bytes: &[u8]| {
        let name = Digest::of(bytes).hex();
        vendor.path("product/layout/blobs/sha256").join(name)
    };
    fs::write(blob(&gzip(DB)), gzip(b"another")).unwrap();
    let error = refused("oci: layout");
    assert!(matches!(error, BuildError::Layer { .. }), "{error}");
    fs::write(blob(&gzip(DB)), &gzip(DB)[..12]).unwrap();
    let error = refused("oci: layout");
    assert!(matches!(error, BuildError::Layer { .. }), "{error}");
    let config = self::config(&[BASE, DB]);
    fs::write(blob(&config), b"{}").unwrap();
    let error = refused("oci: layout");
    assert!(
        matches!(error, BuildError::Image(ImageError::Damaged { .. })),
        "{error}"
    );

    let error = refused("{}");
    assert!(matches!(error, BuildError::Problems(_)), "{error}");
}

#[test]
fn a_stray_symlink_in_an_archive_leads_nowhere() {
    let vendor = Vendor::new();
    vendor.put("secret", b"not yours");
    let config = config(&[b"not yours"]);
    for to in ["../../secret", "/etc/hostname", "l"] {
        let manifest = json!([{"Config": "c.json", "RepoTags": ["shop/web:1", "shop/db:latest"], "Layers": ["l"]}]);
        vendor.archive(
            "link.tar",
            &[
                ("c.json", Content::File(config.clone())),
                ("l", Content::Symlink(to)),
                ("manifest.json", Content::File(manifest.to_string().into())),
            ],
        );
        vendor.from("1.0.0", "archive: link.tar");
        let error = vendor.build("out").unwrap_err();
        assert!(matches!(error, BuildError::Layer { .. }), "{to}: {error}");
    }
}

#[test]
fn keys_are_private_encrypted_and_never_published() {
    let vendor = Vendor::new();
    for name in ["root.key", "release.key"] {
        let meta = fs::metadata(vendor.path("keys").join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }
    let again = |dir: &str, password: &Password| {
        let product = "shop".parse().unwrap();
        let expires = "2036-01-01T00:00:00Z".parse().unwrap();
        roots::generate(&vendor.path(dir), &product, expires, password)
    };
    assert!(matches!(
        again("keys", &Password::None),
        Err(KeyError::Exists(_))
    ));

    let word = Password::Given("correct horse".into());
    again("locked", &word).unwrap();
    let load_locked = |password: &Password| load(&vendor.path("locked"), password);
    assert!(load_locked(&word).is_ok());
    assert!(load_locked(&Password::Given("wrong".into())).is_err());
    assert!(load_locked(&Password::None).is_err());

    let inside = vendor.path("keys");
    assert!(keys::outside(&inside, vendor.dir.path()).is_err());
    assert!(keys::outside(&inside, &vendor.path("product")).is_ok());

    // A key that the root of trust does not name.
    fs::copy(
        vendor.path("keys/root.key"),
        vendor.path("keys/release.key"),
    )
    .unwrap();
    assert!(matches!(
        load(&vendor.path("keys"), &Password::None),
        Err(KeyError::NotOfRoot { .. })
    ));
}

#[test]
fn minisign_verifies_what_we_sign_and_we_what_it_signs() {
    if !common::has("minisign", "-v") {
        return;
    }
    let vendor = Vendor::new();
    vendor.docker_archive("saved.tar", &images());
    vendor.from("1.0.0", "archive: saved.tar");
    vendor.build("out").unwrap();
    let run = |arguments: &[&str]| {
        let result = Command::new("minisign")
            .args(arguments)
            .current_dir(vendor.dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&result.stdout).into_owned();
        (result.status.success(), text)
    };
    let release = "out/release-1.0.0.json";
    let (good, text) = run(&["-V", "-H", "-p", "keys/release.pub", "-m", release]);
    assert!(
        good && text.contains("berth type=release product=shop version=1.0.0"),
        "{text}"
    );
    assert!(run(&["-V", "-p", "keys/root.pub", "-m", "keys/1.root.json"]).0);
    assert!(!run(&["-V", "-p", "keys/root.pub", "-m", release]).0);

    // With our key, in its hands; `-W`: the key has no password.
    let comment = "berth type=release product=shop version=1.0.0";
    let sign = |form: &str| {
        let (signed, text) = run(&[
            "-S",
            "-W",
            form,
            "-s",
            "keys/release.key",
            "-t",
            comment,
            "-m",
            release,
            "-x",
            "theirs",
        ]);
        assert!(signed, "{text}");
        fs::read(vendor.path("theirs")).unwrap()
    };
    let key = vendor.key();
    let bytes = fs::read(vendor.path(release)).unwrap();
    let version = "1.0.0".parse().unwrap();
    let believed = |signature: &[u8]| {
        berth_format::bundle::believe(&key.root, &version, &bytes, &[signature.to_vec()])
            .map(|release: Release| release.version)
    };
    assert_eq!(believed(&sign("-H")).unwrap(), version);
    let error = believed(&sign("-l")).unwrap_err();
    assert_eq!(error.refusal().code.as_str(), "signature-legacy");
    // Ed25519 without noise, like theirs: the same signature, but for the first line.
    let subject = Subject::Release {
        product: &key.root.product,
        version: &version,
    };
    let ours = key.sign(&bytes, &subject).unwrap().remove(0);
    let tail = |file: &[u8]| {
        let text = String::from_utf8(file.to_vec()).unwrap();
        text.split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(tail(&ours), tail(&sign("-H")));
}
