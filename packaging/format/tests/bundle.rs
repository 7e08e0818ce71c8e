//! Bundles as a vendor writes them, and as somebody else changes them.

mod vendor;

use std::io::{self, Cursor};
use std::ops::Range;

use berth_format::bundle::{BundleError, Sink, open, read_head};
use berth_format::config::Field;
use berth_format::image::{Blob, oci_manifest};
use berth_format::layer::{FRAME_BYTES, Layer};
use berth_format::root::Root;
use berth_format::signature::{SignatureError, Subject};
use berth_format::{Code, Digest};
use vendor::{BLOCK, Parts, Raw, Record, Vendor, config, find, product, rewrite, sign, write};

#[test]
fn a_good_bundle_hands_over_every_piece_once() {
    let vendor = Vendor::new();
    let long: Vec<u8> = (0..2 * FRAME_BYTES + 1000)
        .map(|i| u8::try_from(i / 9 % 251).unwrap())
        .collect();
    let mut parts = Parts::default();
    parts.add("1.0.0", &[b"base", &long]);
    parts.add("1.1.0", &[b"base", b"small"]);
    let mut bytes = vendor.bundle(&parts);
    assert_eq!(vendor.verify(&bytes).unwrap(), parts.releases);

    let got = vendor.record(&bytes, Record::default()).unwrap();
    let blobs = parts.configs.into_iter().chain(parts.files).collect();
    assert_eq!(got.blobs, blobs);
    for tar in [&b"base"[..], &long, b"small"] {
        assert!(got.layers[&Digest::of(tar)] == tar);
    }
    assert_eq!(got.finished.len(), 3);
    assert!(got.total > 0 && got.done == got.total);

    // A known layer is not handed over, and still checked as it is stored.
    let known = || Record {
        known: vec![Digest::of(&long), Digest::of(b"base")],
        ..Record::default()
    };
    let got = vendor.record(&bytes, known()).unwrap();
    assert_eq!((got.layers.len(), got.finished.len()), (1, 1));
    assert_eq!(got.done, got.total);
    let at = find(&bytes, &Layer::file_name(&Digest::of(&long))).end - 1;
    bytes[at] ^= 1;
    let error = vendor.record(&bytes, known()).unwrap_err();
    assert!(matches!(error, BundleError::Frame { .. }), "{error}");
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused_or_changes_nothing() {
    let vendor = Vendor::new();
    let mut parts = Parts::default();
    parts.add("1.0.0", &[b"the base layer", b"the program"]);
    let good = vendor.bundle(&parts);
    let expected = vendor.record(&good, Record::default()).unwrap();
    let releases = vendor.verify(&good).unwrap();
    // Of the list's signature: minisign's untrusted comment, and bits of base64 without meaning.
    let signature = find(&good, "bundle.json.minisig");
    let try_all = |range: Range<usize>| {
        let mut bytes = good.clone();
        for at in range {
            bytes[at] ^= 1 << (at % 8);
            match vendor.record(&bytes, Record::default()) {
                Err(error) => {
                    let refusal = error.refusal();
                    assert_ne!(refusal.code, Code::Internal, "{at}: {refusal}");
                }
                Ok(got) => {
                    assert!(signature.contains(&at), "byte {at} passes");
                    assert_eq!(got, expected);
                    assert_eq!(vendor.verify(&bytes).unwrap(), releases);
                }
            }
            bytes[at] = good[at];
        }
    };
    let half = good.len() / 2;
    std::thread::scope(|scope| {
        scope.spawn(|| try_all(0..half));
        scope.spawn(|| try_all(half..good.len()));
    });
}

#[test]
fn truncated_anywhere_is_refused() {
    let vendor = Vendor::new();
    let good = vendor.bundle(&Parts::small());
    for end in (0..good.len()).step_by(7).chain([good.len() - 1]) {
        let error = vendor.verify(&good[..end]).unwrap_err();
        let code = error.refusal().code;
        assert_eq!(code, Code::BundleTruncated, "{end}: {error}");
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let vendor = Vendor::new();
    let good = vendor.bundle(&Parts::small());
    for more in [vec![0], vec![0; 512], vec![0; 10240], good.clone()] {
        let bytes = [good.clone(), more].concat();
        assert_eq!(vendor.code(&bytes), Code::BundleTrailing);
    }
}

#[test]
fn something_else_is_not_a_bundle() {
    let vendor = Vendor::new();
    for bytes in [[b'P'; 2048], [0; 2048], [0x1f; 2048]] {
        assert_eq!(vendor.code(&bytes), Code::BundleNotABundle);
    }
}

#[test]
fn the_list_must_be_signed_by_a_trusted_key_in_the_new_form_as_a_list() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let members = vendor.members(&parts);
    let index = vendor.index(&parts, &members);
    let signed = berth_format::canonical(&index);
    let with = |signature: &[u8]| vendor.code(&write(&signed, signature, &members));

    let good = vendor.bundle(&parts);
    let signature = find(&good, "bundle.json.minisig");
    let end = signature.start + signature.len().next_multiple_of(BLOCK);
    let unsigned = [&good[..signature.start - BLOCK], &good[end..]].concat();
    assert_eq!(vendor.code(&unsigned), Code::SignatureMissing);

    let mine = vendor.sign_list(&signed);
    assert_eq!(with(b""), Code::SignatureInvalid);
    let stranger = Vendor::new().sign_list(&signed);
    assert_eq!(with(&stranger), Code::SignatureInvalid);
    let elsewhere = vendor.sign_list(b"another list");
    assert_eq!(with(&elsewhere), Code::SignatureInvalid);
    let legacy = String::from_utf8(mine).unwrap();
    let legacy = legacy.replacen("\nRU", "\nRW", 1);
    assert_eq!(with(legacy.as_bytes()), Code::SignatureLegacy);
    let as_release = vendor.sign_release("1.0.0", &signed);
    assert_eq!(with(&as_release), Code::SignatureMismatch);
    let other = "other".parse().unwrap();
    let other = sign(&vendor.pair, &signed, &Subject::Bundle { product: &other });
    assert_eq!(with(&other), Code::SignatureMismatch);
}

#[test]
fn each_release_must_be_signed_as_itself() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let good = vendor.members(&parts);
    let place = |name: &str| good.iter().position(|(n, _)| n == name).unwrap();
    let old = place("release-1.0.0.json");
    let new = place("release-1.1.0.json");
    let check = |change: &dyn Fn(&mut Vec<Raw>)| {
        let mut members = good.clone();
        change(&mut members);
        let bytes = vendor.write(&vendor.index(&parts, &members), &members);
        vendor.verify(&bytes).unwrap_err()
    };
    let signature = |error: BundleError| match error {
        BundleError::ReleaseSignature { source, .. } => source,
        other => panic!("{other}"),
    };

    let error = check(&|m| m[new + 1].1.clone_from(&good[old + 1].1));
    assert_eq!(signature(error), SignatureError::Invalid);
    let error = check(&|m| m[new + 1].1 = vendor.sign_release("1.0.0", &good[new].1));
    assert!(matches!(signature(error), SignatureError::Subject { .. }));
    let error = check(&|m| m[new + 1].1 = Vendor::new().sign_release("1.1.0", &good[new].1));
    assert_eq!(signature(error), SignatureError::Invalid);
    // An older release under the name of a newer one.
    let error = check(&|m| {
        m[new].1.clone_from(&good[old].1);
        m[new + 1].1 = vendor.sign_release("1.1.0", &good[old].1);
    });
    assert!(matches!(error, BundleError::Manifest { .. }), "{error}");
    let error = check(&|m| drop(m.remove(new + 1)));
    assert_eq!(error.refusal().code, Code::BundleMember);
}

// Each in a file under the good list, and in a list that is signed again: by a vendor who is
// mistaken, or who has lost the key.
#[test]
fn members_missing_extra_repeated_swapped_or_renamed_are_refused() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let good = vendor.members(&parts);
    let first = good
        .iter()
        .position(|m| m.0.starts_with("configs"))
        .unwrap();
    let last = good.len() - 1;
    let hex = "0".repeat(64);
    let mut cases: Vec<(&str, Vec<Raw>)> = Vec::new();
    let mut case = |what, change: &dyn Fn(&mut Vec<Raw>)| {
        let mut members = good.clone();
        change(&mut members);
        cases.push((what, members));
    };
    for (n, member) in good.iter().enumerate().skip(2) {
        case("missing", &|m| drop(m.remove(n)));
        case("repeated", &|m| m.insert(n, member.clone()));
    }
    for name in [
        &format!("layers/{hex}.tar.zst"),
        &format!("configs/{hex}.json"),
        &format!("files/{hex}"),
        "release-9.9.9.json",
        "readme.txt",
        "../../etc/passwd",
        "/etc/passwd",
        "layers/../x",
        "bundle.json",
    ] {
        for at in [first, last, last + 1] {
            case("extra", &|m| m.insert(at, (name.to_owned(), b"x".to_vec())));
        }
        for at in [first, last] {
            case("renamed", &|m| name.clone_into(&mut m[at].0));
        }
    }
    case("swapped", &|m| m.swap(first, last));
    case("of another", &|m| m[last].1 = m[last - 1].1.clone());

    let signed = berth_format::canonical(&vendor.index(&parts, &good));
    let signature = vendor.sign_list(&signed);
    for (what, members) in cases {
        let names: Vec<_> = members.iter().map(|m| &m.0).collect();
        let bytes = write(&signed, &signature, &members);
        assert!(vendor.verify(&bytes).is_err(), "{what} {names:?}");
        let bytes = vendor.write(&vendor.index(&parts, &members), &members);
        let error = vendor.verify(&bytes).unwrap_err();
        let code = error.refusal().code;
        assert_eq!(code, Code::BundleMember, "{what} {names:?}: {error}");
    }
}

#[test]
fn a_member_that_is_no_regular_file_or_leaves_its_place_is_refused() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let good = vendor.bundle(&parts);
    for (name, _) in vendor.members(&parts) {
        for kind in *b"\x00123457gxLKS" {
            let mut bytes = good.clone();
            rewrite(&mut bytes, &name, &name, kind);
            assert_eq!(vendor.code(&bytes), Code::BundleMember, "{name} {kind}");
        }
        for to in ["../x", "/etc/passwd", "layers/../x", "x"] {
            let mut bytes = good.clone();
            rewrite(&mut bytes, &name, to, b'0');
            assert_eq!(vendor.code(&bytes), Code::BundleMember, "{name} {to}");
        }
    }
}

#[test]
fn a_size_that_is_not_that_of_the_member_is_refused() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let members = vendor.members(&parts);
    for (n, (name, bytes)) in members.iter().enumerate() {
        for size in [0, bytes.len() as u64 + 1, 1 << 32] {
            let mut index = vendor.index(&parts, &members);
            index.members[n].size = size;
            let code = vendor.code(&vendor.write(&index, &members));
            assert_eq!(code, Code::BundleMember, "{name} {size}");
        }
    }
}

#[test]
fn what_a_vendor_signs_by_mistake_is_refused_too() {
    let vendor = Vendor::new();
    let check = |parts: &Parts| vendor.verify(&vendor.bundle(parts)).unwrap_err();

    // A layer under the name of another one.
    let mut parts = Parts::small();
    let (one, other) = (Digest::of(b"the program, old"), Digest::of(b"another"));
    let packed = parts.layers.remove(&one).unwrap();
    let layers = &mut parts.releases[0].layers;
    layers.remove(&one);
    layers.insert(other, packed.0.clone());
    parts.layers.insert(other, packed);
    let ids = [Digest::of(b"the base layer"), other];
    parts.configure(config("amd64", &ids), &ids);
    let error = check(&parts);
    assert!(matches!(error, BundleError::DiffId(_)), "{error}");

    // A config that names other layers, is for another machine, or is none.
    let ids = Parts::small().image().layers.clone();
    for config in [
        config("amd64", &ids[..1]),
        config("arm64", &ids),
        b"{}".to_vec(),
        b"x".to_vec(),
    ] {
        let mut parts = Parts::small();
        parts.configure(config, &ids);
        let error = check(&parts);
        assert!(matches!(error, BundleError::Manifest { .. }), "{error}");
    }

    let mut parts = Parts::small();
    parts.image().manifest = Digest::of(b"x");
    let error = check(&parts);
    assert!(matches!(error, BundleError::Manifest { .. }), "{error}");

    // The same layer, compressed in two ways.
    let mut parts = Parts::small();
    let shared = Digest::of(b"the base layer");
    let layer = parts.releases[1].layers.get_mut(&shared).unwrap();
    layer.frames[0].digest = Digest::of(b"x");
    let error = check(&parts);
    assert!(matches!(error, BundleError::Manifest { .. }), "{error}");

    let mut parts = Parts::small();
    parts.releases.reverse();
    assert!(matches!(check(&parts), BundleError::Index(_)));
    assert!(matches!(check(&Parts::default()), BundleError::Index(_)));

    // Sizes that no file has, and that no number holds together.
    let mut parts = Parts::small();
    for at in [0, 1] {
        let release = &mut parts.releases[at];
        let layers = release.layers.clone();
        let image = release.images.get_mut("web").unwrap();
        let image = image.platforms.values_mut().next().unwrap();
        image.config.size = u64::MAX;
        let raw = image.layers.iter().map(|id| Blob {
            digest: *id,
            size: layers[id].size,
        });
        let raw: Vec<_> = raw.collect();
        image.manifest = Digest::of(&oci_manifest(image.config, &raw));
    }
    let members = vendor.members(&parts);
    let mut index = vendor.index(&parts, &members);
    for member in &mut index.members {
        if member.name.starts_with("configs/") {
            member.size = u64::MAX;
        }
    }
    let error = vendor.verify(&vendor.write(&index, &members)).unwrap_err();
    assert!(matches!(error, BundleError::Member(_)), "{error}");

    // One field of the form, twice.
    let mut parts = Parts::small();
    let field = serde_json::json!({"name": "MODE", "type": "string", "label": "Mode"});
    let field: Field = serde_json::from_value(field).unwrap();
    parts.releases[0].config = vec![field.clone(), field];
    let error = check(&parts);
    assert!(matches!(error, BundleError::Manifest { .. }), "{error}");

    // A field that this Berth does not know.
    let parts = Parts::small();
    let mut members = vendor.members(&parts);
    let text = String::from_utf8(members[2].1.clone()).unwrap();
    members[2].1 = text.replacen('{', "{\"more\":1,", 1).into_bytes();
    members[3].1 = vendor.sign_release("1.0.0", &members[2].1);
    let bytes = vendor.write(&vendor.index(&parts, &members), &members);
    assert_eq!(vendor.code(&bytes), Code::ManifestInvalid);

    let members = vendor.members(&parts);
    let mut index = vendor.index(&parts, &members);
    index.product = "other".parse().unwrap();
    let code = vendor.code(&vendor.write(&index, &members));
    assert_eq!(code, Code::ManifestInvalid);
}

#[test]
fn the_first_error_of_a_sink_ends_the_walk() {
    struct Full(usize);
    impl Sink for Full {
        fn wants(&mut self, _: &Digest, _: &Layer) -> io::Result<bool> {
            Ok(true)
        }

        fn frame(&mut self, _: &Digest, _: usize, _: &[u8]) -> io::Result<()> {
            self.0 += 1;
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let vendor = Vendor::new();
    let bytes = vendor.bundle(&Parts::small());
    let mut file = Cursor::new(&bytes);
    let head = read_head(&mut file).unwrap();
    let opened = open(&mut file, &head, &vendor.root).unwrap();
    let mut sink = Full(0);
    let error = opened.walk(&mut file, &mut sink).unwrap_err();
    assert!(matches!(error, BundleError::Sink(_)));
    assert_eq!(sink.0, 1);
}

#[test]
fn roots_follow_each_other_only_when_old_and_new_have_signed() {
    let (old, new) = (Vendor::new(), Vendor::new());
    let name = product();
    let signed = |vendor: &Vendor, bytes: &[u8], version| {
        let subject = Subject::Root {
            product: &name,
            version,
        };
        sign(&vendor.pair, bytes, &subject)
    };
    let first = berth_format::canonical(&old.root);
    let root = Root::first(&first, &[signed(&old, &first, 1)]).unwrap();
    assert!(Root::first(&first, &[signed(&new, &first, 1)]).is_err());

    let version = |version| {
        let mut root = new.root.clone();
        root.version = version;
        (berth_format::canonical(&root), root)
    };
    let (bytes, second) = version(2);
    let (by_old, by_new) = (signed(&old, &bytes, 2), signed(&new, &bytes, 2));
    let both = [by_old.clone(), by_new.clone()];
    assert_eq!(root.next(&bytes, &both).unwrap(), second);
    assert!(root.next(&bytes, &[by_old]).is_err());
    assert!(root.next(&bytes, &[by_new]).is_err());
    assert!(Root::first(&bytes, &both).is_err());
    let (bytes, _) = version(3);
    let both = [signed(&old, &bytes, 3), signed(&new, &bytes, 3)];
    assert!(root.next(&bytes, &both).is_err());
}

#[test]
fn signatures_stand_in_the_order_of_their_numbers() {
    let vendor = Vendor::new();
    let parts = Parts::small();
    let with = |of: &str, number: &str| {
        let mut members = vendor.members(&parts);
        let at = members
            .iter()
            .position(|(name, _)| *name == format!("{of}.minisig"))
            .unwrap();
        let copy = members[at].1.clone();
        members.insert(at + 1, (format!("{of}.{number}.minisig"), copy));
        vendor.write(&vendor.index(&parts, &members), &members)
    };
    for of in ["1.root.json", "release-1.1.0.json"] {
        assert_eq!(vendor.verify(&with(of, "2")).unwrap(), parts.releases);
        for number in ["1", "3", "02", "17", "x"] {
            let code = vendor.code(&with(of, number));
            assert_eq!(code, Code::BundleMember, "{of} {number}");
        }
    }
}
