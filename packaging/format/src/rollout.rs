//! Staged rollout: which appliances a new release is offered to, and when.
//!
//! Nobody reports home. The channel says which share of all appliances a release is for, growing
//! with time; each appliance hashes itself into a place between 0 and 1 and waits until the share
//! has reached it. The place differs from release to release, so that nobody is always first.
//!
//! Not asked for: a release that mends a security hole, and an update by hand.

use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Entry};
use crate::digest::Digest;
use crate::name::Product;

/// All appliances, in permille.
pub const ALL: u16 = 1000;

/// The most steps of a rollout.
const MAX_SHARES: usize = 32;

/// A year: longer is a mistake.
const MAX_HOURS: u32 = 24 * 366;

/// How a release reaches the appliances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Before this it is offered to nobody.
    pub begins: Timestamp,
    /// From the first, which is at hour 0; between two the share grows evenly, after the last it
    /// stays.
    pub shares: Vec<Share>,
}

/// How far a rollout is at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Hours since the rollout began.
    pub hours: u32,
    /// Of all appliances.
    pub permille: u16,
}

/// Who asks what is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The appliance, by its clock.
    ByItself,
    /// A person: a rollout does not hold him back.
    ByHand,
}

impl Rollout {
    /// To everybody, evenly over so many hours.
    pub fn over(begins: Timestamp, hours: u32) -> Self {
        let mut shares = vec![Share {
            hours: 0,
            permille: 0,
        }];
        if hours == 0 {
            shares.clear();
        }
        shares.push(Share {
            hours,
            permille: ALL,
        });
        Self { begins, shares }
    }

    /// What cannot be so, if anything.
    pub fn problem(&self) -> Option<String> {
        let is_good = self.shares.len() <= MAX_SHARES
            && self.shares.first().is_some_and(|first| first.hours == 0)
            && self
                .shares
                .iter()
                .all(|s| s.hours <= MAX_HOURS && s.permille <= ALL)
            && self
                .shares
                .is_sorted_by(|a, b| a.hours < b.hours && a.permille <= b.permille);
        (!is_good).then(|| {
            format!(
                "its rollout must have 1 to {MAX_SHARES} shares from hour 0 on, growing, within a year and at most {ALL} permille"
            )
        })
    }

    /// The share of appliances that the release is for, in permille.
    pub fn share(&self, now: Timestamp) -> u16 {
        let elapsed = now.as_second().saturating_sub(self.begins.as_second());
        let Ok(elapsed) = u64::try_from(elapsed) else {
            return 0;
        };
        if now < self.begins {
            return 0;
        }
        let seconds = |share: &Share| u64::from(share.hours) * 3600;
        let Some(next) = self.shares.iter().position(|s| seconds(s) > elapsed) else {
            return self.shares.last().map_or(0, |last| last.permille);
        };
        let Some(before) = next.checked_sub(1).and_then(|at| self.shares.get(at)) else {
            return 0;
        };
        let next = &self.shares[next];
        let (from, to) = (u64::from(before.permille), u64::from(next.permille));
        let (began, ends) = (seconds(before), seconds(next));
        let grown = to.saturating_sub(from) * (elapsed - began) / (ends - began);
        u16::try_from(from + grown).unwrap_or(ALL)
    }
}

/// The place of an appliance among all, for one release: the first eight bytes, big endian, of
/// SHA-256(`"berth-rollout-1\0" product "\0" version "\0" appliance`).
///
/// `appliance` is random, made at the first start and never sent anywhere; a machine id would be
/// the same in cloned machines.
pub fn bucket(product: &Product, version: &Version, appliance: &str) -> u64 {
    let text = format!("berth-rollout-1\0{product}\0{version}\0{appliance}");
    Digest::of(text.as_bytes()).first_u64()
}

/// Whether a share, in permille, has reached a place: 0 reaches nobody, 1000 everybody.
pub fn reaches(share: u16, bucket: u64) -> bool {
    (u128::from(bucket) * u128::from(ALL)) >> 64 < u128::from(share)
}

impl Channel {
    /// Whether a listed release is offered to an appliance now; `now` is [`crate::channel::Seen::now`].
    pub fn is_offered(
        &self,
        version: &Version,
        entry: &Entry,
        appliance: &str,
        now: Timestamp,
        asked: Asked,
    ) -> bool {
        if entry.withdrawn.is_some() || entry.superseded_by.is_some() {
            return false;
        }
        match &entry.rollout {
            Some(rollout) if asked == Asked::ByItself && !entry.security => reaches(
                rollout.share(now),
                bucket(&self.product, version, appliance),
            ),
            _ => true,
        }
    }

    /// The newest release that is offered to an appliance and newer than what it runs. A channel
    /// that lists only older ones offers nothing: nobody is taken back by it.
    pub fn offer(
        &self,
        installed: Option<&Version>,
        appliance: &str,
        now: Timestamp,
        asked: Asked,
    ) -> Option<&Version> {
        let newest_first = self.releases.iter().rev();
        newest_first
            .take_while(|(version, _)| installed.is_none_or(|installed| *version > installed))
            .find(|(version, entry)| self.is_offered(version, entry, appliance, now, asked))
            .map(|(version, _)| version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEGINS: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn appliance(n: u32) -> String {
        Digest::of(&n.to_be_bytes()).hex()[..32].to_owned()
    }

    fn shares(points: &[(u32, u16)]) -> Rollout {
        let share = |(hours, permille): &(u32, u16)| Share {
            hours: *hours,
            permille: *permille,
        };
        Rollout {
            begins: at(BEGINS),
            shares: points.iter().map(share).collect(),
        }
    }

    /// Also computed by `printf 'berth-rollout-1\0lantern\0001.2.0\0appliance' | sha256sum`.
    #[test]
    fn the_place_of_an_appliance_is_fixed() {
        let product = "lantern".parse().unwrap();
        let place = |version: &str, id: &str| bucket(&product, &version.parse().unwrap(), id);
        for (version, id, expected) in VECTORS {
            assert_eq!(place(version, id), *expected, "{version} {id}");
        }
    }

    const VECTORS: &[(&str, &str, u64)] = &[
        (
            "1.0.0",
            "00000000000000000000000000000000",
            0x33e7_a93e_e0c3_6648,
        ),
        ("1.2.0", "appliance", 0x8bd0_427c_a369_1795),
        (
            "1.2.0",
            "00112233445566778899aabbccddeeff",
            0x1b34_ed40_9502_97cb,
        ),
        (
            "1.2.0-rc.1",
            "00112233445566778899aabbccddeeff",
            0x27a6_5f0a_9df0_b801,
        ),
        (
            "2.0.0+b.1",
            "ffffffffffffffffffffffffffffffff",
            0x3218_80e2_791b_1820,
        ),
    ];

    #[test]
    fn a_share_grows_evenly_between_its_steps() {
        let rollout = Rollout::over(at(BEGINS), 10);
        assert_eq!(rollout.problem(), None);
        for (second, permille) in [
            (-1, 0),
            (0, 0),
            (35, 0),
            (36, 1),
            (3600, 100),
            (35_999, 999),
            (36_000, 1000),
            (i64::from(MAX_HOURS) * 7200, 1000),
        ] {
            assert_eq!(rollout.share(at(BEGINS + second)), permille, "{second}");
        }
        let slow = shares(&[(0, 10), (24, 10), (48, 510)]);
        assert_eq!(slow.problem(), None);
        assert_eq!(slow.share(at(BEGINS)), 10);
        assert_eq!(slow.share(at(BEGINS + 36 * 3600)), 260);
        // Paused: it stays where it is.
        assert_eq!(slow.share(at(BEGINS + 4800 * 3600)), 510);
        assert_eq!(Rollout::over(at(BEGINS), 0).share(at(BEGINS)), ALL);
        for bad in [
            &[][..],
            &[(1, 10)],
            &[(0, 10), (0, 20)],
            &[(0, 10), (1, 9)],
            &[(0, 1001)],
            &[(0, 1), (MAX_HOURS + 1, 2)],
        ] {
            assert!(shares(bad).problem().is_some(), "{bad:?}");
        }
    }

    #[test]
    fn appliances_are_spread_evenly_and_anew_for_each_release() {
        let product = "lantern".parse().unwrap();
        let (one, two) = ("1.1.0".parse().unwrap(), "1.2.0".parse().unwrap());
        let mut both = 0;
        let mut reached = [0_i32; 3];
        let count = 100_000;
        for n in 0..count {
            let id = appliance(n);
            let place = bucket(&product, &one, &id);
            for (reached, share) in reached.iter_mut().zip([100, 500, 900]) {
                *reached += i32::from(reaches(share, place));
            }
            both += i32::from(reaches(500, place) && reaches(500, bucket(&product, &two, &id)));
        }
        for (reached, expected) in reached.iter().zip([10_000, 50_000, 90_000]) {
            assert!((reached - expected).abs() < 1000, "{reached} of {expected}");
        }
        assert!((both - 25_000).abs() < 1000, "{both}");
    }

    proptest! {
        #[test]
        fn none_is_nobody_and_all_is_everybody(place: u64) {
            prop_assert!(!reaches(0, place));
            prop_assert!(reaches(ALL, place));
        }

        #[test]
        fn once_in_an_appliance_stays_in(
            place: u64,
            steps in proptest::collection::vec((1_u32..200, 0_u16..300), 0..8),
            first in 0_u16..300,
            (a, b) in (-9_000_i64..9_000_000, 0_i64..9_000_000),
        ) {
            let (mut hours, mut permille) = (0, first);
            let mut points = vec![(0, first)];
            for (h, p) in steps {
                hours += h;
                permille = (permille + p).min(ALL);
                points.push((hours, permille));
            }
            let rollout = shares(&points);
            prop_assert_eq!(rollout.problem(), None);
            let (early, late) = (rollout.share(at(BEGINS + a)), rollout.share(at(BEGINS + a + b)));
            prop_assert!(early <= late && late <= ALL);
            prop_assert!(!reaches(early, place) || reaches(late, place));
        }
    }
}
