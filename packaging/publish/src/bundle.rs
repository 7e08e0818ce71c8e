//! Releases of a folder into one `.berth` file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use berth_format::bundle::{
    self, BundleError, CarriedError, Content, FORMAT, Index, Member, Sink, believe, read_head,
};
use berth_format::channel::{Expiry, Seen};
use berth_format::daemon::Daemon;
use berth_format::image::config_file_name;
use berth_format::layer::Layer;
use berth_format::release::{FileEntry, Release, blob_file_name};
use berth_format::root;
use berth_format::signature::{self, Subject};
use berth_format::{ChannelName, Digest};
use jiff::Timestamp;
use semver::Version;

use crate::channel::{ChangeError, must_be_offered};
use crate::keys::KeyError;
use crate::out::{self, OutError};
use crate::progress::Progress;
use crate::signed;
use crate::signer::Signer;

mod carried;

/// Why a bundle cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("no release {version} in {}", dir.display())]
    NoRelease { version: Version, dir: PathBuf },
    #[error("no release in {}", .0.display())]
    Nothing(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} has {found} bytes, the release names {expected}", path.display())]
    Size {
        path: PathBuf,
        expected: u64,
        found: u64,
    },
    #[error(
        "layer {} is stored in one way in {first} and in another in {second}: build both into one folder",
        diff_id.short()
    )]
    TwoWays {
        diff_id: Digest,
        first: Version,
        second: Version,
    },
    #[error("no channel {channel} in {}", dir.display())]
    NoChannel { channel: ChannelName, dir: PathBuf },
    #[error(transparent)]
    Carried(#[from] CarriedError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Out(#[from] OutError),
}

/// What was written.
#[derive(Debug)]
pub struct Made {
    /// Bytes.
    pub size: u64,
    pub releases: Vec<Release>,
}

/// What goes into a bundle.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Empty: what the channel offers, or without one all that is in the folder.
    pub versions: Vec<Version>,
    /// The channel that goes along, with the daemon that it names.
    pub channel: Option<ChannelName>,
    /// What the channel is judged by.
    pub now: Timestamp,
}

/// Writes releases of `dir` to `to`: the same bytes for the same input.
pub fn make(
    dir: &Path,
    wanted: &Wanted,
    key: &Signer,
    to: &Path,
    progress: Progress,
) -> Result<Made, MakeError> {
    let channel = wanted.channel.as_ref();
    let carried = channel
        .map(|name| carried::read(dir, name, key, wanted.now))
        .transpose()?;
    let mut versions = match &carried {
        _ if !wanted.versions.is_empty() => wanted.versions.clone(),
        Some(carried) => carried.offered(),
        None => crate::build::versions(dir).map_err(at(dir))?,
    };
    versions.sort();
    versions.dedup();
    if versions.is_empty() {
        return Err(MakeError::Nothing(dir.to_owned()));
    }
    let mut list = List::default();
    for root in &key.roots {
        let name = root::file_name(root.version);
        list.signed(&name, root.bytes.clone(), root.signatures.clone());
    }
    let daemon = match &carried {
        Some(carried) => list.channel(dir, carried, key)?,
        None => None,
    };
    let mut releases = Vec::new();
    for version in &versions {
        let (release, digest) = list.release(dir, version, key)?;
        if let Some(carried) = &carried {
            must_be_offered(&carried.channel, version, &digest)?;
        }
        releases.push(release);
    }
    list.blobs(dir, &releases, daemon.as_ref())?;
    let index = Index {
        format: FORMAT,
        product: key.root.product.clone(),
        releases: versions,
        channel: wanted.channel.clone(),
        berth: daemon.map(|daemon| daemon.version),
        members: list.members,
    };
    let mut signed = berth_format::canonical(&index);
    signed.push(b'\n');
    let subject = Subject::Bundle {
        product: &index.product,
    };
    // The list has one signature; see `Head::verify`.
    let signature = key.sign(&signed, &subject)?.swap_remove(0);
    let parent = to.parent().filter(|p| !p.as_os_str().is_empty());
    let file = out::scratch(parent.unwrap_or(Path::new(".")), ".berth-")?;
    let total = index.members.iter().map(|m| m.size).sum();
    let mut task = progress.task("writing", total);
    {
        let counted = Counted {
            inner: BufWriter::with_capacity(1 << 20, file.as_file()),
            told: |n| task.add(n),
        };
        let mut counted = counted;
        bundle::write(&mut counted, &index, &signed, &signature, &list.contents)
            .and_then(|()| counted.flush())
            .map_err(at(to))?;
    }
    let size = file.as_file().metadata().map_err(at(to))?.len();
    task.end(&format!("{:.1} MB", crate::megabytes(size)));
    check(file.path(), key, wanted.now, progress)?;
    out::keep(file, to)?;
    Ok(Made { size, releases })
}

// What leaves this machine is what an appliance would take. The layers were unpacked when they
// were packed, so that their stored bytes suffice.
fn check(path: &Path, key: &Signer, now: Timestamp, progress: Progress) -> Result<(), MakeError> {
    struct Stored(crate::progress::Task);
    impl Sink for Stored {
        fn wants(&mut self, _: &Digest, _: &Layer) -> io::Result<bool> {
            Ok(false)
        }

        fn progress(&mut self, done: u64, total: u64) -> io::Result<()> {
            self.0.at(done, total);
            Ok(())
        }
    }
    let mut file = File::open(path).map_err(at(path))?;
    let head = read_head(&mut file)?;
    let mut sink = Stored(progress.task("checking", 0));
    let opened = bundle::open(&mut file, &head, &key.root)?;
    opened.believe_channel(&key.root, &Seen::default(), None, now, Expiry::Enforced)?;
    opened.walk(&mut file, &mut sink)?;
    sink.0.end("good");
    Ok(())
}

#[derive(Default)]
struct List {
    members: Vec<Member>,
    contents: Vec<Content>,
}

impl List {
    fn signed(&mut self, name: &str, bytes: Vec<u8>, signatures: Vec<Vec<u8>>) {
        self.bytes(name.to_owned(), bytes);
        for (n, signature) in (1..).zip(signatures) {
            self.bytes(signature::file_name(name, n), signature);
        }
    }

    fn bytes(&mut self, name: String, bytes: Vec<u8>) {
        self.members.push(Member {
            name,
            size: bytes.len() as u64,
            digest: Digest::of(&bytes),
        });
        self.contents.push(Content::Bytes(bytes));
    }

    fn release(
        &mut self,
        dir: &Path,
        version: &Version,
        key: &Signer,
    ) -> Result<(Release, Digest), MakeError> {
        let name = format!("release-{version}.json");
        let path = dir.join(&name);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => MakeError::NoRelease {
                version: version.clone(),
                dir: dir.to_owned(),
            },
            _ => at(&path)(error),
        })?;
        let signatures =
            signed::read_signatures(dir, &name).map_err(|(path, error)| at(&path)(error))?;
        let release = believe(&key.root, version, &bytes, &signatures)?;
        let digest = Digest::of(&bytes);
        self.signed(&name, bytes, signatures);
        Ok((release, digest))
    }

    // Configs and files by digest, layers in the order in which the releases first need them.
    fn blobs(
        &mut self,
        dir: &Path,
        releases: &[Release],
        daemon: Option<&Daemon>,
    ) -> Result<(), MakeError> {
        let (mut configs, mut files) = (BTreeMap::new(), BTreeMap::new());
        let mut known: BTreeMap<Digest, (&Layer, &Version)> = BTreeMap::new();
        let mut layers = Vec::new();
        for release in releases {
            for (diff_id, layer) in &release.layers {
                let (first, version) = *known.entry(*diff_id).or_insert((layer, &release.version));
                if first != layer {
                    return Err(MakeError::TwoWays {
                        diff_id: *diff_id,
                        first: version.clone(),
                        second: release.version.clone(),
                    });
                }
            }
            let images = release.images.values().flat_map(|i| i.platforms.values());
            for image in images {
                configs.insert(image.config.digest, image.config.size);
                layers.extend(&image.layers);
            }
            layers.extend(release.layers.keys());
            for entry in release.files.values().flat_map(|t| t.entries.values()) {
                if let FileEntry::File { digest, size, .. } = entry {
                    files.insert(*digest, *size);
                }
            }
        }
        for (digest, size) in configs {
            self.file(dir, config_file_name(&digest), size, digest)?;
        }
        for (digest, size) in files {
            self.file(dir, blob_file_name(&digest), size, digest)?;
        }
        if let Some(daemon) = daemon {
            self.programs(dir, daemon)?;
        }
        let mut seen = BTreeSet::new();
        for diff_id in layers {
            if let Some((layer, _)) = known.get(diff_id)
                && seen.insert(diff_id)
            {
                let name = Layer::file_name(diff_id);
                self.file(dir, name, layer.stored.size, layer.stored.digest)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        dir: &Path,
        name: String,
        size: u64,
        digest: Digest,
    ) -> Result<(), MakeError> {
        let path = dir.join(&name);
        let found = fs::metadata(&path).map_err(at(&path))?.len();
        if found != size {
            return Err(MakeError::Size {
                path,
                expected: size,
                found,
            });
        }
        self.members.push(Member { name, size, digest });
        self.contents.push(Content::File(path));
        Ok(())
    }
}

struct Counted<W, F> {
    inner: W,
    told: F,
}

impl<W: Write, F: FnMut(u64)> Write for Counted<W, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        (self.told)(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> MakeError {
    let path = path.to_owned();
    move |source| MakeError::Io {
        path: path.clone(),
        source,
    }
}
