//! Keys that everybody can make: the same in every run, so that a committed input stays signed.
//! They are of the tests alone; no product trusts them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_format::Product;
use berth_format::root::{Keys, Role, Root};
use berth_format::signature::Subject;
use blake2::{Blake2b512, Digest as _};
use ed25519_compact::{KeyPair, Seed};
use jiff::Timestamp;
use std::sync::LazyLock;

/// So many keys there are.
pub const COUNT: usize = 8;

static PAIRS: LazyLock<Vec<KeyPair>> = LazyLock::new(|| {
    let pair = |n| KeyPair::from_seed(Seed::new([n; Seed::BYTES]));
    (1..).take(COUNT).map(pair).collect()
});

static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = |(n, pair): (usize, &KeyPair)| STANDARD.encode(line(*b"Ed", n, pair.pk.as_ref()));
    PAIRS.iter().enumerate().map(text).collect()
});

/// The public key in minisign's form.
pub fn text(key: usize) -> &'static str {
    &TEXTS[key]
}

/// minisign's signature file, under a comment that says what it is for.
pub fn sign(key: usize, bytes: &[u8], subject: &Subject<'_>) -> Vec<u8> {
    sign_as(key, bytes, &subject.to_string())
}

/// minisign's signature file, under any comment.
pub fn sign_as(key: usize, bytes: &[u8], comment: &str) -> Vec<u8> {
    let secret = &PAIRS[key].sk;
    let signature = secret.sign(Blake2b512::digest(bytes), None);
    let whole = [signature.as_ref(), comment.as_bytes()].concat();
    let whole = secret.sign(whole, None);
    let line = STANDARD.encode(line(*b"ED", key, signature.as_ref()));
    let whole = STANDARD.encode(whole.as_ref());
    format!("untrusted comment: fuzz\n{line}\ntrusted comment: {comment}\n{whole}\n").into_bytes()
}

fn line(algorithm: [u8; 2], key: usize, bytes: &[u8]) -> Vec<u8> {
    let mut line = algorithm.to_vec();
    line.extend_from_slice(&(key as u64).to_le_bytes());
    line.extend_from_slice(bytes);
    line
}

/// The product of all inputs.
pub fn product() -> Product {
    "lantern".parse().unwrap()
}

/// When all checks are done.
pub fn now() -> Timestamp {
    "2026-03-10T00:00:00Z".parse().unwrap()
}

/// Keys of a role.
pub fn role(threshold: u32, keys: &[usize]) -> Keys {
    Keys {
        threshold,
        keys: keys.iter().map(|key| text(*key).to_owned()).collect(),
    }
}

/// A root in which key 0 signs roots, 1 releases, 2 channels.
pub fn root(version: u32) -> Root {
    Root {
        format: 1,
        product: product(),
        version,
        expires: "2036-01-01T00:00:00Z".parse().unwrap(),
        roles: [
            (Role::Root, role(1, &[0])),
            (Role::Release, role(1, &[1])),
            (Role::Channel, role(1, &[2])),
        ]
        .into(),
    }
}

/// A root's bytes and signatures.
pub fn signed_root(root: &Root, signers: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = berth_format::canonical(root);
    let subject = Subject::Root {
        product: &root.product,
        version: root.version,
    };
    let signatures = signers.iter().map(|key| sign(*key, &bytes, &subject));
    let signatures = signatures.collect();
    (bytes, signatures)
}
