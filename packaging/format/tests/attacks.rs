//! The attacks on a channel, each named after what it is called in the specification of TUF.

mod signer;

use std::collections::BTreeSet;

use berth_format::channel::{Channel, ChannelError, Expiry, MAX_BYTES, Seen};
use berth_format::rollout::Asked;
use berth_format::root::Role;
use berth_format::signature::{SignatureError, Subject};
use berth_format::{Code, Digest};
use proptest::prelude::*;

use signer::{World, channel, code, kept, now, product, stable, time};

#[test]
fn a_good_channel_is_kept_with_all_that_is_asked_for_later() {
    let world = World::new();
    let first = channel(7, 5, &["1.0.0", "1.1.0"]);
    let accepted = world.judge(&Seen::default(), &first).unwrap();
    assert_eq!(accepted.channel, first);
    assert_eq!(accepted.now, now());
    let kept = kept(&accepted.seen);
    assert_eq!(
        (kept.serial, kept.digest),
        (7, Digest::of(&first.to_bytes()))
    );
    assert_eq!(
        (kept.signed, kept.expires),
        (first.published, first.expires)
    );
    assert_eq!(kept.signers.len(), 1);
    // It comes back as it was, also over a restart.
    let text = serde_json::to_string(&accepted.seen).unwrap();
    assert_eq!(
        serde_json::from_str::<Seen>(&text).unwrap(),
        accepted.seen,
        "{text}"
    );
    // The same again, and a later one.
    let again = world.judge(&accepted.seen, &first).unwrap();
    assert_eq!(again.seen, accepted.seen);
    let next = channel(9, 6, &["1.2.0"]);
    let next = world.judge(&again.seen, &next).unwrap();
    assert_eq!(next.seen.get(&stable()).unwrap().serial, 9);
}

#[test]
fn arbitrary_install_no_flipped_byte_is_accepted() {
    let world = World::new();
    let good = channel(7, 5, &["1.0.0"]);
    let bytes = good.to_bytes();
    let signature = world.ring.channel_signatures(&[1], &good).remove(0);
    let seen = Seen::default();
    let expected = world.raw(&seen, &bytes, std::slice::from_ref(&signature), now());
    let expected = expected.unwrap();
    for at in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let result = world.raw(&seen, &bad, std::slice::from_ref(&signature), now());
            assert!(
                matches!(result, Err(ChannelError::Signature(_))),
                "byte {at}"
            );
        }
    }
    for at in 0..signature.len() {
        let mut bad = signature.clone();
        bad[at] ^= 1 << (at % 7);
        // Of the untrusted comment nothing is used.
        if let Ok(accepted) = world.raw(&seen, &bytes, &[bad], now()) {
            let first_line = signature.iter().position(|b| *b == b'\n').unwrap();
            assert!(at < first_line, "byte {at} of the signature");
            assert_eq!(accepted, expected);
        }
    }
    for end in 0..bytes.len() {
        let cut = world.raw(
            &seen,
            &bytes[..end],
            std::slice::from_ref(&signature),
            now(),
        );
        assert!(cut.is_err(), "cut at {end}");
    }
    let unsigned = world.raw(&seen, &bytes, &[], now());
    assert!(matches!(
        unsigned,
        Err(ChannelError::Signature(SignatureError::Invalid))
    ));
    for stranger in [0, 2] {
        let result = world.judge_by(stranger, &seen, &good, now());
        assert_eq!(code(result), Code::SignatureInvalid, "key {stranger}");
    }
}

#[test]
fn rollback_a_lower_serial_is_refused() {
    let world = World::new();
    let newer = world.judge(&Seen::default(), &channel(7, 5, &["1.1.0"]));
    let newer = newer.unwrap();
    let old = channel(6, 4, &["1.0.0"]);
    let error = world.judge(&newer.seen, &old).unwrap_err();
    assert!(
        matches!(error, ChannelError::Rollback { kept: 7, found: 6 }),
        "{error}"
    );
    assert_eq!(error.refusal().code, Code::ChannelRollback);
    // Also after a restart, and also by another key of the role.
    let text = serde_json::to_string(&newer.seen).unwrap();
    let seen: Seen = serde_json::from_str(&text).unwrap();
    assert_eq!(code(world.judge(&seen, &old)), Code::ChannelRollback);
    let mut world = world;
    world.rotate(&[1, 2]);
    let result = world.judge_by(2, &seen, &old, now());
    assert_eq!(code(result), Code::ChannelRollback);
    // Another channel counts for itself.
    assert!(seen.get(&"beta".parse().unwrap()).is_none());
}

#[test]
fn rollback_a_higher_serial_that_offers_only_older_releases() {
    let world = World::new();
    let older = channel(8, 6, &["1.0.0", "1.1.0"]);
    let accepted = world.judge(&Seen::default(), &older).unwrap();
    let installed = "1.2.0".parse().unwrap();
    for asked in [Asked::ByItself, Asked::ByHand] {
        let offer = accepted.channel.offer(Some(&installed), "id", now(), asked);
        assert_eq!(offer, None);
    }
    let oldest = "1.0.0".parse().unwrap();
    let offer = |installed| {
        let offer = accepted
            .channel
            .offer(installed, "id", now(), Asked::ByItself);
        offer.map(ToString::to_string)
    };
    assert_eq!(offer(Some(&oldest)).unwrap(), "1.1.0");
    assert_eq!(offer(None).unwrap(), "1.1.0");
}

#[test]
fn freeze_an_expired_channel_is_refused() {
    let world = World::new();
    let channel = channel(7, 5, &["1.0.0"]);
    for (clock, is_good) in [
        ("2026-03-19T11:59:59Z", true),
        ("2026-03-19T12:00:00Z", false),
        ("2026-03-19T12:00:01Z", false),
    ] {
        let result = world.judge_by(1, &Seen::default(), &channel, time(clock));
        assert_eq!(result.is_ok(), is_good, "{clock}");
        if let Err(error) = result {
            assert!(matches!(error, ChannelError::Expired { .. }), "{error}");
            assert_eq!(error.refusal().code, Code::TrustExpired);
        }
    }
    // An admin may waive it for a bundle; nothing else is waived with it.
    let signatures = world.ring.channel_signatures(&[1], &channel);
    let waived = |seen: &Seen| {
        let bytes = channel.to_bytes();
        let clock = time("2027-01-01T00:00:00Z");
        let (root, name) = (&world.root, stable());
        seen.judge(root, &name, &bytes, &signatures, clock, Expiry::Waived)
    };
    let accepted = waived(&Seen::default()).unwrap();
    assert_eq!(kept(&accepted.seen).serial, 7);
    let newer = world.judge(&accepted.seen, &signer::channel(8, 6, &["1.1.0"]));
    assert_eq!(code(waived(&newer.unwrap().seen)), Code::ChannelRollback);
}

#[test]
fn freeze_a_clock_that_is_set_back_wins_nothing() {
    let world = World::new();
    let old = channel(7, 1, &["1.0.0"]);
    let newer = channel(8, 20, &["1.1.0"]);
    // A clock before the signed time is no error: the signed time is what counts.
    let early = time("2025-01-01T00:00:00Z");
    let accepted = world.judge_by(1, &Seen::default(), &newer, early).unwrap();
    assert_eq!(accepted.now, newer.published);
    assert_eq!(accepted.seen.now(early), newer.published);
    // Expired by the signed time of another channel, though not by the clock.
    let mut beta = channel(3, 1, &["1.0.0"]);
    beta.channel = "beta".parse().unwrap();
    let signatures = world.ring.channel_signatures(&[1], &beta);
    let result = accepted.seen.judge(
        &world.root,
        &beta.channel,
        &beta.to_bytes(),
        &signatures,
        early,
        Expiry::Enforced,
    );
    assert!(matches!(result, Err(ChannelError::Expired { .. })));
    assert!(world.judge_by(1, &Seen::default(), &old, early).is_ok());
    // A clock that was once wrong poisons nothing: it is not kept.
    let late = time("2026-04-02T00:00:00Z");
    let accepted = world.judge_by(1, &accepted.seen, &newer, late).unwrap();
    assert_eq!(accepted.now, late);
    assert_eq!(kept(&accepted.seen).signed, newer.published);
    // And a signed time never goes back.
    let mut hasty = channel(9, 19, &["1.1.0"]);
    hasty.expires = time("2026-05-01T00:00:00Z");
    let accepted = world.judge_by(1, &accepted.seen, &hasty, early).unwrap();
    assert_eq!(kept(&accepted.seen).signed, newer.published);
}

#[test]
fn freeze_not_modified_for_ever_is_noticed() {
    let mut world = World::new();
    let channel = channel(7, 5, &["1.0.0"]);
    let seen = world.judge(&Seen::default(), &channel).unwrap().seen;
    let fresh = |world: &World, clock: &str| {
        seen.still_fresh(&world.root, &stable(), time(clock))
            .map_err(|error| error.refusal().code)
    };
    assert_eq!(fresh(&world, "2026-03-19T11:59:59Z"), Ok(()));
    assert_eq!(
        fresh(&world, "2026-03-19T12:00:00Z"),
        Err(Code::TrustExpired)
    );
    world.root.expires = time("2026-03-11T00:00:00Z");
    assert_eq!(
        fresh(&world, "2026-03-11T00:00:00Z"),
        Err(Code::TrustExpired)
    );
    // What a rotation took away must be fetched anew.
    world.rotate(&[2]);
    let error = seen.still_fresh(&world.root, &stable(), now());
    assert!(matches!(error, Err(ChannelError::NotKept(_))));
}

#[test]
fn an_expired_root_is_kept_and_ends_the_check() {
    let mut world = World::new();
    world.root.expires = now();
    let channel = channel(7, 5, &["1.0.0"]);
    let error = world.judge(&Seen::default(), &channel).unwrap_err();
    assert!(matches!(error, ChannelError::Root(_)), "{error}");
    assert_eq!(error.refusal().code, Code::TrustExpired);
    world.root.expires = now() + jiff::SignedDuration::from_secs(1);
    assert!(world.judge(&Seen::default(), &channel).is_ok());
}

#[test]
fn fast_forward_of_the_serial_ends_with_the_rotation_of_the_channel_key() {
    let mut world = World::new();
    // The thief has key 1: the highest serial there is, at the end of all times.
    let mut stolen = channel(u64::MAX, 5, &["1.0.0"]);
    stolen.published = time("9000-01-01T00:00:00Z");
    stolen.expires = time("9001-01-01T00:00:00Z");
    let seen = world.judge(&Seen::default(), &stolen).unwrap().seen;
    let ours = channel(8, 6, &["1.1.0"]);
    // Not without a rotation.
    assert!(world.judge(&seen, &ours).is_err());
    world.rotate(&[1, 2]);
    assert!(world.judge_by(2, &seen, &ours, now()).is_err());
    world.rotate(&[2]);
    assert_eq!(seen.under(&world.root), Seen::default());
    let accepted = world.judge_by(2, &seen, &ours, now()).unwrap();
    assert_eq!((kept(&accepted.seen).serial, accepted.now), (8, now()));
    // And what the thief signed is of no use any more.
    let result = world.judge(&accepted.seen, &stolen);
    assert_eq!(code(result), Code::SignatureInvalid);
}

#[test]
fn mix_and_match_the_parts_of_three_channels() {
    let world = World::new();
    let all: Vec<_> = (1..4)
        .map(|n| {
            let version = format!("1.{n}.0");
            let channel = channel(u64::from(n), n, &[&version]);
            let signatures = world.ring.channel_signatures(&[1], &channel);
            (channel, signatures)
        })
        .collect();
    for (a, (channel, _)) in all.iter().enumerate() {
        for (b, (_, signatures)) in all.iter().enumerate() {
            let bytes = channel.to_bytes();
            let result = world.raw(&Seen::default(), &bytes, signatures, now());
            assert_eq!(result.is_ok(), a == b, "{a} {b}");
        }
    }
}

#[test]
fn an_appliance_that_was_off_past_the_channels_expiry_catches_up() {
    let world = World::new();
    let seen = world.judge(&Seen::default(), &channel(7, 1, &["1.0.0"]));
    let seen = seen.unwrap().seen;
    let later = time("2026-03-25T00:00:00Z");
    assert!(seen.still_fresh(&world.root, &stable(), later).is_err());
    let newer = channel(20, 24, &["1.5.0"]);
    let accepted = world.judge_by(1, &seen, &newer, later).unwrap();
    assert_eq!(kept(&accepted.seen).serial, 20);
}

#[test]
fn wrong_product_channel_and_role_are_refused() {
    let world = World::new();
    let good = channel(7, 5, &["1.0.0"]);
    let bytes = good.to_bytes();
    let seen = Seen::default();
    // A key that holds every role, and each kind of file served as a channel.
    let version = "1.0.0".parse().unwrap();
    let (name, other) = (product(), "other".parse().unwrap());
    let beta = "beta".parse().unwrap();
    for subject in [
        Subject::Root {
            product: &name,
            version: 7,
        },
        Subject::Release {
            product: &name,
            version: &version,
        },
        Subject::Daemon {
            product: &name,
            version: &version,
        },
        Subject::Bundle { product: &name },
        Subject::Channel {
            product: &other,
            channel: &good.channel,
            serial: 7,
        },
        Subject::Channel {
            product: &name,
            channel: &beta,
            serial: 7,
        },
        Subject::Channel {
            product: &name,
            channel: &good.channel,
            serial: 8,
        },
    ] {
        let signatures = world.ring.sign(&[1], &bytes, &subject);
        let result = world.raw(&seen, &bytes, &signatures, now());
        assert_eq!(code(result), Code::SignatureMismatch, "{subject}");
    }
    // Inside another than what it was signed as.
    for (product, channel) in [("other", "stable"), ("lantern", "beta")] {
        let mut wrong = good.clone();
        wrong.product = product.parse().unwrap();
        wrong.channel = channel.parse().unwrap();
        let bytes = wrong.to_bytes();
        let subject = Subject::Channel {
            product: &name,
            channel: &good.channel,
            serial: 7,
        };
        let signatures = world.ring.sign(&[1], &bytes, &subject);
        let result = world.raw(&seen, &bytes, &signatures, now());
        assert_eq!(code(result), Code::ManifestInvalid, "{product} {channel}");
    }
    // A root without channel keys believes no channel.
    let mut world = world;
    world.root.roles.remove(&Role::Channel);
    assert_eq!(code(world.judge(&seen, &good)), Code::SignatureInvalid);
}

#[test]
fn equivocation_one_serial_two_contents() {
    let world = World::new();
    let one = channel(7, 5, &["1.0.0"]);
    let seen = world.judge(&Seen::default(), &one).unwrap().seen;
    let other = channel(7, 5, &["1.1.0"]);
    let error = world.judge(&seen, &other).unwrap_err();
    assert!(
        matches!(error, ChannelError::Equivocation { serial: 7, .. }),
        "{error}"
    );
    assert_eq!(error.refusal().code, Code::ChannelEquivocation);
    // Other white space is another content too.
    let mut bytes = one.to_bytes();
    bytes.push(b' ');
    let subject = Subject::Channel {
        product: &one.product,
        channel: &one.channel,
        serial: 7,
    };
    let signatures = world.ring.sign(&[1], &bytes, &subject);
    let result = world.raw(&seen, &bytes, &signatures, now());
    assert_eq!(code(result), Code::ChannelEquivocation);
}

#[test]
fn endless_data_is_not_even_verified() {
    let world = World::new();
    let mut bytes = channel(7, 5, &["1.0.0"]).to_bytes();
    bytes.resize(usize::try_from(MAX_BYTES).unwrap() + 1, b' ');
    let result = world.raw(&Seen::default(), &bytes, &[], now());
    assert!(matches!(result, Err(ChannelError::TooLarge(_))));
    assert!(matches!(
        Channel::parse(&bytes),
        Err(ChannelError::TooLarge(_))
    ));
    bytes.pop();
    assert!(Channel::parse(&bytes).is_ok());
}

#[test]
fn a_threshold_of_two_wants_two_keys() {
    let mut world = World::new();
    let keys = world.ring.keys(2, &[1, 2, 3]);
    world.root.roles.insert(Role::Channel, keys);
    let good = channel(7, 5, &["1.0.0"]);
    let judge = |seen: &Seen, keys: &[usize], channel: &Channel| {
        let signatures = world.ring.channel_signatures(keys, channel);
        world.raw(seen, &channel.to_bytes(), &signatures, now())
    };
    let seen = Seen::default();
    assert_eq!(code(judge(&seen, &[1], &good)), Code::SignatureMissing);
    assert_eq!(code(judge(&seen, &[1, 1], &good)), Code::SignatureMissing);
    assert_eq!(code(judge(&seen, &[1, 0], &good)), Code::SignatureMissing);
    let accepted = judge(&seen, &[0, 1, 3], &good).unwrap();
    let signers: BTreeSet<_> = world.ring.keys(1, &[1, 3]).public();
    assert_eq!(kept(&accepted.seen).signers, signers);
    // Two that signed for different serials are not two.
    let mut signatures = world.ring.channel_signatures(&[1], &good);
    let subject = Subject::Channel {
        product: &good.product,
        channel: &good.channel,
        serial: 8,
    };
    signatures.extend(world.ring.sign(&[2], &good.to_bytes(), &subject));
    let result = world.raw(&seen, &good.to_bytes(), &signatures, now());
    assert_eq!(code(result), Code::SignatureMissing);
    // One of the two was rotated away: what both signed does not count any more.
    let mut root = world.root.clone();
    root.roles
        .insert(Role::Channel, world.ring.keys(2, &[1, 2]));
    assert_eq!(accepted.seen.under(&root), Seen::default());
    root.roles
        .insert(Role::Channel, world.ring.keys(2, &[0, 1, 3]));
    assert_eq!(accepted.seen.under(&root), accepted.seen);
}

proptest! {
    /// What is kept only grows, whatever is offered in whatever order.
    #[test]
    fn no_sequence_of_offers_takes_the_serial_or_the_time_back(
        offers in proptest::collection::vec((1_u64..6, 1_u32..28, 0_i64..60), 1..12)
    ) {
        let world = World::new();
        let mut seen = Seen::default();
        for (serial, day, clock) in offers {
            let clock = time("2026-02-20T00:00:00Z") + jiff::SignedDuration::from_hours(24 * clock);
            let channel = channel(serial, day, &["1.0.0"]);
            let before = seen.get(&stable()).cloned();
            if let Ok(accepted) = world.judge_by(1, &seen, &channel, clock) {
                let after = kept(&accepted.seen);
                if let Some(before) = before {
                    prop_assert!(after.serial >= before.serial && after.signed >= before.signed);
                    prop_assert!(after.serial > before.serial || after.digest == before.digest);
                }
                prop_assert!(accepted.now < accepted.channel.expires && accepted.now >= clock);
                seen = accepted.seen;
            }
        }
    }
}
