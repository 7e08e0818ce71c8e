//! `release-VERSION.json`, signed by the release key, whatever is in it.
//!
//! - What is believed is of this product and version and is valid; so its services have an order,
//!   its layers add up, and none of its paths leads out.
//! - It is written and read as the same.
//! - Its form takes any text without a panic, and what it takes it takes again.

use std::collections::BTreeMap;

use berth_format::bundle::believe;
use berth_format::config;
use berth_format::layer::FRAME_BYTES;
use berth_format::release::{FileEntry, MAX_FILE, Release};
use berth_format::signature::Subject;
use berth_format::validate;
use semver::Version;

use crate::keys;

pub fn check(data: &[u8]) {
    let (root, product, version) = (keys::root(1), keys::product(), version_in(data));
    let sign = |bytes: &[u8], version| {
        let subject = Subject::Release {
            product: &product,
            version,
        };
        [keys::sign(1, bytes, &subject)]
    };
    let other = "9.9.9".parse().unwrap();
    assert!(believe(&root, &version, data, &[]).is_err(), "not signed");
    assert!(version == other || believe(&root, &version, data, &sign(data, &other)).is_err());
    match believe(&root, &version, data, &sign(data, &version)) {
        Ok(release) => {
            assert_eq!((&release.product, &release.version), (&product, &version));
            sound(&release);
            form(&release);
            let bytes = release.to_bytes();
            let again = believe(&root, &version, &bytes, &sign(&bytes, &version)).unwrap();
            assert_eq!((&again, again.to_bytes()), (&release, bytes));
        }
        Err(error) => {
            let _ = error.refusal();
        }
    }
}

/// The version that a JSON file says it is of; any if it says none.
pub fn version_in(data: &[u8]) -> Version {
    let value: Option<serde_json::Value> = serde_json::from_slice(data).ok();
    let version = value.as_ref().and_then(|value| value["version"].as_str());
    let version = version.and_then(|text| text.parse().ok());
    version.unwrap_or(Version::new(1, 0, 0))
}

fn sound(release: &Release) {
    assert_eq!(validate::check(release), Vec::<String>::new());
    let waves = validate::start_order(release).unwrap();
    assert_eq!(waves.iter().flatten().count(), release.services.len());
    for layer in release.layers.values() {
        assert!(layer.is_consistent());
        let content = (0..layer.frames.len()).map(|n| layer.frame_content(n));
        assert!(content.clone().all(|n| (1..=FRAME_BYTES).contains(&n)));
        assert_eq!(content.map(|n| n as u64).sum::<u64>(), layer.size);
    }
    for (digest, tree) in &release.files {
        assert_eq!(tree.digest(), *digest);
        for (path, entry) in &tree.entries {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
            if let FileEntry::File { size, .. } = entry {
                assert!(*size <= MAX_FILE);
            }
        }
    }
}

fn form(release: &Release) {
    for text in [
        "",
        "yes",
        "-1",
        "https://[::1]:0/\u{301}",
        release.title.as_str(),
    ] {
        let given: BTreeMap<_, _> = release
            .config
            .iter()
            .map(|field| (field.name.to_string(), text.to_owned()))
            .collect();
        let (values, _) = config::resolve(&release.config, &given);
        let (again, wrong) = config::resolve(&release.config, &values);
        let is_wrong = wrong.iter().any(|error| !error.is_missing());
        assert!(!is_wrong, "the normal form of a value fits: {wrong:?}");
        for (name, value) in &values {
            assert_eq!(again.get(name), Some(value), "and is normal");
        }
        for field in &release.config {
            if let Ok(normal) = field.check(text) {
                assert_eq!(field.check(&normal).unwrap(), normal);
            }
        }
    }
}
