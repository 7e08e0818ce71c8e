//! Delivers what waits: each receiver's line in order, each line by itself, with pauses that grow.
//!
//! While nothing waits, nothing runs: no timer, no connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_format::Name;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::{Again, Letter, NotifyError, Receiver, Topic, deliver};
use crate::host::Host;
use crate::release::download::{Backoff, Real, Timing};
use crate::store::{Store, StoreError, Tried, Waiting};

/// Until the next look at a store that cannot be read or written: a full disk, mostly.
const MENDING: Duration = Duration::from_mins(1);

/// Whose turn it is, and with what.
type Turn = (Name, Receiver, Waiting);

/// How often, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Its rounds are tries of one announcement.
    pub backoff: Backoff,
    /// Tries of what the receiver does not want.
    pub unwanted: u32,
    /// What is older is not tried again: it is no news any more.
    pub age: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        Self {
            backoff: Backoff {
                // For a clock that stands still; else the age comes first.
                rounds: 500,
                first: Duration::from_secs(10),
                most: hour,
                obey: hour,
            },
            unwanted: 5,
            // A long weekend.
            age: SignedDuration::from_hours(3 * 24),
        }
    }
}

/// What waits to be told, and who tells it. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    store: Store,
    wake: Arc<Notify>,
    limits: Limits,
}

impl Outbox {
    /// Over the store that keeps it.
    pub fn new(store: Store) -> Self {
        Self::with(store, Limits::default())
    }

    /// With other limits.
    pub fn with(store: Store, limits: Limits) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            store,
            wake,
            limits,
        }
    }

    /// Writes a letter down for everybody who wants it. Nobody is waited for.
    pub fn put(&self, letter: &Letter, topic: Option<&Topic>, now: Timestamp) {
        match self.store.announce(letter, topic, now) {
            Ok(true) => {
                log::info!(EVENT = letter.event.as_str(); "announced: {}", letter.data.summary);
                self.wake.notify_one();
            }
            Ok(false) => {}
            Err(error) => {
                log::error!("an announcement cannot be written down: {error}");
                self.at_once(letter.clone());
            }
        }
    }

    /// Looks again: the settings have changed.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// A full disk is what people want to be told of most: one try each, without the store.
    fn at_once(&self, letter: Letter) {
        let Ok(receivers) = self.store.receivers() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            for (name, receiver) in receivers {
                if receiver.wants(letter.event)
                    && let Err(error) = deliver(&receiver, &letter).await
                {
                    log::warn!("{name} was not told: {error}");
                }
            }
        });
    }

    /// Delivers until the task is dropped. What is cut then is tried again at the next start.
    pub async fn run<H: Host>(&self, host: &H) {
        let mut busy = BTreeSet::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            let next = match self.due(host.now(), &busy) {
                Ok((due, next)) => {
                    for (name, receiver, waiting) in due {
                        busy.insert(name.clone());
                        under_way.push(self.turn(host, name, receiver, waiting));
                    }
                    next
                }
                Err(error) => {
                    log::error!("what waits to be told cannot be read: {error}");
                    Some(MENDING)
                }
            };
            let pause = async {
                match next {
                    Some(next) => host.sleep(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                Some(name) = under_way.next(), if !under_way.is_empty() => {
                    busy.remove(&name);
                }
                () = pause => {}
            }
        }
    }

    /// Whose turn it is, and how long until the next turn of those who have to wait.
    fn due(
        &self,
        now: Timestamp,
        busy: &BTreeSet<Name>,
    ) -> Result<(Vec<Turn>, Option<Duration>), StoreError> {
        let lines = self.store.first_waiting()?;
        if lines.keys().all(|name| busy.contains(name)) {
            return Ok((Vec::new(), None));
        }
        let mut receivers = self.store.receivers()?;
        let (mut due, mut next) = (Vec::new(), None);
        for (name, waiting) in lines {
            if busy.contains(&name) {
                continue;
            }
            let Some(receiver) = receivers.remove(&name) else {
                continue;
            };
            let wait = Duration::try_from(waiting.due.duration_since(now)).unwrap_or_default();
            // No pause is longer: the clock was put back.
            if wait.is_zero() || wait > self.limits.backoff.most {
                due.push((name, receiver, waiting));
            } else {
                next = Some(next.map_or(wait, |next: Duration| next.min(wait)));
            }
        }
        Ok((due, next))
    }

    /// One try, and what became of it written down. A receiver has no other turn before that: who
    /// has got it does not get it again because a disk is full.
    async fn turn<H: Host>(
        &self,
        host: &H,
        name: Name,
        receiver: Receiver,
        waiting: Waiting,
    ) -> Name {
        let tried = match deliver(&receiver, &waiting.letter).await {
            Ok(()) => Tried::Delivered,
            Err(error) => {
                let tried = self.judge(&waiting, &error, host.now(), Real::default().random());
                match &tried {
                    Tried::GivenUp(..) => {
                        log::error!("{name} is not told of {}: {error}", waiting.letter.event);
                    }
                    _ => log::warn!("{name} was not told yet: {error}"),
                }
                tried
            }
        };
        while let Err(error) = self.store.tried(&name, waiting.seq, &tried, host.now()) {
            log::error!("what became of it cannot be written down: {error}");
            host.sleep(MENDING).await;
        }
        name
    }

    fn judge(&self, waiting: &Waiting, error: &NotifyError, now: Timestamp, random: u64) -> Tried {
        let Limits {
            backoff,
            unwanted,
            age,
        } = self.limits;
        let tries = waiting.tries + 1;
        let asked = error.retry_after().unwrap_or_default().min(backoff.obey);
        let pause = backoff.pause(waiting.tries, random).max(asked);
        let due = now.checked_add(pause).unwrap_or(now);
        let again = error.again();
        let old = now.duration_since(waiting.letter.timestamp) > age;
        let enough = match again {
            Again::Later => backoff.rounds,
            Again::Unwanted => unwanted,
            Again::Never => 0,
        };
        if !old && tries < enough {
            return Tried::Later(error.to_string(), due);
        }
        // Another letter may be wanted now; but one that nobody heard says nothing of that.
        let next = if again == Again::Unwanted { now } else { due };
        Tried::GivenUp(error.to_string(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::announcement::{Announcement, Sender};
    use super::*;

    fn waiting(tries: u32, at: i64) -> Waiting {
        let sender = Sender {
            host: "box".into(),
            appliance: "ab".into(),
            product: None,
            title: None,
        };
        let at = Timestamp::from_second(at).unwrap();
        Waiting {
            seq: 1,
            letter: Letter::new(&Announcement::test(), sender, at),
            tries,
            due: at,
        }
    }

    fn status(status: u16, retry_after: Option<Duration>) -> NotifyError {
        NotifyError::Status {
            at: "hooks.example".into(),
            status,
            said: String::new(),
            retry_after,
        }
    }

    /// Seconds until the next try; `None`: it is given up.
    fn pause(waiting: &Waiting, error: &NotifyError, now: i64) -> Option<i64> {
        let outbox = Outbox::new(Store::in_memory().unwrap());
        let now = Timestamp::from_second(now).unwrap();
        match outbox.judge(waiting, error, now, u64::MAX) {
            Tried::Later(_, due) => Some(due.as_second() - now.as_second() + 1),
            _ => None,
        }
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_a_weekend() {
        let away = status(503, None);
        for (tries, seconds) in [(0, 10), (1, 20), (8, 2560), (9, 3600), (300, 3600)] {
            assert_eq!(
                pause(&waiting(tries, 0), &away, 60),
                Some(seconds),
                "{tries}"
            );
        }
        let day = 24 * 3600;
        assert_eq!(pause(&waiting(9, 0), &away, 3 * day), Some(3600));
        assert_eq!(pause(&waiting(9, 0), &away, 3 * day + 1), None);
        assert_eq!(pause(&waiting(499, 0), &away, 0), None, "the clock stands");
        assert_eq!(
            pause(&waiting(1, 9 * day), &away, 0),
            Some(20),
            "it was put back"
        );
    }

    #[test]
    fn a_receiver_that_says_when_is_obeyed_up_to_an_hour() {
        let busy = |seconds| status(429, Some(Duration::from_secs(seconds)));
        assert_eq!(pause(&waiting(0, 0), &busy(120), 0), Some(121));
        assert_eq!(pause(&waiting(0, 0), &busy(u64::MAX), 0), Some(3601));
    }

    #[test]
    fn what_is_not_wanted_is_tried_a_few_times_and_what_is_gone_never() {
        assert!(pause(&waiting(3, 0), &status(400, None), 0).is_some());
        assert_eq!(pause(&waiting(4, 0), &status(400, None), 0), None);
        assert_eq!(pause(&waiting(0, 0), &status(410, None), 0), None);
        assert!(pause(&waiting(20, 0), &status(401, None), 0).is_some());
        let redirect = pause(&waiting(4, 0), &status(302, None), 0);
        assert_eq!(redirect, None, "it is not followed, and no success");
    }
}
