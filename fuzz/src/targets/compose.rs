//! A vendor's folder: `compose.yaml`, `.env` and one file more, beside a berth.yaml that is given.
//!
//! The input is these three texts with a NUL between them.
//!
//! - Either there are problems, each with a file and a reason, or a release that an appliance takes,
//!   but for the content of its images, which nobody looked at yet.
//! - The same folder gives the same release.
//! - No file outside of the folder becomes a part of it.

use std::path::Path;

use berth_format::{Release, validate};
use berth_publish::compose::{Resolved, resolve};

const BERTH_YAML: &str = "\
product: lantern
version: 1.4.0
config:
  - {name: EXTERNAL_URL, type: url, label: Address, default: 'https://a.example'}
  - {name: DB_PASSWORD, type: secret, label: Password, generate: 32}
variables: {TAG: '7'}
profiles: [web]
";

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("berth.yaml", BERTH_YAML);
    for name in ["compose.yaml", ".env", "other.yaml"] {
        write(name, parts.next().unwrap_or_default());
    }
    match resolve(folder.path()) {
        Ok(resolved) => {
            sound(folder.path(), &resolved);
            let again = resolve(folder.path()).unwrap();
            assert_eq!(resolved.release, again.release);
            let bytes = resolved.release.to_bytes();
            let read: Release = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(read, resolved.release);
        }
        Err(refused) => {
            assert!(!refused.problems.is_empty(), "refused without a reason");
            for problem in &refused.problems {
                assert!(
                    !problem.file.is_empty() && !problem.what.is_empty(),
                    "{problem}"
                );
            }
        }
    }
}

fn sound(folder: &Path, resolved: &Resolved) {
    assert_eq!(validate::check(&resolved.release), Vec::<String>::new());
    let folder = folder.canonicalize().unwrap();
    for path in resolved.blobs.values() {
        let real = path.canonicalize().unwrap();
        assert!(real.starts_with(&folder), "{}", real.display());
    }
}
