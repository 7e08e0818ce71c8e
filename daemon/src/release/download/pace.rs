//! How fast bytes may come, and how fast they have to. Pure: time is given.

use std::time::Duration;

/// The slowest line that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Bytes a second.
    pub rate: u64,
    /// Over how long it is measured.
    pub over: Duration,
}

impl Default for Floor {
    /// 1 KiB/s over a minute: slower than any modem, faster than who wants to hold us for ever.
    fn default() -> Self {
        Self {
            rate: 1 << 10,
            over: Duration::from_mins(1),
        }
    }
}

/// The time that was waited for a server, and what came in it.
///
/// Measured in spans of `over`, one after the other, so a line is given up after two of them at
/// the latest. What Berth itself sleeps for its bandwidth limit does not count.
#[derive(Debug)]
pub struct Speed {
    floor: Floor,
    waited: Duration,
    bytes: u64,
}

/// The line is slower than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSlow {
    /// What came in the last span.
    pub bytes: u64,
}

impl Speed {
    /// Nothing has come, no time has passed.
    pub fn new(floor: Floor) -> Self {
        Self {
            floor,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// How long the next bytes may take before [`Self::waited`] has to be asked.
    pub fn patience(&self) -> Duration {
        self.floor.over.saturating_sub(self.waited)
    }

    /// Counts a wait for the server, and the bytes that ended it.
    pub fn waited(&mut self, time: Duration, bytes: u64) -> Result<(), TooSlow> {
        self.waited += time;
        self.bytes += bytes;
        if self.waited < self.floor.over {
            return Ok(());
        }
        let bytes = self.bytes;
        let least = u128::from(self.floor.rate) * self.waited.as_millis() / 1000;
        if u128::from(bytes) < least {
            return Err(TooSlow { bytes });
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }
}

/// A token bucket that may owe: bytes are counted when they are here, and then slept for.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Bytes that may come now; a second's worth at the most, negative while it owes.
    tokens: i128,
    last: Duration,
}

impl Bucket {
    /// Full, at time `now`.
    pub fn new(rate: u64, now: Duration) -> Self {
        let rate = rate.max(1);
        Self {
            rate,
            tokens: i128::from(rate),
            last: now,
        }
    }

    /// Counts bytes that came at `now`; the answer is how long to sleep before taking more.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.last);
        let earned = passed.as_micros() * u128::from(self.rate) / 1_000_000;
        // A time too short for one byte is not lost: it counts with the next.
        if earned > 0 {
            self.last = now;
        }
        let earned = i128::try_from(earned).unwrap_or(i128::MAX);
        let full = i128::from(self.rate);
        self.tokens = self.tokens.saturating_add(earned).min(full) - i128::from(bytes);
        let owed = u128::try_from(-self.tokens).unwrap_or(0);
        let micros = owed.saturating_mul(1_000_000) / u128::from(self.rate);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn slow_retrieval_under_a_kibibyte_a_second_is_given_up_after_a_minute() {
        let mut speed = Speed::new(Floor::default());
        for _ in 0..59 {
            speed.waited(SECOND, 1023).unwrap();
        }
        assert_eq!(speed.patience(), SECOND);
        let slow = speed.waited(SECOND, 1023).unwrap_err();
        assert_eq!(slow.bytes, 60 * 1023);
    }

    #[test]
    fn a_kibibyte_a_second_is_enough_for_ever() {
        let mut speed = Speed::new(Floor::default());
        for _ in 0..10_000 {
            speed.waited(SECOND, 1024).unwrap();
        }
    }

    #[test]
    fn slow_retrieval_by_a_burst_and_then_nothing_ends_after_two_spans() {
        let mut speed = Speed::new(Floor::default());
        speed.waited(SECOND, 1 << 30).unwrap();
        speed.waited(speed.patience(), 0).unwrap();
        assert!(speed.waited(speed.patience(), 0).is_err());
    }

    #[test]
    fn a_bucket_lets_its_rate_through() {
        let mut bucket = Bucket::new(1000, Duration::ZERO);
        let (mut now, mut bytes) = (Duration::ZERO, 0);
        while bytes < 100_000 {
            now += bucket.take(700, now);
            bytes += 700;
        }
        let seconds = now.as_secs_f64();
        assert!((98.0..100.5).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_bucket_saves_up_one_second_at_the_most() {
        let mut bucket = Bucket::new(1000, Duration::ZERO);
        assert_eq!(bucket.take(1000, 500 * SECOND), Duration::ZERO);
        assert_eq!(bucket.take(1000, 500 * SECOND), SECOND);
        // A clock that stands still or goes back gives nothing, and takes nothing.
        assert_eq!(bucket.take(0, SECOND), SECOND);
    }

    #[test]
    fn a_bucket_earns_in_steps_shorter_than_a_byte() {
        let mut bucket = Bucket::new(10, Duration::ZERO);
        bucket.take(10, Duration::ZERO);
        for ms in 1..=1000 {
            bucket.take(0, Duration::from_millis(ms));
        }
        assert_eq!(bucket.take(10, SECOND), Duration::ZERO);
    }
}
