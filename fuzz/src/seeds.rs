//! The first inputs of each target: good files of a small product, each signed as it must be.

use std::collections::BTreeMap;

use berth_format::bundle::{Index, Member};
use berth_format::channel::{Berth, Channel, Entry};
use berth_format::image::{Blob, Image, Platform, PlatformImage, config_file_name, oci_manifest};
use berth_format::layer::{Layer, pack};
use berth_format::release::{FileEntry, FileTree, blob_file_name};
use berth_format::rollout::Rollout;
use berth_format::signature::Subject;
use berth_format::{Digest, Release};

use crate::keys;
use crate::targets::bundle::{MAKE_LIST, SIGN_LIST, SIGN_RELEASES, bundle, sign_release};
use crate::targets::signature::SIGNED;

/// A target, the name of the input, its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them; the same in every run.
pub fn all() -> Vec<Seed> {
    let mut all = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| all.push((target, name.to_owned(), bytes));

    for (n, (_, signature)) in SIGNED.iter().take(5).enumerate() {
        add("signature", &format!("good-{n}"), signature.clone());
    }
    add("signature", "name", b"channel.json.16.minisig".to_vec());
    add("signature", "key", keys::text(0).into());
    let comment = "berth type=channel product=lantern channel=stable serial=7";
    add("signature", "comment", comment.into());

    for version in [1, 2] {
        let root = berth_format::canonical(&keys::root(version));
        add("root", &format!("good-{version}"), root);
    }
    let mut many = keys::root(2);
    for keys_of in many.roles.values_mut() {
        *keys_of = keys::role(2, &[0, 1, 2, 3, 4]);
    }
    add("root", "two-of-five", berth_format::canonical(&many));

    add("channel", "good", channel().to_bytes());
    let mut plain = channel();
    plain.releases.clear();
    plain.berth = None;
    add("channel", "empty", plain.to_bytes());

    add("daemon", "good", daemon());
    let product = Product::one("1.4.0");
    add("release", "good", product.release.to_bytes());
    let config = product.configs.values().next();
    add("image_config", "good", config.cloned().unwrap_or_default());

    for (name, bytes) in bundles() {
        for flags in [0, SIGN_RELEASES | SIGN_LIST | MAKE_LIST] {
            let input = [&[flags][..], &bytes].concat();
            add("bundle", &format!("{name}-{flags}"), input);
        }
    }
    for (name, tar) in [("text", &b"the base layer"[..]), ("zeros", &[0; 3000])] {
        let mut stored = vec![0, 255];
        pack(&mut &*tar, 19, &mut stored).unwrap();
        add("frame", name, stored);
    }
    // A rotation of three keys, and one that changes all of them.
    let steps = [2, 7, 7, 2, 255, 14, 7, 2, 255, 14, 14, 2, 255];
    add("rotation", "three-keys", steps.to_vec());
    // Offers, not modified, a restart, a rotation, an offer by the new key.
    let story = [
        3, 0, 7, 2, 4, 1, 28, 2, 0, 6, 1, 0, 2, 0, 255, 3, 0, 1, 6, 8, 2, 28,
    ];
    add("judge", "rotation", story.to_vec());
    add("berth_yaml", "every-key", BERTH_YAML.into());
    add("compose", "small", COMPOSE.into());
    all
}

/// Two bundles: one release, and two that share a layer.
pub fn bundles() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("one", made(&[Product::one("1.4.0")])),
        ("two", made(&[Product::one("1.4.0"), Product::one("1.5.0")])),
    ]
}

fn channel() -> Channel {
    let published = "2026-03-05T12:00:00Z".parse().unwrap();
    let entry = |version: &str| Entry {
        digest: Digest::of(version.as_bytes()),
        size: 1000,
        published,
        stop: false,
        security: false,
        rollout: None,
        withdrawn: None,
        superseded_by: None,
    };
    let mut releases: BTreeMap<_, _> = ["1.3.0", "1.4.0", "1.5.0-rc.1"]
        .map(|version| (version.parse().unwrap(), entry(version)))
        .into();
    let first = releases.values_mut().next().unwrap();
    first.withdrawn = Some("It loses mail.".into());
    first.superseded_by = Some("1.4.0".parse().unwrap());
    let last = releases.values_mut().next_back().unwrap();
    last.rollout = Some(Rollout::over(published, 72));
    last.security = true;
    Channel {
        format: 1,
        product: keys::product(),
        channel: "stable".parse().unwrap(),
        serial: 7,
        published,
        expires: published + berth_format::channel::LIFETIME,
        releases,
        berth: Some(Berth {
            version: "0.2.0".parse().unwrap(),
            digest: Digest::of(b"berthd"),
            size: 300,
        }),
    }
}

fn daemon() -> Vec<u8> {
    let daemon = berth_format::daemon::Daemon {
        format: 1,
        product: keys::product(),
        version: "0.2.0".parse().unwrap(),
        files: ["amd64", "arm64"]
            .map(|architecture| (Platform::linux(architecture), blob(architecture.as_bytes())))
            .into(),
    };
    daemon.to_bytes()
}

/// A release with one image, and all that it names.
struct Product {
    release: Release,
    configs: BTreeMap<Digest, Vec<u8>>,
    files: BTreeMap<Digest, Vec<u8>>,
    layers: BTreeMap<Digest, Vec<u8>>,
}

impl Product {
    fn one(version: &str) -> Self {
        let mut release: Release = serde_json::from_value(serde_json::json!({
            "format": 1, "product": "lantern", "title": "Lantern", "version": version,
            "upgrade": {"from": ">=1.2.0", "drained": {"service": "web", "port": 80, "path": "/ready", "within_ms": 1000}},
            "notes": "# New", "requires": {"cpus": 2, "engine": ">=20.10"}, "data": "may-change",
            "config": [
                {"name": "EXTERNAL_URL", "type": "url", "label": "Address", "required": true},
                {"name": "WORKERS", "type": "int", "label": "Workers", "default": "2", "min": 1, "max": 9},
            ],
            "services": {}, "images": {}, "layers": {}, "volumes": {"db": {"snapshot": true}}, "networks": {"default": {}},
        }))
        .unwrap();
        let mut layers = BTreeMap::new();
        let mut ids = Vec::new();
        for tar in ["the base layer", version] {
            let mut stored = Vec::new();
            let (diff_id, layer) = pack(&mut tar.as_bytes(), 3, &mut stored).unwrap();
            release.layers.insert(diff_id, layer);
            layers.insert(diff_id, stored);
            ids.push(diff_id);
        }
        let file = b"worker_processes 1;\n".to_vec();
        let entry = FileEntry::File {
            mode: 0o644,
            digest: Digest::of(&file),
            size: file.len() as u64,
        };
        let tree = FileTree {
            entries: [(String::new(), entry)].into(),
        };
        let service = serde_json::json!({
            "image": "web", "settle_ms": 3000, "restart": "always",
            "mounts": [
                {"type": "volume", "volume": "db", "target": "/data"},
                {"type": "files", "files": tree.digest(), "target": "/etc/web.conf"},
            ],
            "environment": {"URL": "${EXTERNAL_URL}/a"},
            "healthcheck": {"test": {"test": ["CMD-SHELL", "true"]}},
            "network": {"networks": {"default": {"aliases": ["front"]}}},
        });
        let service = serde_json::from_value(service).unwrap();
        release.services.insert("web".parse().unwrap(), service);
        release.files.insert(tree.digest(), tree);
        let config = serde_json::to_vec(&serde_json::json!({
            "os": "linux", "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": ids},
        }))
        .unwrap();
        let raw: Vec<_> = ids
            .iter()
            .map(|id| Blob {
                digest: *id,
                size: release.layers[id].size,
            })
            .collect();
        let image = PlatformImage {
            config: blob(&config),
            manifest: Digest::of(&oci_manifest(blob(&config), &raw)),
            layers: ids,
        };
        let image = Image {
            tag: format!("berth.local/lantern/web:{version}"),
            source: "web".into(),
            platforms: [(Platform::linux("amd64"), image)].into(),
        };
        release.images.insert("web".into(), image);
        Self {
            release,
            configs: [(Digest::of(&config), config)].into(),
            files: [(Digest::of(&file), file)].into(),
            layers,
        }
    }
}

fn made(products: &[Product]) -> Vec<u8> {
    let (product, root) = (keys::product(), keys::root(1));
    let (root, signatures) = keys::signed_root(&root, &[0]);
    let mut members = vec![("1.root.json".to_owned(), root)];
    for signature in signatures {
        members.push(("1.root.json.minisig".to_owned(), signature));
    }
    let (mut configs, mut files, mut layers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for one in products {
        let bytes = one.release.to_bytes();
        let name = one.release.file_name();
        let signature = sign_release(&product, &one.release.version, &bytes);
        members.push((name.clone(), bytes));
        members.push((format!("{name}.minisig"), signature));
        configs.extend(one.configs.clone());
        files.extend(one.files.clone());
        layers.extend(one.layers.clone());
    }
    members.extend(
        configs
            .into_iter()
            .map(|(id, b)| (config_file_name(&id), b)),
    );
    members.extend(files.into_iter().map(|(id, b)| (blob_file_name(&id), b)));
    members.extend(layers.into_iter().map(|(id, b)| (Layer::file_name(&id), b)));
    let index = Index {
        format: 1,
        product: product.clone(),
        releases: products.iter().map(|p| p.release.version.clone()).collect(),
        channel: None,
        berth: None,
        members: members
            .iter()
            .map(|(name, bytes)| Member {
                name: name.clone(),
                size: bytes.len() as u64,
                digest: Digest::of(bytes),
            })
            .collect(),
    };
    let list = berth_format::canonical(&index);
    let signature = keys::sign(1, &list, &Subject::Bundle { product: &product });
    bundle(&list, &signature, &members).unwrap()
}

fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

const BERTH_YAML: &str = r#"product: lantern
title: Lantern
version: 1.4.0
compose: [compose.yaml]
upgrade: {from: ">=1.2.0", stop: false, drained: {http: "http://frontend:3080/-/migrations"}}
notes: |
  New.
requires: {cpus: 2, memory: 4GiB, disk: 20GiB, engine: ">=20.10"}
config:
  - {name: EXTERNAL_URL, type: url, label: Public address, required: true}
  - {name: DB_PASSWORD, type: secret, generate: 32}
  - {name: MODE, type: choice, choices: [a, b], default: a}
variables: {TAG: "7"}
profiles: [web]
data: may-change
volumes:
  cache: {snapshot: false}
probes:
  frontend: {http: "http://frontend:3080/healthz", within: 5m}
services:
  frontend: {egress: true, settle: 3s}
host_data: [/srv/lantern]
grants: [{service: frontend, capability: NET_ADMIN}]
platforms: [linux/amd64, linux/arm64]
images: {frontend: {archive: images.tar}}
migrations:
  - {name: schema-12, image: lantern/migrator, command: [up, "12"], needs: [db@old], timeout: 30m, from: "<1.4.0", reversible: false}
"#;

const COMPOSE: &str = "x-base: &base
  restart: unless-stopped
  environment: {URL: \"${EXTERNAL_URL:?}\", A: ${A:-b}}
services:
  web:
    <<: *base
    image: lantern/web:${TAG}
    profiles: [web]
    command: [\"run\", \"--port\", \"80\"]
    ports: [\"8080:80\", \"127.0.0.1:9000-9001:9000-9001/udp\"]
    depends_on: {db: {condition: service_healthy}}
    volumes: [\"data:/data\", \"./other.yaml:/etc/other.yaml:ro\", {type: tmpfs, target: /tmp}]
    env_file: .env
    deploy: {resources: {limits: {cpus: \"0.5\", memory: 64M}}}
  db:
    image: postgres
    healthcheck: {test: [CMD, pg_isready], interval: 5s}
    environment: [\"POSTGRES_PASSWORD=${DB_PASSWORD}\"]
    secrets: [key]
    networks: {back: {aliases: [database]}}
volumes: {data: {}}
networks: {back: {internal: true}}
secrets: {key: {file: ./other.yaml}}
\0A='x y'
B=\"${A}z\"
\0services: {web: {image: other}}
";
