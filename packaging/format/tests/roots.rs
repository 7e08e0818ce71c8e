//! Rotations of the root of trust, good and bad. The table has the cases of tuf-conformance's
//! `test_root_rotation`, under its names.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod signer;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_format::Code;
use berth_format::bundle::RootFile;
use berth_format::root::{Chain, End, MAX_BYTES, MAX_STEPS, Role, Root, RootError};
use berth_format::signature::{MAX_FILES, SignatureError, Subject};

use signer::{Ring, product, root, time};

/// Root keys, threshold, who signs.
type Step = (&'static [usize], u32, &'static [usize]);

struct Case {
    name: &'static str,
    steps: &'static [Step],
    /// The version that is believed at the end.
    ends_at: u32,
}

const CASES: &[Case] = &[
    Case {
        name: "1-of-1-key-rotation",
        steps: &[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])],
        ends_at: 3,
    },
    Case {
        name: "1-of-1-key-rotation-unused-signatures",
        steps: &[
            (&[1], 1, &[3, 1, 4]),
            (&[2], 1, &[3, 2, 1, 4]),
            (&[2], 1, &[3, 2, 4]),
        ],
        ends_at: 3,
    },
    Case {
        name: "1-of-1-key-rotation-fail-not-signed-with-old-key",
        steps: &[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])],
        ends_at: 1,
    },
    Case {
        name: "1-of-1-key-rotation-fail-not-signed-with-new-key",
        steps: &[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])],
        ends_at: 1,
    },
    Case {
        name: "3-of-5-sign-with-different-keycombos",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[0, 1, 2, 3, 4], 3, &[1, 3, 4]),
            (&[0, 1, 2, 3, 4], 3, &[0, 1, 3]),
            (&[0, 1, 2, 3, 4], 3, &[2, 3, 4]),
        ],
        ends_at: 4,
    },
    Case {
        name: "3-of-5-one-key-rotated",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 1]),
        ],
        ends_at: 2,
    },
    Case {
        name: "3-of-5-one-key-rotated-fails-not-signed-with-3-new-keys",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[0, 1, 3, 4, 5], 3, &[0, 2, 4]),
        ],
        ends_at: 1,
    },
    Case {
        name: "3-of-5-one-key-rotated-fails-not-signed-with-3-old-keys",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 5]),
        ],
        ends_at: 1,
    },
    Case {
        name: "3-of-5-one-key-rotated-with-intermediate-step",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[0, 1, 3, 4, 5], 3, &[0, 2, 4, 5]),
            (&[0, 1, 3, 4, 5], 3, &[0, 4, 5]),
        ],
        ends_at: 3,
    },
    Case {
        name: "3-of-5-all-keys-rotated-with-intermediate-step",
        steps: &[
            (&[0, 1, 2, 3, 4], 3, &[0, 2, 4]),
            (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]),
            (&[5, 6, 7, 8, 9], 3, &[5, 6, 7]),
        ],
        ends_at: 3,
    },
    Case {
        name: "1-of-3-threshold-increase-to-2-of-3",
        steps: &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])],
        ends_at: 2,
    },
    Case {
        name: "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached",
        steps: &[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])],
        ends_at: 1,
    },
    Case {
        name: "2-of-3-threshold-decrease-to-1-of-3",
        steps: &[
            (&[1, 2, 3], 2, &[1, 2]),
            (&[1, 2, 3], 1, &[1, 2]),
            (&[1, 2, 3], 1, &[1]),
        ],
        ends_at: 3,
    },
    Case {
        name: "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached",
        steps: &[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])],
        ends_at: 1,
    },
    Case {
        name: "1-of-2-threshold-increase-to-2-of-2",
        steps: &[(&[1], 1, &[1]), (&[1, 2], 2, &[1, 2])],
        ends_at: 2,
    },
];

fn file(ring: &Ring, root: &Root, signers: &[usize]) -> RootFile {
    let bytes = berth_format::canonical(root);
    RootFile {
        version: root.version,
        signatures: ring.root_signatures(signers, root, &bytes),
        bytes,
    }
}

fn first(file: &RootFile) -> Root {
    Root::first(&file.bytes, &file.signatures).unwrap()
}

#[test]
fn root_rotation_in_all_its_forms() {
    let ring = Ring::new(10);
    assert_eq!(CASES.len(), 15);
    for case in CASES {
        let files: Vec<_> = (1..)
            .zip(case.steps)
            .map(|(version, (keys, threshold, signers))| {
                file(&ring, &root(&ring, version, *threshold, keys), signers)
            })
            .collect();
        let mut kept = 1;
        let (last, end) = first(&files[0]).follow(&files, |root, file| {
            assert_eq!(
                (root.version, file.version),
                (kept + 1, kept + 1),
                "{}",
                case.name
            );
            kept = root.version;
            Ok::<_, ()>(())
        });
        assert_eq!(
            (last.version, kept),
            (case.ends_at, case.ends_at),
            "{}: {end:?}",
            case.name
        );
        let is_good = usize::try_from(case.ends_at).unwrap() == case.steps.len();
        match end {
            End::Newest => assert!(is_good, "{}", case.name),
            End::Refused(RootError::Signature(_)) => assert!(!is_good, "{}", case.name),
            other => panic!("{}: {other:?}", case.name),
        }
    }
}

#[test]
fn a_root_under_another_number_or_of_another_product_is_refused() {
    let ring = Ring::new(2);
    let old = root(&ring, 1, 1, &[0]);
    for (number, signed_as) in [(3, 3), (3, 2), (1, 2), (1, 1), (2, 3)] {
        let mut next = root(&ring, number, 1, &[0]);
        let bytes = berth_format::canonical(&next);
        next.version = signed_as;
        let signatures = ring.root_signatures(&[0], &next, &bytes);
        let error = old.next(&bytes, &signatures).unwrap_err();
        // The comment is looked at before anything is parsed.
        let is_expected = match error {
            RootError::Signature(SignatureError::Subject { .. }) => signed_as != 2,
            RootError::Order { expected: 2, .. } => signed_as == 2,
            _ => false,
        };
        assert!(is_expected, "{number} signed as {signed_as}");
    }
    let mut other = root(&ring, 2, 1, &[0]);
    other.product = "other".parse().unwrap();
    let other = file(&ring, &other, &[0]);
    assert!(old.next(&other.bytes, &other.signatures).is_err());
    // Also where it was signed as ours.
    let name = product();
    let subject = Subject::Root {
        product: &name,
        version: 2,
    };
    let signatures = ring.sign(&[0], &other.bytes, &subject);
    let error = old.next(&other.bytes, &signatures).unwrap_err();
    assert!(matches!(error, RootError::Order { .. }), "{error}");
}

#[test]
fn nothing_is_parsed_before_its_signature_is_checked() {
    let ring = Ring::new(2);
    let old = root(&ring, 1, 1, &[0]);
    let error = old.next(b"{", &[]).unwrap_err();
    assert!(matches!(error, RootError::Signature(_)), "{error}");
    let signatures = ring.root_signatures(&[1], &root(&ring, 2, 1, &[0]), b"{");
    let error = old.next(b"{", &signatures).unwrap_err();
    assert!(matches!(error, RootError::Signature(_)), "{error}");
    let signatures = ring.root_signatures(&[0], &root(&ring, 2, 1, &[0]), b"{");
    let error = old.next(b"{", &signatures).unwrap_err();
    assert!(matches!(error, RootError::Parse(_)), "{error}");
}

#[test]
fn a_first_root_that_does_not_sign_itself_is_refused() {
    let ring = Ring::new(2);
    let good = file(&ring, &root(&ring, 1, 1, &[0]), &[0]);
    assert_eq!(first(&good).version, 1);
    for signatures in [
        Vec::new(),
        file(&ring, &root(&ring, 1, 1, &[0]), &[1]).signatures,
    ] {
        let error = Root::first(&good.bytes, &signatures).unwrap_err();
        assert!(matches!(error, RootError::Signature(_)), "{error}");
    }
    let second = file(&ring, &root(&ring, 2, 1, &[0]), &[0]);
    let error = Root::first(&second.bytes, &second.signatures).unwrap_err();
    assert!(matches!(error, RootError::Order { .. }), "{error}");
}

/// A key's text with other bytes in place of its id.
fn relabelled(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).unwrap();
    bytes[2..10].fill(7);
    STANDARD.encode(bytes)
}

#[test]
fn one_public_key_under_many_names_counts_once() {
    let ring = Ring::new(2);
    let mut twice = root(&ring, 1, 2, &[0]);
    let keys = twice.roles.get_mut(&Role::Root).unwrap();
    keys.keys.push(relabelled(&ring.text(0)));
    let bytes = berth_format::canonical(&twice);
    // The id in a signature is not signed: the thief labels a copy of his one signature anew.
    let good = ring.root_signatures(&[0], &twice, &bytes).remove(0);
    let text = String::from_utf8(good.clone()).unwrap();
    let line = text.lines().nth(1).unwrap();
    let again = text.replace(line, &relabelled(line)).into_bytes();
    let subject = Subject::Root {
        product: &twice.product,
        version: 1,
    };
    let signatures = [good.as_slice(), &again];
    for one in signatures {
        // Each is good by itself, under its own name of the key.
        let error = twice
            .verify(Role::Root, &bytes, &[one], &subject)
            .unwrap_err();
        assert!(
            matches!(error, SignatureError::TooFew { found: 1, .. }),
            "{error}"
        );
    }
    let error = twice
        .verify(Role::Root, &bytes, &signatures, &subject)
        .unwrap_err();
    assert!(
        matches!(error, SignatureError::TooFew { found: 1, .. }),
        "{error}"
    );
    // And such a root is none.
    let error = Root::parse(&bytes).unwrap_err();
    assert!(matches!(error, RootError::Twice(Role::Root)), "{error}");
    let mut plain = root(&ring, 1, 1, &[0, 0]);
    let error = Root::parse(&berth_format::canonical(&plain)).unwrap_err();
    assert!(matches!(error, RootError::Twice(Role::Root)), "{error}");
    plain.roles.insert(Role::Root, ring.keys(1, &[0]));
    assert!(Root::parse(&berth_format::canonical(&plain)).is_ok());
}

#[test]
fn one_key_that_signs_twice_counts_once() {
    let ring = Ring::new(3);
    let root = root(&ring, 1, 2, &[0, 1, 2]);
    let bytes = berth_format::canonical(&root);
    let twice = ring.root_signatures(&[0, 0, 0], &root, &bytes);
    assert!(Root::first(&bytes, &twice).is_err());
    let two = ring.root_signatures(&[0, 0, 1], &root, &bytes);
    assert!(Root::first(&bytes, &two).is_ok());
}

#[test]
fn a_spoiled_extra_signature_does_not_spoil_a_root() {
    let ring = Ring::new(4);
    let root = root(&ring, 1, 2, &[0, 1, 2]);
    let bytes = berth_format::canonical(&root);
    let good = ring.root_signatures(&[0, 1], &root, &bytes);
    let spoiled = [
        Vec::new(),
        b"nonsense".to_vec(),
        ring.root_signatures(&[3], &root, &bytes).remove(0),
        ring.root_signatures(&[2], &root, b"other bytes").remove(0),
        ring.sign_as(2, &bytes, "berth type=bundle product=lantern"),
    ];
    for at in 0..=good.len() {
        let mut all = good.clone();
        for one in &spoiled {
            all.insert(at, one.clone());
        }
        assert!(Root::first(&bytes, &all).is_ok(), "{at}");
    }
    // But not without end.
    let mut buried = vec![spoiled[1].clone(); MAX_FILES - 1];
    buried.extend(good);
    assert!(Root::first(&bytes, &buried).is_err());
}

#[test]
fn a_wellformed_wrong_signature_is_refused() {
    let ring = Ring::new(2);
    let root = root(&ring, 1, 1, &[0]);
    let bytes = berth_format::canonical(&root);
    let good = ring.root_signatures(&[0], &root, &bytes).remove(0);
    let wrong = ring.root_signatures(&[1], &root, &bytes).remove(0);
    let (good, wrong) = (
        String::from_utf8(good).unwrap(),
        String::from_utf8(wrong).unwrap(),
    );
    let line = |text: &str, n: usize| text.lines().nth(n).unwrap().to_owned();
    // The right key's id over the other one's signature, and the other way round.
    let (mine, theirs) = (
        STANDARD.decode(line(&good, 1)).unwrap(),
        STANDARD.decode(line(&wrong, 1)).unwrap(),
    );
    let mixed = STANDARD.encode([&mine[..10], &theirs[10..]].concat());
    for bad in [
        good.replace(&line(&good, 1), &mixed),
        good.replace(&line(&good, 3), &line(&wrong, 3)),
        wrong.replace(&line(&wrong, 3), &line(&good, 3)),
        wrong,
    ] {
        let error = Root::first(&bytes, &[bad.into_bytes()]).unwrap_err();
        assert!(
            matches!(error, RootError::Signature(SignatureError::Invalid)),
            "{error}"
        );
    }
}

#[test]
fn a_threshold_that_cannot_be_reached_is_refused() {
    let ring = Ring::new(3);
    for role in [Role::Root, Role::Release, Role::Channel] {
        for (threshold, keys) in [(0, &[0, 1][..]), (3, &[0, 1]), (1, &[]), (u32::MAX, &[0])] {
            let mut bad = root(&ring, 1, 1, &[0]);
            bad.roles.insert(role, ring.keys(threshold, keys));
            let error = Root::parse(&berth_format::canonical(&bad)).unwrap_err();
            assert!(
                matches!(error, RootError::Role(found) if found == role),
                "{error}"
            );
        }
        let mut bad = root(&ring, 1, 1, &[0]);
        let mut keys = ring.keys(1, &[0]);
        keys.keys.push("RWnotakey".into());
        bad.roles.insert(role, keys);
        let error = Root::parse(&berth_format::canonical(&bad)).unwrap_err();
        assert!(matches!(error, RootError::Key { .. }), "{error}");
        let mut good = root(&ring, 1, 1, &[0]);
        good.roles.insert(role, ring.keys(2, &[0, 1]));
        assert_eq!(
            Root::parse(&berth_format::canonical(&good)).unwrap(),
            good,
            "{role}"
        );
    }
    let many: Vec<_> = (0..=MAX_FILES).collect();
    let ring = Ring::new(many.len());
    let mut bad = root(&ring, 1, 1, &[0]);
    let threshold = u32::try_from(many.len()).unwrap();
    bad.roles.insert(Role::Release, ring.keys(threshold, &many));
    // More than there may be signatures.
    assert!(Root::parse(&berth_format::canonical(&bad)).is_err());
}

#[test]
fn a_root_can_be_written_in_one_way_only() {
    let ring = Ring::new(2);
    let good = root(&ring, 1, 1, &[0]);
    let text = String::from_utf8(berth_format::canonical(&good)).unwrap();
    let release = serde_json::to_string(&ring.keys(1, &[1])).unwrap();
    for bad in [
        text.replace(
            r#""roles":{"#,
            &format!(r#""roles":{{"release":{release},"#),
        ),
        text.replace(
            r#""roles":{"#,
            &format!(r#""roles":{{"channel":{release},"#),
        ),
        text.replace(r#""format":1,"#, r#""format":1,"format":1,"#),
        text.replace(r#""format":1,"#, r#""format":1,"more":1,"#),
        text.replace(r#""root":{"#, r#""admin":{"#),
        format!("{text}{{}}"),
        format!("{text}{}", " ".repeat(usize::try_from(MAX_BYTES).unwrap())),
    ] {
        assert!(Root::parse(bad.as_bytes()).is_err(), "{bad:.200}");
    }
    let error = Root::parse(text.replace(r#""format":1,"#, r#""format":2,"#).as_bytes());
    assert!(matches!(error, Err(RootError::Format(2))));
    // White space means nothing, and is signed as it is.
    assert_eq!(Root::parse(format!("{text}\n\n").as_bytes()).unwrap(), good);
}

#[test]
fn a_root_expires_at_its_second() {
    let ring = Ring::new(1);
    let root = root(&ring, 1, 1, &[0]);
    for (now, is_expired) in [
        ("2035-12-31T23:59:59Z", false),
        ("2036-01-01T00:00:00Z", true),
        ("2036-01-01T00:00:01Z", true),
    ] {
        assert_eq!(root.is_expired(time(now)), is_expired, "{now}");
        let refused = root.must_be_fresh(time(now));
        assert_eq!(refused.is_err(), is_expired);
        if let Err(error) = refused {
            assert_eq!(error.refusal().code, Code::TrustExpired);
        }
    }
}

#[test]
fn an_appliance_that_was_off_past_its_roots_expiry_catches_up() {
    let ring = Ring::new(1);
    let mut between = root(&ring, 2, 1, &[0]);
    between.expires = time("2020-01-01T00:00:00Z");
    let files = [
        file(&ring, &root(&ring, 1, 1, &[0]), &[0]),
        file(&ring, &between, &[0]),
        file(&ring, &root(&ring, 3, 1, &[0]), &[0]),
    ];
    let (last, end) = first(&files[0]).follow(&files, |_, _| Ok::<_, ()>(()));
    assert!(matches!(end, End::Newest));
    assert_eq!(last.version, 3);
    assert!(!last.is_expired(time("2026-01-01T00:00:00Z")));
}

#[test]
fn a_walk_keeps_each_root_and_ends_after_so_many() {
    let ring = Ring::new(1);
    let mut chain = Chain::new(root(&ring, 1, 1, &[0]));
    for step in 0..MAX_STEPS {
        assert_eq!(chain.wanted().unwrap(), step + 2);
        let next = file(&ring, &root(&ring, step + 2, 1, &[0]), &[0]);
        // A bad one changes nothing: the next mirror may have a good one.
        assert!(chain.step(&next.bytes, &[]).is_err());
        assert_eq!(
            chain.step(&next.bytes, &next.signatures).unwrap().version,
            step + 2
        );
    }
    assert!(matches!(chain.wanted(), Err(RootError::TooMany)));
    let last = chain.root().version;
    let next = file(&ring, &root(&ring, last + 1, 1, &[0]), &[0]);
    let error = chain.step(&next.bytes, &next.signatures).unwrap_err();
    assert!(matches!(error, RootError::TooMany));
    assert_eq!(chain.into_root().version, last);

    // What cannot be kept ends the walk.
    let files = [
        file(&ring, &root(&ring, 1, 1, &[0]), &[0]),
        file(&ring, &root(&ring, 2, 1, &[0]), &[0]),
    ];
    let (last, end) = first(&files[0]).follow(&files, |_, _| Err("the disk is full"));
    assert!(matches!(end, End::Keep("the disk is full")));
    assert_eq!(last.version, 2);
}
