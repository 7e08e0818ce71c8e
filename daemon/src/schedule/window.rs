//! Windows: when updates may begin, in the local time of a place.
//!
//! A window is an interval between two instants, not a range of clock readings, so that a night in
//! which the clocks change neither skips a window nor runs through it twice.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Days ahead that are looked at for the next opening: each weekday once, and today again.
const AHEAD: i32 = 8;

/// The word for every day.
const DAILY: &str = "daily";

/// `sat,sun 02:00-05:00`: on these days, from here to there; over midnight where it ends before it
/// begins. `daily 00:00-24:00` is always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    days: Days,
    /// Minutes after midnight, below 1440.
    from: u16,
    /// Minutes after midnight, 1 to 1440.
    to: u16,
}

/// Days of the week; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days(u8);

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no window: expected days and times, as in `sat,sun 02:00-05:00`, `mon-fri 22:00-04:00` or `daily 03:00-04:30`"
)]
pub struct WindowError(pub String);

impl Window {
    /// Every moment of every day.
    pub const ALWAYS: Self = Self {
        days: Days(0x7f),
        from: 0,
        to: MIDNIGHT,
    };

    /// Every night from two to five, where nothing else is said.
    pub const NIGHTLY: Self = Self {
        days: Days(0x7f),
        from: 2 * 60,
        to: 5 * 60,
    };

    /// The first moment from `from` on that is in the window; `from` itself if it is open then.
    pub fn opening(&self, zone: &TimeZone, from: Timestamp) -> Option<Timestamp> {
        let today = from.to_zoned_datetime(zone.clone()).date();
        // The one of yesterday may last over midnight, or, where clocks were set back, longer.
        (-1..AHEAD)
            .filter_map(|ahead| today.checked_add(Span::new().days(ahead)).ok())
            .filter(|date| self.days.has(date.weekday()))
            .filter_map(|date| self.on(date, zone))
            .find(|(_, closes)| *closes > from)
            .map(|(opens, _)| opens.max(from))
    }

    /// The window that begins on a date.
    fn on(self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let instant = |at: DateTime| zone.to_timestamp(at).ok();
        let opens = instant(date.to_datetime(time(self.from)?))?;
        let minutes = self.minutes();
        let ends = date
            .to_datetime(time(self.from)?)
            .checked_add(SignedDuration::from_mins(i64::from(minutes)))
            .ok()?;
        let closes = instant(ends)?;
        if closes > opens {
            return Some((opens, closes));
        }
        // Clocks were set forward over all of it.
        let length = SignedDuration::from_mins(i64::from(minutes));
        Some((opens, opens.checked_add(length).ok()?))
    }

    /// How long it is, by the clock.
    fn minutes(self) -> u16 {
        if self.to > self.from {
            self.to - self.from
        } else {
            self.to + MIDNIGHT - self.from
        }
    }
}

/// The first opening of any of the windows.
pub fn opening(windows: &[Window], zone: &TimeZone, from: Timestamp) -> Option<Timestamp> {
    windows.iter().filter_map(|w| w.opening(zone, from)).min()
}

/// Minutes of a day, by the clock.
const MIDNIGHT: u16 = 24 * 60;

fn time(minutes: u16) -> Option<Time> {
    let (hour, minute) = (minutes / 60, minutes % 60);
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
}

impl Days {
    fn has(self, day: Weekday) -> bool {
        let day = u8::try_from(day.to_monday_zero_offset()).unwrap_or(0);
        self.0 & (1 << day) != 0
    }

    fn parse(text: &str) -> Option<Self> {
        if text == DAILY {
            return Some(Self(0x7f));
        }
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let place = |name: &str| NAMES.iter().position(|n| *n == name);
            let (first, last) = (place(first)?, place(last)?);
            let mut day = first;
            loop {
                days |= 1 << day;
                if day == last {
                    break;
                }
                // `sat-mon` goes over the end of the week.
                day = (day + 1) % NAMES.len();
            }
        }
        Some(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0x7f {
            return f.write_str(DAILY);
        }
        let mut parts = Vec::new();
        let mut day = 0;
        while day < NAMES.len() {
            let length = (day..NAMES.len())
                .take_while(|d| self.0 & (1 << d) != 0)
                .count();
            match length {
                0 => {}
                1 | 2 => parts.extend(NAMES[day..day + length].iter().map(ToString::to_string)),
                _ => parts.push(format!("{}-{}", NAMES[day], NAMES[day + length - 1])),
            }
            day += length.max(1);
        }
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, "{} {}-{}", self.days, clock(self.from), clock(self.to))
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        parse(&text.to_ascii_lowercase()).ok_or_else(|| WindowError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Window> {
    let mut words = text.split_ascii_whitespace();
    let (first, second) = (words.next()?, words.next());
    let (days, times) = match second {
        Some(times) => (Days::parse(first)?, times),
        None => (Days::parse(DAILY)?, first),
    };
    let (from, to) = times.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    // What ends at midnight ends with the day, and what is as long as it is short is a mistake.
    let to = if to == 0 { MIDNIGHT } else { to };
    (words.next().is_none() && from < MIDNIGHT && from != to).then_some(Window { days, from, to })
}

fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let is_good = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        is_good.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= MIDNIGHT).then_some(all)
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    /// When a window opens next, in the words of the place.
    fn next(text: &str, place: &str, from: &str) -> String {
        let zone = zone(place);
        let from: DateTime = from.parse().unwrap();
        let from = zone.to_timestamp(from).unwrap();
        let opens = window(text).opening(&zone, from).unwrap();
        let opens = opens.to_zoned_datetime(zone);
        opens.strftime("%a %Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    #[test]
    fn a_window_has_one_form_that_is_shown() {
        for (text, shown) in [
            ("sat,sun 02:00-05:00", "sat,sun 02:00-05:00"),
            ("Mon-Fri 22:00-04:00", "mon-fri 22:00-04:00"),
            ("02:00-05:00", "daily 02:00-05:00"),
            ("daily 00:00-00:00", "daily 00:00-24:00"),
            ("sat-mon 00:00-01:30", "mon,sat,sun 00:00-01:30"),
            ("mon,tue,wed,fri  23:59-24:00", "mon-wed,fri 23:59-24:00"),
            ("mon-sun 03:00-04:00", "daily 03:00-04:00"),
        ] {
            assert_eq!(window(text).to_string(), shown, "{text}");
            assert_eq!(window(shown), window(text), "{text}");
        }
        assert_eq!(window("daily 00:00-24:00"), Window::ALWAYS);
        assert_eq!(window("02:00-05:00"), Window::NIGHTLY);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "sat",
            "sat 02:00",
            "sat 2:00-5:00",
            "sat 02:00-25:00",
            "sat 02:60-03:00",
            "sat 24:00-03:00",
            "sat 02:00-02:00",
            "sat, 02:00-03:00",
            "mon-xyz 02:00-03:00",
            "saturday 02:00-03:00",
            "sat 02:00-03:00 UTC",
            "sat 02:00–03:00",
            "sat -1:00-03:00",
            "sat +2:00-03:00",
        ] {
            let error = text.parse::<Window>().unwrap_err();
            assert_eq!(error, WindowError(text.into()));
        }
    }

    #[test]
    fn it_opens_on_its_days_at_its_time() {
        let berlin = "Europe/Berlin";
        let weekend = "sat,sun 02:00-05:00";
        // A Tuesday.
        let tuesday = "2026-11-24T12:00:00";
        assert_eq!(
            next(weekend, berlin, tuesday),
            "Sat 2026-11-28T02:00:00+01:00"
        );
        let inside = "2026-11-28T03:30:00";
        assert_eq!(
            next(weekend, berlin, inside),
            "Sat 2026-11-28T03:30:00+01:00"
        );
        // What closes at five is closed at five.
        let closed = "2026-11-28T05:00:00";
        assert_eq!(
            next(weekend, berlin, closed),
            "Sun 2026-11-29T02:00:00+01:00"
        );
        let last = "2026-11-29T05:00:00";
        assert_eq!(next(weekend, berlin, last), "Sat 2026-12-05T02:00:00+01:00");
    }

    #[test]
    fn over_midnight_it_belongs_to_the_day_on_which_it_began() {
        let night = "fri 22:00-04:00";
        let utc = "UTC";
        let saturday = "2026-11-28T03:59:59";
        assert_eq!(next(night, utc, saturday), "Sat 2026-11-28T03:59:59+00:00");
        let late = "2026-11-28T04:00:00";
        assert_eq!(next(night, utc, late), "Fri 2026-12-04T22:00:00+00:00");
        let friday = "2026-11-27T03:00:00";
        assert_eq!(next(night, utc, friday), "Fri 2026-11-27T22:00:00+00:00");
    }

    #[test]
    fn a_window_in_the_hour_that_clocks_skip_is_not_skipped() {
        // 2026-03-29: at two it was three in Berlin.
        let berlin = "Europe/Berlin";
        let evening = "2026-03-28T20:00:00";
        let opens = "Sun 2026-03-29T03:00:00+02:00";
        assert_eq!(next("sun 02:00-03:00", berlin, evening), opens);
        let inside = "2026-03-29T03:59:00";
        let same = "Sun 2026-03-29T03:59:00+02:00";
        assert_eq!(next("sun 02:00-03:00", berlin, inside), same);
        let week_later = "Sun 2026-04-05T02:00:00+02:00";
        let after = "2026-03-29T04:00:00";
        assert_eq!(next("sun 02:00-03:00", berlin, after), week_later);
    }

    #[test]
    fn a_window_in_the_hour_that_clocks_repeat_is_one_window() {
        // 2026-10-25: at three it was two again in Berlin.
        let zone = zone("Europe/Berlin");
        let window = window("sun 02:00-03:00");
        let first: Timestamp = "2026-10-25T00:00:00Z".parse().unwrap();
        let length = SignedDuration::from_hours(2);
        assert_eq!(window.opening(&zone, first), Some(first));
        let last = first + length - SignedDuration::from_secs(1);
        assert_eq!(window.opening(&zone, last), Some(last));
        let after = window.opening(&zone, first + length).unwrap();
        assert!(after > first + SignedDuration::from_hours(24 * 6));
    }

    #[test]
    fn the_earliest_of_several_counts() {
        let zone = TimeZone::UTC;
        let windows = [window("sun 01:00-02:00"), window("wed 23:00-01:00")];
        let from: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let opens = opening(&windows, &zone, from).unwrap();
        assert_eq!(opens.to_string(), "2026-11-25T23:00:00Z");
        assert_eq!(opening(&[], &zone, from), None);
    }

    proptest! {
        #[test]
        fn an_opening_is_never_in_the_past_and_is_open_itself(
            days in 1_u8..128, from in 0_u16..1440, length in 1_u16..1440,
            second in 1_700_000_000_i64..1_900_000_000,
            place in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns",
                "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]),
        ) {
            let zone = zone(place);
            let to = (from + length) % MIDNIGHT;
            let window = Window { days: Days(days), from, to: if to == 0 { MIDNIGHT } else { to } };
            let now = Timestamp::from_second(second).unwrap();
            let opens = window.opening(&zone, now).unwrap();
            prop_assert!(opens >= now);
            prop_assert_eq!(window.opening(&zone, opens), Some(opens), "{}", window);
            // A week, and the hour that a change of clocks can add.
            prop_assert!(opens.duration_since(now) <= SignedDuration::from_hours(7 * 24 + 1));
            let text = window.to_string();
            prop_assert_eq!(text.parse::<Window>(), Ok(window), "{}", text);
        }
    }
}
