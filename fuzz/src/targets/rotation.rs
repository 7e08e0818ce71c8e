//! Bytes become a row of roots, with any keys, thresholds and signers, and a verdict.
//!
//! - The walk ends where a reader that counts on its fingers ends it.
//! - Each root on the way is kept before the next is looked at, in order, and no other.

use berth_format::root::{End, Role, Root, RootFile};
use berth_format::signature::Subject;

use crate::bytes::Bytes;
use crate::keys::{self, COUNT};

const ALL: [usize; COUNT] = [0, 1, 2, 3, 4, 5, 6, 7];

/// What is known of a root without looking at its bytes.
struct Known {
    version: u32,
    keys: Vec<usize>,
    threshold: usize,
    signers: Vec<usize>,
    /// It is what it was signed as, and can be read.
    is_good: bool,
}

pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut known = Vec::new();
    let mut files = Vec::new();
    for step in 1..=1 + bytes.below(6) {
        let (one, file) = one(&mut bytes, u32::from(step));
        known.push(one);
        files.push(file);
    }
    // The first is confirmed by its fingerprint, and must sign itself.
    let (first, rest) = files.split_first().unwrap();
    let believed = Root::first(&first.bytes, &first.signatures);
    let is_first = known[0].is_good && known[0].version == 1 && enough(&known[0], &known[0]);
    assert_eq!(believed.is_ok(), is_first);
    let Ok(root) = believed else { return };

    let mut expected = 0;
    let end = loop {
        let wanted = known[expected].version + 1;
        let next = known.iter().skip(1).position(|k| k.version == wanted);
        let Some(next) = next.map(|at| at + 1) else {
            break true;
        };
        let is_next = known[next].is_good
            && enough(&known[expected], &known[next])
            && enough(&known[next], &known[next]);
        if !is_next {
            break false;
        }
        expected = next;
    };
    let mut kept = vec![1];
    let (root, found) = root.follow(rest, |root, file| {
        assert_eq!(root.version, file.version);
        kept.push(root.version);
        Ok::<_, ()>(())
    });
    assert_eq!(root.version, known[expected].version);
    assert_eq!(kept, (1..=root.version).collect::<Vec<_>>());
    assert_eq!(matches!(found, End::Newest), end, "{found:?}");
    if let End::Refused(error) = found {
        let _ = error.refusal();
    }
}

/// Whether enough root keys of `root` have signed `signed`.
fn enough(root: &Known, signed: &Known) -> bool {
    let good = root.keys.iter().filter(|key| signed.signers.contains(key));
    good.count() >= root.threshold
}

fn one(bytes: &mut Bytes<'_>, step: u32) -> (Known, RootFile) {
    let role_keys = bytes.some(ALL);
    let mut signers = bytes.some(ALL);
    let threshold = u32::from(bytes.below(5));
    let oddity = bytes.byte();
    // A name that is skipped or stands twice is rare, as is all that follows.
    let version = match oddity {
        0..4 => step + 1,
        4..8 => step.saturating_sub(1).max(1),
        _ => step,
    };
    let mut root = keys::root(version);
    root.roles
        .insert(Role::Root, keys::role(threshold, &role_keys));
    let mut is_good =
        !role_keys.is_empty() && (1..=role_keys.len()).contains(&(threshold as usize));
    match oddity {
        8..12 => root.version += 1,
        12..16 => root.product = "other".parse().unwrap(),
        16..20 => root.format = 2,
        20..24 => drop(root.roles.remove(&Role::Release)),
        _ => {}
    }
    is_good &= !(8..24).contains(&oddity);
    let content = berth_format::canonical(&root);
    let product = keys::product();
    let subject = Subject::Root {
        product: &product,
        version,
    };
    let mut signatures: Vec<_> = signers
        .iter()
        .map(|key| keys::sign(*key, &content, &subject))
        .collect();
    match oddity {
        // What is signed as something else counts as nothing.
        24..28 => {
            let other = Subject::Bundle { product: &product };
            signatures = signers
                .iter()
                .map(|key| keys::sign(*key, &content, &other))
                .collect();
            signers.clear();
        }
        // A spoiled one, and one that stands twice, change nothing.
        28..32 => signatures.insert(0, b"x".to_vec()),
        32..36 => signatures.extend(signatures.first().cloned()),
        _ => {}
    }
    let known = Known {
        version,
        keys: role_keys,
        threshold: threshold as usize,
        signers,
        is_good,
    };
    let file = RootFile {
        version,
        bytes: content,
        signatures,
    };
    (known, file)
}
