//! When a service that is not well is worth a word: not at each flap, and not while it is mended.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::Name;

/// Not well for so long, mending included, is told.
const GRACE: Duration = Duration::from_mins(2);

/// Well for so long, without a break, is well again.
const STEADY: Duration = Duration::from_mins(1);

/// What a look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Good,
    /// Neither: it is starting.
    Between,
    Bad,
}

/// What has become sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Ill,
    Well,
}

#[derive(Debug, Clone, Copy, Default)]
struct Vital {
    bad: Option<Duration>,
    good: Option<Duration>,
    said: Option<Verdict>,
}

/// Each service's, and Docker's own as `None`.
#[derive(Debug, Default)]
pub(super) struct Vitals(BTreeMap<Option<Name>, Vital>);

impl Vitals {
    /// A look at `now`, since an arbitrary point; a verdict is given once.
    pub(super) fn see(&mut self, who: Option<&Name>, seen: Seen, now: Duration) -> Option<Verdict> {
        let vital = self.0.entry(who.cloned()).or_default();
        let verdict = match seen {
            Seen::Between => {
                vital.good = None;
                return None;
            }
            Seen::Bad => {
                vital.good = None;
                let since = *vital.bad.get_or_insert(now);
                (now.saturating_sub(since) >= GRACE).then_some(Verdict::Ill)
            }
            Seen::Good => {
                let since = *vital.good.get_or_insert(now);
                (now.saturating_sub(since) >= STEADY).then_some(Verdict::Well)
            }
        };
        if verdict == Some(Verdict::Well) {
            vital.bad = None;
        }
        let news = verdict.filter(|verdict| vital.said != Some(*verdict));
        vital.said = news.or(vital.said);
        news
    }

    /// How long until a look could bring a verdict that something is ill.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let waiting = self.0.values().filter(|v| v.said != Some(Verdict::Ill));
        waiting
            .filter_map(|v| (v.bad? + GRACE).checked_sub(now))
            .filter(|left| !left.is_zero())
            .min()
    }

    /// Nothing is known any more: an update has changed all that there is to look at.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(looks: &[(u64, Seen)]) -> Vec<(u64, Verdict)> {
        let name: Name = "db".parse().unwrap();
        let mut vitals = Vitals::default();
        let see = |(at, seen): &(u64, Seen)| {
            let now = Duration::from_secs(1000 + at);
            Some((*at, vitals.see(Some(&name), *seen, now)?))
        };
        looks.iter().filter_map(see).collect()
    }

    #[test]
    fn what_is_mended_within_the_grace_is_not_told() {
        let looks = [
            (0, Seen::Good),
            (5, Seen::Bad),
            (6, Seen::Between),
            (20, Seen::Good),
        ];
        assert_eq!(said(&looks), []);
        let more = [(100, Seen::Good), (119, Seen::Bad), (300, Seen::Bad)];
        let looks: Vec<_> = looks.into_iter().chain(more).collect();
        assert_eq!(said(&looks), [(100, Verdict::Well), (300, Verdict::Ill)]);
    }

    #[test]
    fn it_is_told_once_and_again_after_it_was_well() {
        let looks = [
            (0, Seen::Bad),
            (119, Seen::Bad),
            (120, Seen::Bad),
            (500, Seen::Bad),
            (510, Seen::Good),
            (569, Seen::Good),
            (570, Seen::Good),
            (700, Seen::Good),
            (710, Seen::Bad),
            (830, Seen::Bad),
        ];
        let expected = [
            (120, Verdict::Ill),
            (570, Verdict::Well),
            (830, Verdict::Ill),
        ];
        assert_eq!(said(&looks), expected);
    }

    #[test]
    fn one_that_crashes_again_and_again_is_not_well_in_between() {
        let looks: Vec<_> = (0..20)
            .flat_map(|n| {
                [
                    (n * 40, Seen::Bad),
                    (n * 40 + 2, Seen::Between),
                    (n * 40 + 10, Seen::Good),
                ]
            })
            .collect();
        assert_eq!(said(&looks), [(120, Verdict::Ill)]);
    }

    #[test]
    fn the_next_look_is_at_the_end_of_the_grace() {
        let mut vitals = Vitals::default();
        let at = Duration::from_secs;
        assert_eq!(vitals.next(at(0)), None);
        vitals.see(None, Seen::Bad, at(10));
        assert_eq!(vitals.next(at(30)), Some(at(100)));
        vitals.see(None, Seen::Bad, at(130));
        assert_eq!(vitals.next(at(130)), None);
        vitals.clear();
        assert_eq!(vitals.see(None, Seen::Bad, at(500)), None);
    }
}
