//! Channels that the channel key signed, whatever is in them.
//!
//! - What is read has no problem, and is written and read as the same.
//! - It is believed exactly if it is read, is the one that was signed for, and is not expired.
//! - It offers nothing that is withdrawn or not newer, and successors end.

use berth_format::channel::{Channel, Expiry, MAX_BYTES, Seen, Standing};
use berth_format::rollout::Asked;
use berth_format::signature::Subject;
use berth_format::{ChannelName, Digest};

use crate::keys;

pub fn check(data: &[u8]) {
    let (product, stable) = (keys::product(), "stable".parse::<ChannelName>().unwrap());
    let parsed = match Channel::parse(data) {
        Ok(channel) => {
            assert!(data.len() as u64 <= MAX_BYTES);
            assert_eq!(channel.problem(), None);
            let bytes = channel.to_bytes();
            let again = Channel::parse(&bytes).unwrap();
            assert_eq!((&again, again.to_bytes()), (&channel, bytes));
            offers(&channel);
            Some(channel)
        }
        Err(error) => {
            let _ = error.refusal();
            None
        }
    };
    let serial = parsed.as_ref().map_or(1, |channel| channel.serial);
    let subject = Subject::Channel {
        product: &product,
        channel: &stable,
        serial,
    };
    let signatures = [keys::sign(2, data, &subject)];
    let (root, seen, now) = (keys::root(1), Seen::default(), keys::now());
    let judge = |signatures: &[Vec<u8>]| {
        seen.judge(&root, &stable, data, signatures, now, Expiry::Enforced)
    };
    assert!(judge(&[]).is_err(), "nobody signed it");
    let is_good = parsed.as_ref().is_some_and(|channel| {
        channel.product == product && channel.channel == stable && channel.expires > now
    });
    match judge(&signatures) {
        Ok(accepted) => {
            assert!(is_good);
            let kept = accepted.seen.get(&stable).unwrap();
            assert_eq!((kept.serial, kept.digest), (serial, Digest::of(data)));
            assert!(accepted.now >= now);
        }
        Err(error) => {
            let _ = error.refusal();
            assert!(!is_good, "{error}");
        }
    }
}

fn offers(channel: &Channel) {
    let now = keys::now();
    let installed = channel.releases.keys().next();
    for asked in [Asked::ByItself, Asked::ByHand] {
        for installed in [None, installed] {
            let Some(offer) = channel.offer(installed, "id", now, asked) else {
                continue;
            };
            assert!(installed.is_none_or(|installed| offer > installed));
            assert_eq!(channel.releases[offer].withdrawn, None);
        }
    }
    for (version, entry) in &channel.releases {
        if let Some(successor) = channel.successor(version) {
            assert!(successor > version && channel.releases[successor].stop == entry.stop);
        }
        let is_listed = channel.standing(version) == Standing::Listed;
        let is_whole = entry.withdrawn.is_none() && entry.superseded_by.is_none();
        assert_eq!(is_listed, is_whole);
        if let Some(rollout) = &entry.rollout {
            assert!(rollout.share(now) <= 1000);
        }
    }
}
