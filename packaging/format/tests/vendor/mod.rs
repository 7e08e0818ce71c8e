//! A vendor, and bundles as he writes them or by mistake would.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test uses another part of it")]

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::ops::Range;

use berth_format::bundle::{
    self, BundleError, Content, Index, Member, Sink, open, read_head, verify_whole,
};
use berth_format::channel::{self, Channel};
use berth_format::daemon::{self, Daemon};
use berth_format::image::{Blob, Image, Platform, PlatformImage, config_file_name, oci_manifest};
use berth_format::layer::{FRAME_BYTES, Layer, pack};
use berth_format::release::{FileEntry, FileTree, Release, blob_file_name};
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;
use berth_format::{Code, Digest, Product};
use minisign::KeyPair;

pub const BLOCK: usize = 512;

/// A member's name and bytes.
pub type Raw = (String, Vec<u8>);

/// Who signs.
pub struct Vendor {
    pub pair: KeyPair,
    pub root: Root,
}

/// What goes into a bundle.
#[derive(Clone, Default)]
pub struct Parts {
    pub releases: Vec<Release>,
    pub configs: BTreeMap<Digest, Vec<u8>>,
    pub files: BTreeMap<Digest, Vec<u8>>,
    pub layers: BTreeMap<Digest, (Layer, Vec<u8>)>,
    pub channel: Option<Channel>,
    pub daemon: Option<Daemon>,
}

pub fn product() -> Product {
    "lantern".parse().unwrap()
}

pub fn sign(pair: &KeyPair, bytes: &[u8], subject: &Subject<'_>) -> Vec<u8> {
    let comment = subject.to_string();
    minisign::sign(None, &pair.sk, Cursor::new(bytes), Some(&comment), None)
        .unwrap()
        .into_string()
        .into_bytes()
}

pub fn blob(bytes: &[u8]) -> Blob {
    Blob {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

impl Vendor {
    pub fn new() -> Self {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let keys = Keys {
            threshold: 1,
            keys: vec![pair.pk.to_base64()],
        };
        let root = Root {
            format: 1,
            product: product(),
            version: 1,
            expires: "2036-01-01T00:00:00Z".parse().unwrap(),
            roles: [Role::Root, Role::Release, Role::Channel]
                .map(|role| (role, keys.clone()))
                .into(),
        };
        Self { pair, root }
    }

    pub fn sign_release(&self, version: &str, bytes: &[u8]) -> Vec<u8> {
        let version = version.parse().unwrap();
        let subject = Subject::Release {
            product: &self.root.product,
            version: &version,
        };
        sign(&self.pair, bytes, &subject)
    }

    pub fn sign_list(&self, bytes: &[u8]) -> Vec<u8> {
        let subject = Subject::Bundle {
            product: &self.root.product,
        };
        sign(&self.pair, bytes, &subject)
    }

    pub fn sign_channel(&self, channel: &Channel) -> Vec<u8> {
        let subject = Subject::Channel {
            product: &channel.product,
            channel: &channel.channel,
            serial: channel.serial,
        };
        sign(&self.pair, &channel.to_bytes(), &subject)
    }

    pub fn sign_daemon(&self, daemon: &Daemon) -> Vec<u8> {
        let subject = Subject::Daemon {
            product: &daemon.product,
            version: &daemon.version,
        };
        sign(&self.pair, &daemon.to_bytes(), &subject)
    }

    /// The members of a bundle in their order.
    pub fn members(&self, parts: &Parts) -> Vec<Raw> {
        let root = berth_format::canonical(&self.root);
        let subject = Subject::Root {
            product: &self.root.product,
            version: 1,
        };
        let signature = sign(&self.pair, &root, &subject);
        let mut members = vec![
            ("1.root.json".to_owned(), root),
            ("1.root.json.minisig".to_owned(), signature),
        ];
        if let Some(channel) = &parts.channel {
            let signature = self.sign_channel(channel);
            members.push((channel::FILE.to_owned(), channel.to_bytes()));
            members.push((format!("{}.minisig", channel::FILE), signature));
        }
        if let Some(daemon) = &parts.daemon {
            let name = daemon::file_name(&daemon.version);
            let signature = self.sign_daemon(daemon);
            members.push((name.clone(), daemon.to_bytes()));
            members.push((format!("{name}.minisig"), signature));
        }
        for release in &parts.releases {
            let bytes = release.to_bytes();
            let signature = self.sign_release(&release.version.to_string(), &bytes);
            members.push((release.file_name(), bytes));
            members.push((format!("{}.minisig", release.file_name()), signature));
        }
        let configs = parts.configs.iter();
        members.extend(configs.map(|(digest, bytes)| (config_file_name(digest), bytes.clone())));
        let files = parts.files.iter();
        members.extend(files.map(|(digest, bytes)| (blob_file_name(digest), bytes.clone())));
        let layers = parts.layers.iter();
        members.extend(layers.map(|(id, (_, bytes))| (Layer::file_name(id), bytes.clone())));
        members
    }

    /// The list of these members.
    pub fn index(&self, parts: &Parts, members: &[Raw]) -> Index {
        Index {
            format: 1,
            product: self.root.product.clone(),
            releases: parts.releases.iter().map(|r| r.version.clone()).collect(),
            channel: parts.channel.as_ref().map(|c| c.channel.clone()),
            berth: parts.daemon.as_ref().map(|d| d.version.clone()),
            members: members
                .iter()
                .map(|(name, bytes)| Member {
                    name: name.clone(),
                    size: bytes.len() as u64,
                    digest: Digest::of(bytes),
                })
                .collect(),
        }
    }

    pub fn bundle(&self, parts: &Parts) -> Vec<u8> {
        let members = self.members(parts);
        self.write(&self.index(parts, &members), &members)
    }

    /// Signs this list, whatever it says, and writes these members.
    pub fn write(&self, index: &Index, members: &[Raw]) -> Vec<u8> {
        let signed = berth_format::canonical(index);
        write(&signed, &self.sign_list(&signed), members)
    }

    pub fn verify(&self, bytes: &[u8]) -> Result<Vec<Release>, BundleError> {
        verify_whole(&mut Cursor::new(bytes), &self.root, |_, _| {})
    }

    pub fn code(&self, bytes: &[u8]) -> Code {
        self.verify(bytes).unwrap_err().refusal().code
    }

    /// Walks a bundle into a [`Record`].
    pub fn record(&self, bytes: &[u8], mut sink: Record) -> Result<Record, BundleError> {
        let mut file = Cursor::new(bytes);
        let head = read_head(&mut file)?;
        open(&mut file, &head, &self.root)?.walk(&mut file, &mut sink)?;
        Ok(sink)
    }
}

/// A file with these members, whatever the signed list says.
pub fn write(signed: &[u8], signature: &[u8], members: &[Raw]) -> Vec<u8> {
    let listed = members.iter().map(|(name, bytes)| Member {
        name: name.clone(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
    });
    let index = Index {
        format: 1,
        product: product(),
        releases: Vec::new(),
        channel: None,
        berth: None,
        members: listed.collect(),
    };
    let contents: Vec<_> = members
        .iter()
        .map(|(_, bytes)| Content::Bytes(bytes.clone()))
        .collect();
    let mut out = Vec::new();
    bundle::write(&mut out, &index, signed, signature, &contents).unwrap();
    out
}

impl Parts {
    /// Two releases that share a layer and a file.
    pub fn small() -> Self {
        let mut parts = Self::default();
        parts.add("1.0.0", &[b"the base layer", b"the program, old"]);
        parts.add("1.1.0", &[b"the base layer", b"the program, new"]);
        parts
    }

    /// One more release, of one image with these layers.
    pub fn add(&mut self, version: &str, tars: &[&[u8]]) {
        let mut release: Release = serde_json::from_value(serde_json::json!({
            "format": 1, "product": "lantern", "title": "Lantern", "version": version,
            "upgrade": {"from": "*"}, "requires": {"engine": "*"}, "data": "may-change",
            "services": {}, "images": {}, "layers": {},
        }))
        .unwrap();
        let mut ids = Vec::new();
        for tar in tars {
            let mut stored = Vec::new();
            let (diff_id, layer) = pack(&mut &**tar, 3, &mut stored).unwrap();
            ids.push(diff_id);
            release.layers.insert(diff_id, layer.clone());
            self.layers.insert(diff_id, (layer, stored));
        }
        let file = b"worker_processes 1;\n".to_vec();
        let entry = FileEntry::File {
            mode: 0o644,
            digest: Digest::of(&file),
            size: file.len() as u64,
        };
        self.files.insert(Digest::of(&file), file);
        let tree = FileTree {
            entries: [(String::new(), entry)].into(),
        };
        release.files.insert(tree.digest(), tree);
        let config = config("amd64", &ids);
        release.images.insert(
            "web".into(),
            Image {
                tag: format!("berth.local/lantern/web:{version}"),
                source: "web".into(),
                platforms: [(
                    Platform::linux("amd64"),
                    image(&config, &ids, &release.layers),
                )]
                .into(),
            },
        );
        self.configs.insert(Digest::of(&config), config);
        self.releases.push(release);
    }

    /// The image of the first release.
    pub fn image(&mut self) -> &mut PlatformImage {
        let images = self.releases[0].images.get_mut("web").unwrap();
        images.platforms.values_mut().next().unwrap()
    }

    /// Gives the image of the first release another config, and all that follows from it.
    pub fn configure(&mut self, config: Vec<u8>, ids: &[Digest]) {
        let old = self.image().config.digest;
        self.configs.remove(&old);
        let new = image(&config, ids, &self.releases[0].layers);
        *self.image() = new;
        self.configs.insert(Digest::of(&config), config);
    }
}

pub fn config(architecture: &str, ids: &[Digest]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "os": "linux", "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }))
    .unwrap()
}

pub fn image(config: &[u8], ids: &[Digest], layers: &BTreeMap<Digest, Layer>) -> PlatformImage {
    let config = blob(config);
    let raw: Vec<_> = ids
        .iter()
        .map(|id| Blob {
            digest: *id,
            size: layers[id].size,
        })
        .collect();
    PlatformImage {
        config,
        manifest: Digest::of(&oci_manifest(config, &raw)),
        layers: ids.to_vec(),
    }
}

/// Where the content of a member is.
pub fn find(bundle: &[u8], name: &str) -> Range<usize> {
    let mut at = 0;
    loop {
        let header = &bundle[at..at + BLOCK];
        let found = header[..100].split(|b| *b == 0).next().unwrap();
        let size = std::str::from_utf8(&header[124..135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        let start = at + BLOCK;
        if found == name.as_bytes() {
            return start..start + size;
        }
        at = start + size.next_multiple_of(BLOCK);
    }
}

/// Replaces a member's header by one of another name and kind, with a good checksum.
pub fn rewrite(bundle: &mut [u8], name: &str, to: &str, kind: u8) {
    let at = find(bundle, name).start - BLOCK;
    let header = &mut bundle[at..at + BLOCK];
    header[..100].fill(0);
    header[..to.len()].copy_from_slice(to.as_bytes());
    header[156] = kind;
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A sink that remembers.
#[derive(Default, PartialEq, Debug)]
pub struct Record {
    /// Layers that it does not want.
    pub known: Vec<Digest>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub layers: BTreeMap<Digest, Vec<u8>>,
    pub finished: Vec<Digest>,
    pub done: u64,
    pub total: u64,
}

impl Sink for Record {
    fn config(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        assert!(self.blobs.insert(blob.digest, bytes.to_vec()).is_none());
        Ok(())
    }

    fn file(&mut self, blob: Blob, bytes: &[u8]) -> io::Result<()> {
        self.config(blob, bytes)
    }

    fn wants(&mut self, diff_id: &Digest, _: &Layer) -> io::Result<bool> {
        Ok(!self.known.contains(diff_id))
    }

    fn frame(&mut self, diff_id: &Digest, index: usize, tar: &[u8]) -> io::Result<()> {
        let layer = self.layers.entry(*diff_id).or_default();
        assert_eq!(layer.len(), index * FRAME_BYTES);
        layer.extend_from_slice(tar);
        Ok(())
    }

    fn layer(&mut self, diff_id: &Digest) -> io::Result<()> {
        self.finished.push(*diff_id);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) -> io::Result<()> {
        assert!(done >= self.done);
        (self.done, self.total) = (done, total);
        Ok(())
    }
}
