//! When to ask again, and whom: mirrors in order, then a pause, then from the first again.

use std::future::Future;
use std::time::{Duration, Instant};

use super::error::{Again, DownloadError};

/// Time and chance, so that tests need neither.
pub trait Timing: Send + Sync + 'static {
    /// Time since an arbitrary point; it never goes back.
    fn now(&self) -> Duration;

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;

    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The real ones.
#[derive(Debug, Clone, Copy)]
pub struct Real(Instant);

impl Default for Real {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Timing for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness the pauses are only less spread.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        u64::from_ne_bytes(bytes)
    }
}

/// How often, and with what pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Rounds over all mirrors without any progress, before it is given up.
    pub rounds: u32,
    /// The longest pause after the first round; it doubles with each.
    pub first: Duration,
    /// The longest pause of all.
    pub most: Duration,
    /// The longest `Retry-After` that is obeyed.
    pub obey: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            rounds: 6,
            first: Duration::from_secs(1),
            most: Duration::from_mins(1),
            obey: Duration::from_mins(5),
        }
    }
}

impl Backoff {
    /// The pause after round `round`, counted from 0: full jitter, so that appliances which lost
    /// the same server do not come back all at once.
    pub(crate) fn pause(&self, round: u32, random: u64) -> Duration {
        let longest = self
            .first
            .saturating_mul(1_u32.checked_shl(round).unwrap_or(u32::MAX))
            .min(self.most);
        let micros = (longest.as_micros() * u128::from(random)) >> 64;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// Whom to ask next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This mirror, after this pause.
    Ask(usize, Duration),
    GiveUp,
}

/// The turns of one file.
#[derive(Debug)]
pub struct Turns {
    backoff: Backoff,
    current: usize,
    /// Whether a mirror is still worth asking.
    useful: Vec<bool>,
    round: u32,
    /// The longest pause that a server of this round asked for.
    asked: Duration,
}

impl Turns {
    /// Begins at the first of `mirrors`.
    pub fn new(backoff: Backoff, mirrors: usize) -> Self {
        Self {
            backoff,
            current: 0,
            useful: vec![true; mirrors],
            round: 0,
            asked: Duration::ZERO,
        }
    }

    /// Whose turn it is.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The turn failed without bringing anything new.
    pub fn failed(&mut self, error: &DownloadError, random: u64) -> Next {
        match error.again() {
            Again::Never => return Next::GiveUp,
            Again::Elsewhere => self.useful[self.current] = false,
            Again::Later => {
                let asked = error.retry_after().unwrap_or_default();
                self.asked = self.asked.max(asked.min(self.backoff.obey));
            }
        }
        let mirrors = self.useful.len();
        let after = (self.current + 1..mirrors).find(|i| self.useful[*i]);
        if let Some(next) = after {
            self.current = next;
            return Next::Ask(next, Duration::ZERO);
        }
        let pause = self.backoff.pause(self.round, random).max(self.asked);
        self.round += 1;
        self.asked = Duration::ZERO;
        match self.useful.iter().position(|useful| *useful) {
            Some(first) if self.round < self.backoff.rounds => {
                self.current = first;
                Next::Ask(first, pause)
            }
            _ => Next::GiveUp,
        }
    }

    /// The turn failed, but brought something new: the same mirror goes on, after a short pause.
    pub fn progressed(&mut self, random: u64) -> Next {
        self.round = 0;
        self.asked = Duration::ZERO;
        Next::Ask(self.current, self.backoff.pause(0, random))
    }
}

/// Reads `Retry-After`: seconds. The other form, a date, is rare and needs a clock: not obeyed.
pub(crate) fn retry_after(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    text.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn cut() -> DownloadError {
        DownloadError::Cut {
            at: "m".into(),
            why: "x".into(),
        }
    }

    fn status(status: u16, retry_after: Option<u64>) -> DownloadError {
        DownloadError::Status {
            at: "m".into(),
            name: "n".into(),
            status,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_are_spread_over_all_of_it() {
        let backoff = Backoff::default();
        for (round, seconds) in [(0, 1), (1, 2), (5, 32), (6, 60), (40, 60), (u32::MAX, 60)] {
            let longest = backoff.pause(round, u64::MAX);
            let expected = Duration::from_secs(seconds);
            assert!(longest < expected && longest + Duration::from_millis(1) > expected);
            assert_eq!(backoff.pause(round, 0), ZERO);
        }
        assert_eq!(backoff.pause(1, 1 << 63), Duration::from_secs(1));
    }

    #[test]
    fn mirrors_are_asked_in_order_and_then_there_is_a_pause() {
        let mut turns = Turns::new(Backoff::default(), 3);
        assert_eq!(turns.current(), 0);
        assert_eq!(turns.failed(&cut(), 0), Next::Ask(1, ZERO));
        assert_eq!(turns.failed(&status(403, None), 0), Next::Ask(2, ZERO));
        let half = Duration::from_millis(500);
        assert_eq!(turns.failed(&cut(), 1 << 63), Next::Ask(0, half));
        assert_eq!(
            turns.failed(&cut(), 0),
            Next::Ask(2, ZERO),
            "not the one that refused"
        );
    }

    #[test]
    fn it_is_given_up_after_the_last_round_or_when_nobody_is_left() {
        let mut turns = Turns::new(Backoff::default(), 1);
        for _ in 0..5 {
            assert!(matches!(turns.failed(&cut(), 0), Next::Ask(0, _)));
        }
        assert_eq!(turns.failed(&cut(), 0), Next::GiveUp);

        let mut turns = Turns::new(Backoff::default(), 1);
        assert_eq!(turns.failed(&status(401, None), 0), Next::GiveUp);

        let mut turns = Turns::new(Backoff::default(), 2);
        let busy = DownloadError::Busy("/x".into());
        assert_eq!(turns.failed(&busy, 0), Next::GiveUp, "no mirror's fault");
    }

    #[test]
    fn new_bytes_make_the_count_start_over_at_the_same_mirror() {
        let mut turns = Turns::new(Backoff::default(), 2);
        assert_eq!(turns.failed(&cut(), 0), Next::Ask(1, ZERO));
        for _ in 0..100 {
            assert_eq!(turns.progressed(0), Next::Ask(1, ZERO));
        }
        assert!(matches!(turns.failed(&cut(), 0), Next::Ask(0, _)));
    }

    #[test]
    fn retry_after_is_obeyed_up_to_a_limit() {
        let wait = |seconds| {
            let mut turns = Turns::new(Backoff::default(), 1);
            turns.failed(&status(503, Some(seconds)), 0)
        };
        assert_eq!(wait(7), Next::Ask(0, Duration::from_secs(7)));
        assert_eq!(wait(u64::MAX), Next::Ask(0, Duration::from_mins(5)));
        assert_eq!(retry_after(b"120"), Some(Duration::from_mins(2)));
        for bad in ["", "-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(retry_after(bad.as_bytes()), None);
        }
    }
}
