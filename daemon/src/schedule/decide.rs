//! From what is offered to what is done next.

use std::cmp::Reverse;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use semver::Version;
use serde::{Deserialize, Serialize};

use super::{Mode, Policy, opening};

/// A release that could be taken: newer than what runs, offered to this appliance, and not held
/// back here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub version: Version,
    /// When the channel first offered it.
    pub published: Timestamp,
    /// It mends a security hole.
    pub security: bool,
}

/// What will be done about an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub version: Version,
    /// When it begins by itself; `None`: only by the admin.
    pub begins: Option<Timestamp>,
    pub reason: Reason,
}

/// Why now, or why not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Nothing is done without the admin.
    Admin,
    /// The release has not been offered for long enough.
    Soak,
    /// The window is closed.
    Window,
    /// It begins now.
    Open,
}

/// What to do about the offers; `None`: there is nothing.
///
/// By itself the appliance takes what it may take first; of several, the newest. A newer release
/// that still soaks does not hold back an older one whose time has come.
pub fn decide(
    policy: &Policy,
    zone: &TimeZone,
    now: Timestamp,
    candidates: &[Candidate],
) -> Option<Intent> {
    if policy.mode != Mode::Auto {
        let newest = candidates.iter().max_by(|a, b| a.version.cmp(&b.version))?;
        return Some(Intent {
            version: newest.version.clone(),
            begins: None,
            reason: Reason::Admin,
        });
    }
    candidates
        .iter()
        .filter_map(|candidate| {
            let ripe = ripe(policy, candidate).max(now);
            Some((opening(&policy.windows, zone, ripe)?, ripe, candidate))
        })
        .min_by_key(|(begins, _, candidate)| (*begins, Reverse(candidate.version.clone())))
        .map(|(begins, ripe, candidate)| Intent {
            version: candidate.version.clone(),
            begins: Some(begins),
            reason: match (begins > now, ripe > now) {
                (false, _) => Reason::Open,
                (true, true) => Reason::Soak,
                (true, false) => Reason::Window,
            },
        })
}

/// From when on a release may be taken.
fn ripe(policy: &Policy, candidate: &Candidate) -> Timestamp {
    let hours = if candidate.security {
        policy.security_soak_hours
    } else {
        policy.soak_hours
    };
    let soak = SignedDuration::from_hours(i64::from(hours));
    // Past the end of time: never.
    candidate
        .published
        .checked_add(soak)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn candidate(version: &str, published: &str, security: bool) -> Candidate {
        Candidate {
            version: version.parse().unwrap(),
            published: at(published),
            security,
        }
    }

    fn auto(windows: &[&str]) -> Policy {
        Policy {
            mode: Mode::Auto,
            windows: windows.iter().map(|w| w.parse().unwrap()).collect(),
            soak_hours: 48,
            security_soak_hours: 2,
            ..Policy::default()
        }
    }

    fn says(policy: &Policy, now: &str, candidates: &[Candidate]) -> String {
        match decide(policy, &TimeZone::UTC, at(now), candidates) {
            None => "nothing".into(),
            Some(intent) => {
                let begins = intent.begins.map_or("-".into(), |b| b.to_string());
                format!("{} {begins} {:?}", intent.version, intent.reason)
            }
        }
    }

    #[test]
    fn without_auto_nothing_begins_and_the_newest_is_told() {
        for mode in [Mode::Manual, Mode::Notify] {
            let policy = Policy {
                mode,
                ..auto(&["00:00-24:00"])
            };
            let offers = [
                candidate("1.2.0", "2026-11-20T00:00:00Z", false),
                candidate("1.10.0", "2026-11-24T00:00:00Z", false),
                candidate("1.9.0", "2026-11-22T00:00:00Z", true),
            ];
            let said = says(&policy, "2026-11-24T12:00:00Z", &offers);
            assert_eq!(said, "1.10.0 - Admin");
            assert_eq!(says(&policy, "2026-11-24T12:00:00Z", &[]), "nothing");
        }
    }

    #[test]
    fn it_waits_for_the_soak_and_then_for_the_window() {
        let policy = auto(&["02:00-05:00"]);
        let offer = [candidate("1.2.0", "2026-11-24T12:00:00Z", false)];
        let begins = "1.2.0 2026-11-27T02:00:00Z";
        for (now, expected) in [
            ("2026-11-24T12:00:00Z", format!("{begins} Soak")),
            ("2026-11-25T03:00:00Z", format!("{begins} Soak")),
            ("2026-11-26T11:59:59Z", format!("{begins} Soak")),
            ("2026-11-26T12:00:00Z", format!("{begins} Window")),
            ("2026-11-27T01:59:59Z", format!("{begins} Window")),
            ("2026-11-27T02:00:00Z", format!("{begins} Open")),
            (
                "2026-11-27T04:59:59Z",
                "1.2.0 2026-11-27T04:59:59Z Open".into(),
            ),
            (
                "2026-11-27T05:00:00Z",
                "1.2.0 2026-11-28T02:00:00Z Window".into(),
            ),
        ] {
            assert_eq!(says(&policy, now, &offer), expected, "{now}");
        }
    }

    #[test]
    fn a_soak_that_ends_in_a_window_begins_there() {
        let policy = auto(&["02:00-05:00"]);
        let offer = [candidate("1.2.0", "2026-11-24T03:30:00Z", false)];
        let said = says(&policy, "2026-11-25T12:00:00Z", &offer);
        assert_eq!(said, "1.2.0 2026-11-26T03:30:00Z Soak");
    }

    #[test]
    fn a_security_release_has_a_soak_of_its_own() {
        let policy = auto(&["02:00-05:00"]);
        let offer = [candidate("1.2.1", "2026-11-24T12:00:00Z", true)];
        let said = says(&policy, "2026-11-24T13:00:00Z", &offer);
        assert_eq!(said, "1.2.1 2026-11-25T02:00:00Z Soak");
        let said = says(&policy, "2026-11-24T14:00:00Z", &offer);
        assert_eq!(said, "1.2.1 2026-11-25T02:00:00Z Window");
    }

    #[test]
    fn what_is_ripe_is_not_held_back_by_what_is_not() {
        let policy = auto(&["02:00-05:00"]);
        let offers = [
            candidate("1.2.0", "2026-11-20T12:00:00Z", false),
            candidate("1.3.0", "2026-11-24T12:00:00Z", false),
        ];
        let said = says(&policy, "2026-11-24T23:00:00Z", &offers);
        assert_eq!(said, "1.2.0 2026-11-25T02:00:00Z Window");
        // Where both may begin at once, the newest is taken.
        let said = says(&policy, "2026-11-26T23:00:00Z", &offers);
        assert_eq!(said, "1.3.0 2026-11-27T02:00:00Z Window");
    }

    #[test]
    fn at_the_end_of_time_and_without_windows_nothing_begins() {
        let policy = auto(&["00:00-24:00"]);
        let offer = [candidate("1.2.0", "9999-12-30T00:00:00Z", false)];
        assert_eq!(says(&policy, "2026-11-24T12:00:00Z", &offer), "nothing");
        let none = Policy {
            windows: vec![],
            ..policy
        };
        let offer = [candidate("1.2.0", "2026-11-20T00:00:00Z", false)];
        assert_eq!(says(&none, "2026-11-24T12:00:00Z", &offer), "nothing");
    }
}
