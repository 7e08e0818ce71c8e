//! What a container mounts, and the trees of files that are laid down for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_format::Digest;
use berth_format::release::{FileEntry, FileTree};
use berth_format::service::{Mount, Service};

use super::{ResolveError, Resolver, Result, render, volume_name};
use crate::engine::spec::MountSpec;
use crate::host::{LaidContent, LaidEntry, LaidTree};

impl Resolver<'_> {
    pub(super) fn mounts(
        &self,
        service: &Service,
        place: &str,
    ) -> Result<(Vec<MountSpec>, Vec<LaidTree>)> {
        let (mut mounts, mut laid) = (Vec::new(), Vec::new());
        for mount in &service.mounts {
            mounts.push(match mount {
                Mount::Volume {
                    volume,
                    target,
                    read_only,
                    nocopy,
                } => MountSpec::Volume {
                    name: volume_name(&self.release.product, volume),
                    target: target.clone(),
                    read_only: *read_only,
                    nocopy: *nocopy,
                },
                Mount::Files { files, target } => {
                    let tree =
                        self.release.files.get(files).ok_or_else(|| {
                            ResolveError::Missing(format!("files {}", files.short()))
                        })?;
                    let tree = lay(tree, self.values, &self.place.mounts, place)?;
                    let single =
                        tree.entries.len() == 1 && tree.entries[0].path == Path::new("file");
                    let path = tree.dir.join(if single { "file" } else { "tree" });
                    laid.push(tree);
                    bind(path, target)
                }
                Mount::Value {
                    field,
                    target,
                    mode,
                    uid,
                    gid,
                } => {
                    let value = self
                        .values
                        .get(field)
                        .ok_or_else(|| ResolveError::Missing(format!("config field {field}")))?;
                    let entry = LaidEntry {
                        path: "file".into(),
                        mode: *mode,
                        uid: uid.unwrap_or(0),
                        gid: gid.unwrap_or(0),
                        content: LaidContent::Bytes(value.clone().into_bytes()),
                    };
                    let tree = named(&self.place.mounts, vec![entry]);
                    let path = tree.dir.join("file");
                    laid.push(tree);
                    bind(path, target)
                }
                Mount::Tmpfs { target, size, mode } => MountSpec::Tmpfs {
                    target: target.clone(),
                    size: *size,
                    mode: *mode,
                },
                Mount::Host {
                    path,
                    target,
                    read_only,
                    create,
                    propagation,
                    ..
                } => MountSpec::Bind {
                    path: render(path, self.values, place)?.into(),
                    target: target.clone(),
                    read_only: *read_only,
                    create: *create,
                    propagation: propagation.clone(),
                },
            });
        }
        Ok((mounts, laid))
    }
}

fn bind(path: PathBuf, target: &str) -> MountSpec {
    MountSpec::Bind {
        path,
        target: target.to_owned(),
        read_only: true,
        create: false,
        propagation: None,
    }
}

fn lay(
    tree: &FileTree,
    values: &BTreeMap<String, String>,
    mounts: &Path,
    place: &str,
) -> Result<LaidTree> {
    let mut entries = Vec::new();
    let single = tree.entries.keys().all(String::is_empty);
    if !single {
        let (path, mode, content) = ("tree".into(), 0o755, LaidContent::Dir);
        entries.push(LaidEntry {
            path,
            mode,
            uid: 0,
            gid: 0,
            content,
        });
    }
    for (path, entry) in &tree.entries {
        let (mode, content) = match entry {
            FileEntry::Dir { mode } => (*mode, LaidContent::Dir),
            FileEntry::File { mode, digest, .. } => (*mode, LaidContent::Shipped(*digest)),
            FileEntry::Rendered { mode, content } => (
                *mode,
                LaidContent::Bytes(render(content, values, place)?.into_bytes()),
            ),
        };
        let path = if single {
            "file".into()
        } else {
            Path::new("tree").join(path)
        };
        entries.push(LaidEntry {
            path,
            mode,
            uid: 0,
            gid: 0,
            content,
        });
    }
    Ok(named(mounts, entries))
}

/// The folder's name is the digest of all that is in it.
fn named(mounts: &Path, entries: Vec<LaidEntry>) -> LaidTree {
    let mut bytes = Vec::new();
    for entry in &entries {
        let digest = match &entry.content {
            LaidContent::Dir => None,
            LaidContent::Shipped(digest) => Some(*digest),
            LaidContent::Bytes(bytes) => Some(Digest::of(bytes)),
        };
        let line = (
            entry.path.to_string_lossy(),
            entry.mode,
            entry.uid,
            entry.gid,
            digest,
        );
        bytes.extend(berth_format::canonical(&line));
    }
    LaidTree {
        dir: mounts.join(Digest::of(&bytes).hex()),
        entries,
    }
}
