//! Roots, as bytes that nobody signed, that the right key signed, and that follow another root.
//!
//! - A root that is read is sane: keys are keys and stand once, thresholds can be reached.
//! - It is written and read as the same.
//! - Without a signature none is believed; with one, only as the version that was signed for.

use std::collections::BTreeSet;

use berth_format::canonical;
use berth_format::key::PublicKey;
use berth_format::root::{MAX_BYTES, MAX_KEYS, Role, Root, RootError};
use berth_format::signature::{MAX_FILES, Subject};

use crate::keys;

pub fn check(data: &[u8]) {
    let parsed = Root::parse(data);
    match &parsed {
        Ok(root) => {
            assert!(data.len() as u64 <= MAX_BYTES);
            sound(root);
            let bytes = canonical(root);
            assert_eq!(Root::parse(&bytes).unwrap(), *root);
        }
        Err(error) => {
            let _ = error.refusal();
        }
    }
    let product = keys::product();
    let signed = |version| {
        let subject = Subject::Root {
            product: &product,
            version,
        };
        vec![keys::sign(0, data, &subject)]
    };
    assert!(Root::first(data, &[]).is_err(), "nobody signed it");
    believed(data, 1, Root::first(data, &signed(1)));
    let before = keys::root(1);
    assert!(before.next(data, &[]).is_err(), "nobody signed it");
    assert!(
        before.next(data, &signed(1)).is_err(),
        "signed as version 1"
    );
    believed(data, 2, before.next(data, &signed(2)));
}

fn believed(data: &[u8], version: u32, root: Result<Root, RootError>) {
    let Ok(root) = root else { return };
    assert_eq!(Root::parse(data).unwrap(), root);
    assert_eq!((&root.product, root.version), (&keys::product(), version));
    assert_eq!(root.threshold(Role::Root), Some(1), "one has signed");
    let signer = PublicKey::from_minisign(keys::text(0)).unwrap();
    assert!(root.roles[&Role::Root].public().contains(&signer));
}

fn sound(root: &Root) {
    assert_eq!(root.format, 1);
    assert!(root.roles.contains_key(&Role::Root) && root.roles.contains_key(&Role::Release));
    for keys in root.roles.values() {
        let unique: BTreeSet<_> = keys
            .keys
            .iter()
            .map(|text| PublicKey::from_minisign(text).unwrap())
            .collect();
        assert_eq!(unique.len(), keys.keys.len());
        assert!(keys.keys.len() <= MAX_KEYS);
        let threshold = usize::try_from(keys.threshold).unwrap();
        assert!((1..=MAX_FILES.min(unique.len())).contains(&threshold));
    }
}
