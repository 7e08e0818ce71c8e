//! Signature files, names of signature files, keys.
//!
//! - A signature that is believed is one that this very key made over these very bytes: its second
//!   to fourth line are, byte for byte, what the signer wrote.
//! - minisign's own reader believes it too.
//! - A name that is read is written the same.

use std::io::Cursor;
use std::sync::LazyLock;

use berth_format::key::PublicKey;
use berth_format::signature::{MAX_BYTES, MAX_FILES, Subject, file_name, open, read_file_name};

use crate::keys;

/// What all signatures of this target are over.
const MESSAGE: &[u8] = b"the bytes that are signed\n";

/// All that was ever signed, with the number of the key.
pub static SIGNED: LazyLock<Vec<(usize, Vec<u8>)>> = LazyLock::new(|| {
    let product = keys::product();
    let version = "1.4.0".parse().unwrap();
    let channel = "stable".parse().unwrap();
    let subjects = [
        Subject::Root {
            product: &product,
            version: 2,
        },
        Subject::Release {
            product: &product,
            version: &version,
        },
        Subject::Daemon {
            product: &product,
            version: &version,
        },
        Subject::Channel {
            product: &product,
            channel: &channel,
            serial: 7,
        },
        Subject::Bundle { product: &product },
    ];
    let mut signed = Vec::new();
    for key in [0, 1] {
        for subject in &subjects {
            signed.push((key, keys::sign(key, MESSAGE, subject)));
        }
    }
    signed
});

pub fn check(data: &[u8]) {
    names(data);
    // Key 2 is trusted, and has signed nothing.
    let trusted = [2, 0, 1].map(|key| keys::text(key).to_owned());
    let (index, comment) = match open(&trusted, MESSAGE, data) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = error.refusal("x");
            return;
        }
    };
    assert!(data.len() <= MAX_BYTES);
    let is_this =
        |(key, made): &(usize, Vec<u8>)| index == key + 1 && signed_part(made) == signed_part(data);
    assert!(SIGNED.iter().any(is_this), "believed, and never made");
    let text = std::str::from_utf8(data).unwrap();
    assert!(text.contains(&format!("\ntrusted comment: {comment}\n")));

    let key = minisign::PublicKey::from_base64(&trusted[index]).unwrap();
    let signature = minisign::SignatureBox::from_string(text).unwrap();
    minisign::verify(&key, &signature, Cursor::new(MESSAGE), true, false, false).unwrap();
}

// All but the untrusted comment.
fn signed_part(file: &[u8]) -> &[u8] {
    let end = file.iter().position(|byte| *byte == b'\n');
    &file[end.unwrap_or(0)..]
}

fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some((file, n)) = read_file_name(text) {
        assert!((1..=MAX_FILES).contains(&n));
        assert_eq!(file_name(file, n), text);
    }
    if let Ok(key) = PublicKey::from_minisign(text) {
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
    }
    let (product, channel) = (keys::product(), "stable".parse().unwrap());
    if let Some(serial) = Subject::serial(text, &product, &channel) {
        let subject = Subject::Channel {
            product: &product,
            channel: &channel,
            serial,
        };
        assert_eq!(subject.to_string(), text);
    }
}
