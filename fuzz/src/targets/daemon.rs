//! `berth-VERSION.json`, signed by the release key, whatever is in it.
//!
//! - What is believed is of this product and version, has a program of a possible size, and is
//!   written and read as the same.
//! - Without a signature, or with one for another version, nothing is believed.

use berth_format::daemon::{MAX_BYTES, MAX_PROGRAM, believe};
use berth_format::signature::Subject;

use crate::keys;
use crate::targets::release::version_in;

pub fn check(data: &[u8]) {
    let (root, product, version) = (keys::root(1), keys::product(), version_in(data));
    let sign = |version| {
        let subject = Subject::Daemon {
            product: &product,
            version,
        };
        [keys::sign(1, data, &subject)]
    };
    let other = "9.9.9".parse().unwrap();
    assert!(believe(&root, &version, data, &[]).is_err(), "not signed");
    assert!(version == other || believe(&root, &version, data, &sign(&other)).is_err());
    match believe(&root, &version, data, &sign(&version)) {
        Ok(daemon) => {
            assert!(data.len() as u64 <= MAX_BYTES);
            assert_eq!((&daemon.product, &daemon.version), (&product, &version));
            assert!(!daemon.files.is_empty());
            assert!(
                daemon
                    .files
                    .values()
                    .all(|f| (1..=MAX_PROGRAM).contains(&f.size))
            );
            let bytes = daemon.to_bytes();
            let subject = Subject::Daemon {
                product: &product,
                version: &version,
            };
            let signatures = [keys::sign(1, &bytes, &subject)];
            assert_eq!(
                believe(&root, &version, &bytes, &signatures).unwrap(),
                daemon
            );
        }
        Err(error) => {
            let _ = error.refusal();
        }
    }
}
