//! A signed bundle of small images, written as the publisher would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Cursor;
use std::path::Path;

use berth_format::bundle::{Content, FORMAT, INDEX, Index, Member, write};
use berth_format::layer::{self, Layer};
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;
use berth_format::{Digest, Product, Release, canonical};
use minisign::KeyPair;
use serde_json::json;

use crate::fixture::Image;

/// Signs what the tests publish.
pub struct Vendor {
    key: KeyPair,
    pub root: Root,
}

impl Vendor {
    pub fn new(product: &Product) -> Self {
        let key = KeyPair::generate_unencrypted_keypair().unwrap();
        let keys = Keys {
            threshold: 1,
            keys: vec![key.pk.to_base64()],
        };
        let root = Root {
            format: berth_format::root::FORMAT,
            product: product.clone(),
            version: 1,
            expires: "2100-01-01T00:00:00Z".parse().unwrap(),
            roles: BTreeMap::from([(Role::Root, keys.clone()), (Role::Release, keys)]),
        };
        Self { key, root }
    }

    fn sign(&self, bytes: &[u8], subject: &Subject<'_>) -> Vec<u8> {
        let comment = subject.to_string();
        let bytes = Cursor::new(bytes);
        minisign::sign(None, &self.key.sk, bytes, Some(&comment), Some("test"))
            .unwrap()
            .into_string()
            .into_bytes()
    }

    /// Writes a bundle of one release for each of `releases`, with the layers in `left_out`
    /// missing.
    pub fn bundle(
        &self,
        path: &Path,
        releases: &[(&str, &[Image])],
        left_out: &BTreeSet<Digest>,
    ) -> Vec<Release> {
        let product = &self.root.product;
        let (mut signed, mut blobs) = (Vec::new(), BTreeMap::new());
        let mut manifests = Vec::new();
        for (version, images) in releases {
            let release = release(product, version, images, &mut blobs);
            let bytes = release.to_bytes();
            let subject = Subject::Release {
                product,
                version: &release.version,
            };
            let signature = self.sign(&bytes, &subject);
            signed.push((release.file_name(), bytes));
            signed.push((format!("{}.minisig", release.file_name()), signature));
            manifests.push(release);
        }
        for digest in left_out {
            blobs.remove(&(2, Layer::file_name(digest)));
        }
        signed.extend(blobs.into_iter().map(|((_, name), bytes)| (name, bytes)));
        let member = |(name, bytes): &(String, Vec<u8>)| Member {
            name: name.clone(),
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        let index = Index {
            format: FORMAT,
            product: product.clone(),
            releases: manifests.iter().map(|r| r.version.clone()).collect(),
            channel: None,
            berth: None,
            members: signed.iter().map(member).collect(),
        };
        let bytes = canonical(&index);
        let signature = self.sign(&bytes, &Subject::Bundle { product });
        let contents: Vec<_> = signed.into_iter().map(|(_, b)| Content::Bytes(b)).collect();
        let mut file = File::create(path).unwrap();
        write(&mut file, &index, &bytes, &signature, &contents).unwrap();
        assert_eq!(INDEX, "bundle.json");
        manifests
    }
}

/// What a bundle holds after the releases, in its order.
type Blobs = BTreeMap<(u8, String), Vec<u8>>;

fn release(product: &Product, version: &str, images: &[Image], blobs: &mut Blobs) -> Release {
    let (mut pinned, mut layers) = (BTreeMap::new(), BTreeMap::new());
    for image in images {
        for tar in &image.layers {
            let mut packed = Vec::new();
            let (digest, layer) = layer::pack(&mut &tar[..], 3, &mut packed).unwrap();
            blobs.insert((2, Layer::file_name(&digest)), packed);
            layers.insert(digest, layer);
        }
        let config = image.loaded.config;
        blobs.insert(
            (0, format!("configs/{}.json", config.digest.hex())),
            image.config.clone(),
        );
        let diff_ids: Vec<_> = image.loaded.layers.iter().map(|l| l.digest).collect();
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let platform = format!("linux/{architecture}");
        pinned.insert(
            image.loaded.image.tag.clone(),
            json!({
                "tag": image.loaded.image.tag,
                "source": "test",
                "platforms": {platform: {
                    "config": config,
                    "manifest": image.loaded.image.manifest,
                    "layers": diff_ids,
                }},
            }),
        );
    }
    let shipped = format!("shipped with {version}").into_bytes();
    let file = Digest::of(&shipped);
    let tree = json!({"entries": {"": {"file": {
        "mode": 0o644, "digest": file, "size": shipped.len(),
    }}}});
    blobs.insert((1, format!("files/{}", file.hex())), shipped);
    let tree_digest = Digest::of(&canonical(&tree));
    serde_json::from_value(json!({
        "format": berth_format::release::FORMAT,
        "product": product,
        "title": "Test",
        "version": version,
        "upgrade": {"from": "*"},
        "requires": {"engine": "*"},
        "data": "unchanged",
        "services": {},
        "images": pinned,
        "layers": layers,
        "files": {tree_digest.to_string(): tree},
    }))
    .unwrap()
}
