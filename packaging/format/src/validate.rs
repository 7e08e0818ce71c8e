//! What holds in every release that passed [`check`], so that the daemon need not ask again.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::image::{Blob, PlatformImage, oci_manifest};
use crate::name::Name;
use crate::release::{FORMAT, FileEntry, MAX_FILE, MigrationPhase, Need, Release};
use crate::service::{Mount, NetworkMode, Service};
use crate::template::Template;

/// File systems that a volume's driver may mount: none of them shows a path or a disk of the host.
const FILE_SYSTEMS: &[&str] = &["tmpfs", "nfs", "nfs4", "cifs", "smb3", "ceph"];

/// Everything that is wrong with a release, one sentence each; empty when nothing is.
pub fn check(release: &Release) -> Vec<String> {
    let mut problems = Vec::new();
    if release.format != FORMAT {
        problems.push(format!("format {}, expected {FORMAT}", release.format));
        return problems;
    }
    for (name, service) in &release.services {
        check_service(release, &format!("service {name}"), service, &mut problems);
    }
    let mut fields = BTreeSet::new();
    for field in &release.config {
        if !fields.insert(field.name.as_str()) {
            problems.push(format!("config field {}: stands twice", field.name));
        }
    }
    let mut names = BTreeSet::new();
    for migration in &release.migrations {
        let place = format!("migration {}", migration.name);
        if !names.insert(&migration.name) {
            problems.push(format!("{place}: its name stands twice"));
        }
        check_service(release, &place, &migration.service, &mut problems);
        // After a later failure the old version lives on, on data that no snapshot gives back.
        if migration.phase == MigrationPhase::Before && !migration.reversible {
            problems.push(format!(
                "{place}: runs before the snapshot, and is not reversible"
            ));
        }
        if let Some(service) = clash(release, &migration.name) {
            problems.push(format!(
                "{place}: its container is called like that of {service}"
            ));
        }
        if let Some(service) = both_needed(&migration.needs) {
            problems.push(format!("{place}: needs {service} and {service}@old"));
        }
        for need in migration.needs.iter().filter(|need| !need.old) {
            known(release, &place, "needs", &need.service, &mut problems);
        }
    }
    for (name, volume) in &release.volumes {
        if let Some(option) = reaches_host(&volume.driver_opts) {
            problems.push(format!("volume {name}: {option} reaches the host"));
        }
    }
    if let Err(cycle) = start_order(release) {
        problems.push(format!("depends_on goes round: {cycle}"));
    }
    for (id, layer) in &release.layers {
        if !layer.is_consistent() {
            problems.push(format!("layer {}: sizes and frames do not fit", id.short()));
        }
    }
    for (name, image) in &release.images {
        for (platform, image) in &image.platforms {
            for layer in image
                .layers
                .iter()
                .filter(|l| !release.layers.contains_key(l))
            {
                problems.push(format!(
                    "image {name} {platform}: no layer {}",
                    layer.short()
                ));
            }
            if manifest(release, image).is_some_and(|digest| digest != image.manifest) {
                problems.push(format!("image {name} {platform}: not its manifest"));
            }
        }
    }
    for (digest, tree) in &release.files {
        if tree.digest() != *digest {
            problems.push(format!("files {}: not their digest", digest.short()));
        }
        if let Some(path) = tree
            .entries
            .keys()
            .find(|path| !is_inside(path, tree.entries.len()))
        {
            problems.push(format!("files {}: path {path:?}", digest.short()));
        }
        if let Some((path, _)) = tree
            .entries
            .iter()
            .find(|(_, e)| matches!(e, FileEntry::File { size, .. } if *size > MAX_FILE))
        {
            problems.push(format!(
                "files {}: {path:?} is larger than {MAX_FILE} bytes",
                digest.short()
            ));
        }
        if tree.entries.values().any(|e| mode(e) & !0o777 != 0) {
            problems.push(format!("files {}: a mode beyond 0777", digest.short()));
        }
    }
    if let Some(probe) = &release.upgrade.drained {
        known(
            release,
            "upgrade.drained",
            "asks",
            &probe.service,
            &mut problems,
        );
    }
    problems
}

/// The service whose container would have the name of a migration's.
pub fn clash<'a>(release: &'a Release, migration: &Name) -> Option<&'a Name> {
    let name = format!("migrate-{migration}");
    let found = release.services.get_key_value(name.as_str());
    found.map(|(name, _)| name)
}

/// A service that is needed of the new release and of the old one: both would be the only ones to
/// have their volumes and their name.
pub fn both_needed(needs: &[Need]) -> Option<&Name> {
    let is_old = |service: &Name| needs.iter().any(|n| n.old && n.service == *service);
    let mut new = needs.iter().filter(|n| !n.old).map(|n| &n.service);
    new.find(|service| is_old(service))
}

/// Services in waves: each after all that it depends on. The error names a service on a cycle.
pub fn start_order(release: &Release) -> Result<Vec<Vec<Name>>, Name> {
    let mut waves = Vec::new();
    let mut placed = BTreeSet::new();
    while placed.len() < release.services.len() {
        let wave: Vec<Name> = release
            .services
            .iter()
            .filter(|(name, service)| {
                !placed.contains(*name)
                    && dependencies(service)
                        .all(|d| placed.contains(d) || !release.services.contains_key(d))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if wave.is_empty() {
            // Not empty: fewer are placed than there are.
            let stuck = release.services.keys().find(|name| !placed.contains(*name));
            return stuck.map_or(Ok(waves), |name| Err(name.clone()));
        }
        placed.extend(wave.iter().cloned());
        waves.push(wave);
    }
    Ok(waves)
}

/// The option by which a volume would show a path or a disk of the host, unseen: a grant that
/// nobody gave. Docker hands `type`, `device` and `o` to mount(2), where `bind` outdoes the type.
pub fn reaches_host(options: &BTreeMap<String, Template>) -> Option<&'static str> {
    let of = |key: &str| options.get(key).map(Template::source);
    let is_known = |kind: &str| FILE_SYSTEMS.contains(&kind);
    if of("type").is_some_and(|kind| !is_known(kind)) {
        return Some("type");
    }
    // A field may be the value of a word, never the word.
    let moves = |word: &str| {
        let name = word.split('=').next().unwrap_or_default().trim();
        matches!(name, "bind" | "rbind" | "move" | "remount") || name.contains('$')
    };
    of("o")
        .is_some_and(|o| o.split(',').any(moves))
        .then_some("o")
}

/// What must be there before a service starts: `depends_on`, and whose network it shares.
pub fn dependencies(service: &Service) -> impl Iterator<Item = &Name> {
    let shared = match &service.network {
        NetworkMode::Service(name) => Some(name),
        _ => None,
    };
    service.depends_on.keys().chain(shared)
}

fn check_service(release: &Release, place: &str, service: &Service, problems: &mut Vec<String>) {
    if !release.images.contains_key(&service.image) {
        problems.push(format!("{place}: no image {:?}", service.image));
    }
    for (other, dependency) in &service.depends_on {
        if dependency.required {
            known(release, place, "depends on", other, problems);
        }
    }
    match &service.network {
        NetworkMode::Networks(networks) => {
            for name in networks
                .keys()
                .filter(|n| !release.networks.contains_key(*n))
            {
                problems.push(format!("{place}: no network {name}"));
            }
        }
        NetworkMode::Service(other) => {
            known(release, place, "shares the network of", other, problems);
        }
        NetworkMode::None | NetworkMode::Host => {}
    }
    if let Some(probe) = &service.probe {
        known(release, place, "probes", &probe.service, problems);
    }
    let mut targets = BTreeSet::new();
    for mount in &service.mounts {
        let target = match mount {
            Mount::Volume { volume, target, .. } => {
                if !release.volumes.contains_key(volume) {
                    problems.push(format!("{place}: no volume {volume}"));
                }
                target
            }
            Mount::Files { files, target } => {
                if !release.files.contains_key(files) {
                    problems.push(format!("{place}: no files {}", files.short()));
                }
                target
            }
            Mount::Value { field, target, .. } => {
                if !release.config.iter().any(|f| f.name.as_str() == field) {
                    problems.push(format!("{place}: no config field {field}"));
                }
                target
            }
            Mount::Tmpfs { target, .. } | Mount::Host { target, .. } => target,
        };
        if !target.starts_with('/') || !targets.insert(target) {
            problems.push(format!(
                "{place}: mount at {target:?}, expected an absolute path, each once"
            ));
        }
    }
}

fn known(release: &Release, place: &str, verb: &str, name: &Name, problems: &mut Vec<String>) {
    if !release.services.contains_key(name) {
        problems.push(format!("{place}: {verb} {name}, which is no service"));
    }
}

fn is_inside(path: &str, entries: usize) -> bool {
    if path.is_empty() {
        return entries == 1;
    }
    path.len() <= 4096
        && !path.contains('\0')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

// `None` where a layer is missing, which is said elsewhere.
fn manifest(release: &Release, image: &PlatformImage) -> Option<Digest> {
    let layers: Option<Vec<_>> = image
        .layers
        .iter()
        .map(|id| {
            release.layers.get(id).map(|layer| Blob {
                digest: *id,
                size: layer.size,
            })
        })
        .collect();
    Some(Digest::of(&oci_manifest(image.config, &layers?)))
}

fn mode(entry: &FileEntry) -> u32 {
    match entry {
        FileEntry::Dir { mode }
        | FileEntry::File { mode, .. }
        | FileEntry::Rendered { mode, .. } => *mode,
    }
}
