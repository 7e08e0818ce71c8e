//! Who must sign releases and channels, in the cases of tuf-conformance's `test_non_root_rotations`,
//! under its names.

mod signer;

use berth_format::Release;
use berth_format::bundle::believe;
use berth_format::channel::Seen;
use berth_format::root::Role;
use berth_format::signature::Subject;

use signer::{Ring, World, channel, now, product};

struct Case {
    name: &'static str,
    keys: &'static [usize],
    threshold: u32,
    signers: &'static [usize],
    is_good: bool,
}

const fn case(
    name: &'static str,
    keys: &'static [usize],
    threshold: u32,
    signers: &'static [usize],
    is_good: bool,
) -> Case {
    Case {
        name,
        keys,
        threshold,
        signers,
        is_good,
    }
}

const ALL: &[usize] = &[0, 1, 2, 3, 4];
const OTHERS: &[usize] = &[0, 1, 3, 4, 5];

const CASES: &[Case] = &[
    case("1-of-1-key-rotation", &[2], 1, &[2], true),
    case(
        "1-of-1-key-rotation-unused-signatures",
        &[1],
        1,
        &[3, 1, 4],
        true,
    ),
    case(
        "1-of-1-key-rotation-fail-not-signed-with-new-key",
        &[2],
        1,
        &[1, 3, 4],
        false,
    ),
    case(
        "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys",
        OTHERS,
        3,
        &[0, 2, 4],
        false,
    ),
    case(
        "2-of-5-one-key-signature-mising-threshold-not-reached",
        OTHERS,
        3,
        &[0, 4],
        false,
    ),
    case("3-of-5-sign-first-combo", ALL, 3, &[0, 2, 4], true),
    case("3-of-5-sign-second-combo", ALL, 3, &[0, 4, 1], true),
    case("3-of-5-sign-third-combo", ALL, 3, &[0, 1, 3], true),
    case("3-of-5-sign-fourth-combo", ALL, 3, &[1, 2, 3], true),
    case("3-of-5-sign-fifth-combo", ALL, 3, &[2, 3, 4], true),
];

fn world(role: Role, case: &Case) -> World {
    let ring = Ring::new(6);
    let mut root = World::root(&ring, 2, &[5]);
    root.roles
        .insert(role, ring.keys(case.threshold, case.keys));
    World { ring, root }
}

#[test]
fn non_root_rotations_of_the_channel_keys() {
    for case in CASES {
        let world = world(Role::Channel, case);
        let offer = channel(7, 5, &["1.0.0"]);
        let signatures = world.ring.channel_signatures(case.signers, &offer);
        let seen = Seen::default();
        let result = world.raw(&seen, &offer.to_bytes(), &signatures, now());
        assert_eq!(result.is_ok(), case.is_good, "{}", case.name);
    }
}

#[test]
fn non_root_rotations_of_the_release_keys() {
    let release: Release = serde_json::from_value(serde_json::json!({
        "format": 1, "product": "lantern", "title": "Lantern", "version": "1.0.0",
        "upgrade": {"from": "*"}, "requires": {"engine": "*"}, "data": "may-change",
        "services": {}, "images": {}, "layers": {},
    }))
    .unwrap();
    let product = product();
    let subject = Subject::Release {
        product: &product,
        version: &release.version,
    };
    for case in CASES {
        let world = world(Role::Release, case);
        let bytes = release.to_bytes();
        let signatures = world.ring.sign(case.signers, &bytes, &subject);
        let result = believe(&world.root, &release.version, &bytes, &signatures);
        assert_eq!(result.is_ok(), case.is_good, "{}", case.name);
    }
}

#[test]
fn an_invalid_signature_beside_a_valid_one_spoils_nothing() {
    let one = case("", &[1, 2], 1, &[1], true);
    let world = world(Role::Channel, &one);
    let offer = channel(7, 5, &["1.0.0"]);
    let bytes = offer.to_bytes();
    let good = world.ring.channel_signatures(&[1], &offer).remove(0);
    // By the second key, over other bytes; and nothing at all.
    let mut other = offer.clone();
    other.serial = 8;
    let plausible = world.ring.channel_signatures(&[2], &other).remove(0);
    for bad in [plausible, Vec::new()] {
        for signatures in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
            let accepted = world.raw(&Seen::default(), &bytes, &signatures, now());
            assert_eq!(accepted.unwrap().channel, offer);
        }
        let alone = world.raw(&Seen::default(), &bytes, &[bad], now());
        assert!(alone.is_err());
    }
}
