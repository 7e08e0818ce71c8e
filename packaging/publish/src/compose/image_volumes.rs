//! Volumes that images ask for (`VOLUME`), known only once the images are read.

use std::collections::BTreeMap;

use berth_format::Name;
use berth_format::release::Release;
use berth_format::service::{Mount, Service, Volume};

use crate::compose::mounts::target_path;

/// Gives a name to each volume of an image that nothing is mounted over: an anonymous one would
/// be new in each generation, and its data lost.
///
/// `key` is the image's in the release, `paths` are its config's `Volumes`, `inherits` is
/// [`super::Resolved::inherits`]: a migration that inherits from a service sees its data. The
/// volumes of other migrations are their own, and never snapshotted.
pub fn add_image_volumes(
    release: &mut Release,
    inherits: &BTreeMap<Name, Name>,
    key: &str,
    paths: &[String],
) {
    let mut made = Vec::new();
    for (name, service) in release.services.iter_mut().filter(|(_, s)| s.image == key) {
        for path in paths {
            made.extend(cover(service, name, path).map(|volume| (volume, true)));
        }
    }
    for migration in release
        .migrations
        .iter_mut()
        .filter(|m| m.service.image == key)
    {
        let service = inherits.get(&migration.name);
        let owner = service.unwrap_or(&migration.name).clone();
        for path in paths {
            let volume = cover(&mut migration.service, &owner, path);
            made.extend(volume.map(|volume| (volume, service.is_some())));
        }
    }
    for (name, snapshot) in made {
        release.volumes.entry(name).or_insert_with(|| Volume {
            snapshot,
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
        });
    }
}

fn cover(service: &mut Service, owner: &Name, path: &str) -> Option<Name> {
    let path = path.trim_end_matches('/');
    if !path.starts_with('/') || service.mounts.iter().any(|m| target_path(m) == path) {
        return None;
    }
    let volume = name(owner, path);
    service.mounts.push(Mount::Volume {
        volume: volume.clone(),
        target: path.to_owned(),
        read_only: false,
        nocopy: false,
    });
    Some(volume)
}

/// `<owner>-<path>`, as short as a name must be.
pub fn name(owner: &Name, path: &str) -> Name {
    let slug: String = path
        .trim_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let full = format!("{owner}-{slug}");
    let short = || {
        let digest = berth_format::Digest::of(full.as_bytes()).short();
        let head: String = full.chars().take(50).collect();
        format!("{head}-{digest}")
    };
    full.parse()
        .or_else(|_| short().parse())
        .unwrap_or_else(|_| owner.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_however_long_the_path() {
        let owner: Name = "db".parse().unwrap();
        assert_eq!(name(&owner, "/var/lib/data").as_str(), "db-var-lib-data");
        let long = "/x".repeat(80);
        assert!(name(&owner, &long).as_str().len() <= 63);
        assert_ne!(name(&owner, &long), name(&owner, &format!("{long}/y")));
    }
}
