//! Who is told what happens here, and what waits to be told.
//!
//! What waits is written down before anybody is told, so a restart loses nothing. Each receiver
//! has a bounded line; the oldest gives way.

use std::collections::BTreeMap;

use berth_format::Name;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{Result, Store, get, put};
use crate::notify::{Delivery, Letter, Receiver, State, Topic};

/// So many announcements wait for one receiver at most.
pub const WAITING: u32 = 200;

/// So much is kept of what was delivered or given up.
const KEPT: u32 = 200;

/// Why something was given up that a newer one pushed out.
const CROWDED: &str = "too much was waiting";

/// The first in a receiver's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub seq: i64,
    pub letter: Letter,
    /// How often it was tried.
    pub tries: u32,
    /// Not before this.
    pub due: Timestamp,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    Delivered,
    /// It will not be tried again; what waits behind it not before this.
    GivenUp(String, Timestamp),
    /// It and all that waits behind it are not tried before this.
    Later(String, Timestamp),
}

impl Store {
    /// Everybody who is told.
    pub fn receivers(&self) -> Result<BTreeMap<Name, Receiver>> {
        Ok(self.get("receivers")?.unwrap_or_default())
    }

    /// Whether anybody is told anything.
    pub fn has_receiver(&self) -> Result<bool> {
        Ok(!self.receivers()?.is_empty())
    }

    /// Sets a receiver, or takes it away with all that waits for it; whether it was there.
    pub fn set_receiver(&self, name: &Name, receiver: Option<&Receiver>) -> Result<bool> {
        let mut db = self.db();
        let tx = db.transaction()?;
        let mut all: BTreeMap<Name, Receiver> = get(&tx, "receivers")?.unwrap_or_default();
        let before = if let Some(receiver) = receiver {
            // What was wrong may be mended: what waits is tried now.
            tx.execute(
                "UPDATE outbox SET due = 0 WHERE receiver = ?1 AND state = 'waiting'",
                [name.as_str()],
            )?;
            all.insert(name.clone(), receiver.clone())
        } else {
            tx.execute("DELETE FROM outbox WHERE receiver = ?1", [name.as_str()])?;
            all.remove(name)
        };
        put(&tx, "receivers", &all)?;
        tx.commit()?;
        Ok(before.is_some())
    }

    /// Puts a letter into the line of everybody who wants it, unless its topic was told already;
    /// whether anybody will be told.
    pub fn announce(&self, letter: &Letter, topic: Option<&Topic>, now: Timestamp) -> Result<bool> {
        let mut db = self.db();
        let tx = db.transaction()?;
        if let Some(topic) = topic
            && told(&tx, &topic.name)?.as_ref() == Some(&topic.what)
        {
            return Ok(false);
        }
        let all: BTreeMap<Name, Receiver> = get(&tx, "receivers")?.unwrap_or_default();
        let body = serde_json::to_string(letter)?;
        let mut anybody = false;
        for (name, receiver) in &all {
            if !receiver.wants(letter.event) {
                continue;
            }
            anybody = true;
            tx.execute(
                "INSERT INTO outbox (receiver, letter, due) VALUES (?1, ?2, ?3)",
                (name.as_str(), &body, now.as_millisecond()),
            )?;
            // News are worth a try, however long the next one was put off.
            tx.execute(
                "UPDATE outbox SET due = min(due, ?2) WHERE receiver = ?1 AND state = 'waiting'",
                (name.as_str(), now.as_millisecond()),
            )?;
            tx.execute(
                "UPDATE outbox SET state = 'failed', error = ?2, due = ?3
                 WHERE receiver = ?1 AND state = 'waiting' AND seq <= (
                     SELECT seq FROM outbox WHERE receiver = ?1 AND state = 'waiting'
                     ORDER BY seq DESC LIMIT 1 OFFSET ?4)",
                (name.as_str(), CROWDED, now.as_millisecond(), WAITING),
            )?;
        }
        if !anybody {
            return Ok(false);
        }
        if let Some(topic) = topic {
            tx.execute(
                "INSERT INTO told (topic, what) VALUES (?1, ?2)
                 ON CONFLICT (topic) DO UPDATE SET what = excluded.what",
                (&topic.name, &topic.what),
            )?;
        }
        prune(&tx)?;
        tx.commit()?;
        Ok(true)
    }

    /// What was last told of a topic.
    pub fn told(&self, topic: &str) -> Result<Option<String>> {
        told(&self.db(), topic)
    }

    /// It is good again: the next time is news. Whether it had been told.
    pub fn forget_told(&self, topic: &str) -> Result<bool> {
        let gone = self
            .db()
            .execute("DELETE FROM told WHERE topic = ?1", [topic])?;
        Ok(gone > 0)
    }

    /// The first in each line.
    pub fn first_waiting(&self) -> Result<BTreeMap<Name, Waiting>> {
        let db = self.db();
        let mut statement = db.prepare(
            "SELECT receiver, seq, letter, tries, due FROM outbox WHERE seq IN (
                 SELECT min(seq) FROM outbox WHERE state = 'waiting' GROUP BY receiver)",
        )?;
        let rows = statement
            .query_map([], |row| {
                let receiver: String = row.get(0)?;
                let letter: String = row.get(2)?;
                Ok((receiver, row.get(1)?, letter, row.get(3)?, row.get(4)?))
            })?
            .collect::<rusqlite::Result<Vec<(String, i64, String, u32, i64)>>>()?;
        rows.into_iter()
            .map(|(receiver, seq, letter, tries, due)| {
                let waiting = Waiting {
                    seq,
                    letter: serde_json::from_str(&letter)?,
                    tries,
                    due: moment(due),
                };
                Ok((serde_json::from_value(receiver.into())?, waiting))
            })
            .collect()
    }

    /// Writes down what became of a try.
    pub fn tried(&self, receiver: &Name, seq: i64, tried: &Tried, now: Timestamp) -> Result<()> {
        let (state, error, at, pause) = match tried {
            Tried::Delivered => ("delivered", None, now, None),
            Tried::GivenUp(why, due) => ("failed", Some(why), now, Some(due)),
            Tried::Later(why, due) => ("waiting", Some(why), *due, Some(due)),
        };
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "UPDATE outbox SET tries = tries + 1, state = ?2, error = ?3, due = ?4 WHERE seq = ?1",
            (seq, state, error, at.as_millisecond()),
        )?;
        if let Some(due) = pause {
            tx.execute(
                "UPDATE outbox SET due = ?2 WHERE receiver = ?1 AND state = 'waiting'",
                (receiver.as_str(), due.as_millisecond()),
            )?;
        }
        prune(&tx)?;
        Ok(tx.commit()?)
    }

    /// How many wait for each receiver.
    pub fn waiting(&self) -> Result<BTreeMap<Name, u32>> {
        let db = self.db();
        let mut statement = db.prepare(
            "SELECT receiver, count(*) FROM outbox WHERE state = 'waiting' GROUP BY receiver",
        )?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(String, u32)>>>()?;
        rows.into_iter()
            .map(|(name, count)| Ok((serde_json::from_value(name.into())?, count)))
            .collect()
    }

    /// What waits, was delivered or was given up; newest first.
    pub fn deliveries(&self, limit: u32) -> Result<Vec<Delivery>> {
        let db = self.db();
        let mut statement = db.prepare(&format!("{DELIVERY} ORDER BY seq DESC LIMIT ?1"))?;
        let rows = statement
            .query_map([limit], raw)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter().map(Raw::read).collect()
    }

    /// The last that was delivered to a receiver, or given up.
    pub fn last_delivery(&self, receiver: &Name) -> Result<Option<Delivery>> {
        let db = self.db();
        let row = db
            .query_row(
                &format!(
                    "{DELIVERY} WHERE receiver = ?1 AND state != 'waiting' ORDER BY due DESC, seq DESC"
                ),
                [receiver.as_str()],
                raw,
            )
            .optional()?;
        row.map(Raw::read).transpose()
    }
}

const DELIVERY: &str = "SELECT receiver, state, tries, due, error, letter FROM outbox";

struct Raw {
    receiver: String,
    state: String,
    tries: u32,
    due: i64,
    error: Option<String>,
    letter: String,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        receiver: row.get(0)?,
        state: row.get(1)?,
        tries: row.get(2)?,
        due: row.get(3)?,
        error: row.get(4)?,
        letter: row.get(5)?,
    })
}

impl Raw {
    fn read(self) -> Result<Delivery> {
        Ok(Delivery {
            receiver: serde_json::from_value(self.receiver.into())?,
            state: match self.state.as_str() {
                "waiting" => State::Waiting,
                "delivered" => State::Delivered,
                _ => State::Failed,
            },
            tries: self.tries,
            at: moment(self.due),
            error: self.error,
            letter: serde_json::from_str(&self.letter)?,
        })
    }
}

fn told(db: &Connection, topic: &str) -> Result<Option<String>> {
    Ok(db
        .query_row("SELECT what FROM told WHERE topic = ?1", [topic], |row| {
            row.get(0)
        })
        .optional()?)
}

fn prune(db: &Connection) -> Result<()> {
    db.execute(
        "DELETE FROM outbox WHERE state != 'waiting' AND seq <= (
             SELECT seq FROM outbox WHERE state != 'waiting' ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
        [KEPT],
    )?;
    Ok(())
}

/// What is not a time that can be is the first one: due.
fn moment(millis: i64) -> Timestamp {
    let since = SignedDuration::from_millis(millis);
    Timestamp::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::announcement::Sender;
    use crate::notify::{Announcement, Event, Program, Way};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn receiver(only: &[Event]) -> Receiver {
        Receiver {
            way: Way::Program(Program {
                path: "/bin/true".into(),
            }),
            only: only.iter().copied().collect(),
        }
    }

    fn letter(event: Event, text: &str) -> Letter {
        let sender = Sender {
            host: "box".into(),
            appliance: "ab".into(),
            product: None,
            title: None,
        };
        Letter::new(&Announcement::new(event, text), sender, at(0))
    }

    fn tell(store: &Store, text: &str) {
        let letter = letter(Event::UpdateDone, text);
        assert!(store.announce(&letter, None, at(1)).unwrap());
    }

    fn topic(what: &str) -> Topic {
        Topic {
            name: "disk".into(),
            what: what.into(),
        }
    }

    #[test]
    fn a_topic_is_told_once_until_it_changes_or_was_good() {
        let store = Store::in_memory().unwrap();
        let low = letter(Event::DiskLow, "low");
        let say = |what| store.announce(&low, Some(&topic(what)), at(0)).unwrap();
        assert!(!say("low"), "nobody is told");
        store
            .set_receiver(&name("ops"), Some(&receiver(&[])))
            .unwrap();
        assert!(say("low"), "and so it was not told before");
        assert!(!say("low"));
        assert!(say("lower"));
        assert!(store.forget_told("disk").unwrap());
        assert!(!store.forget_told("disk").unwrap());
        assert!(say("lower"));
        assert_eq!(store.waiting().unwrap()[&name("ops")], 3);
    }

    #[test]
    fn each_is_told_what_it_wants() {
        let store = Store::in_memory().unwrap();
        store
            .set_receiver(&name("halts"), Some(&receiver(&[Event::Halted])))
            .unwrap();
        let done = letter(Event::UpdateDone, "done");
        assert!(!store.announce(&done, Some(&topic("x")), at(0)).unwrap());
        assert_eq!(store.told("disk").unwrap(), None, "nobody was told");
        store
            .set_receiver(&name("all"), Some(&receiver(&[])))
            .unwrap();
        tell(&store, "done");
        let halted = letter(Event::Halted, "halted");
        assert!(store.announce(&halted, None, at(0)).unwrap());
        let waiting = store.waiting().unwrap();
        assert_eq!((waiting[&name("all")], waiting[&name("halts")]), (2, 1));
        assert!(store.set_receiver(&name("all"), None).unwrap());
        assert!(!store.set_receiver(&name("all"), None).unwrap());
        assert_eq!(store.deliveries(9).unwrap().len(), 1, "gone with it");
    }

    #[test]
    fn a_dead_receiver_has_a_line_of_bounded_length_and_the_newest_stay() {
        let store = Store::in_memory().unwrap();
        store
            .set_receiver(&name("dead"), Some(&receiver(&[])))
            .unwrap();
        for n in 0..WAITING + KEPT + 50 {
            tell(&store, &n.to_string());
        }
        assert_eq!(store.waiting().unwrap()[&name("dead")], WAITING);
        let first = &store.first_waiting().unwrap()[&name("dead")];
        assert_eq!(first.letter.data.summary, (KEPT + 50).to_string());
        let all = store.deliveries(10_000).unwrap();
        assert_eq!(all.len(), (WAITING + KEPT) as usize);
        let oldest = all.last().unwrap();
        assert_eq!(oldest.error.as_deref(), Some(CROWDED));
        assert_eq!(oldest.letter.data.summary, "50");
    }

    #[test]
    fn a_pause_is_for_the_whole_line_and_news_end_it() {
        let store = Store::in_memory().unwrap();
        store
            .set_receiver(&name("a"), Some(&receiver(&[])))
            .unwrap();
        tell(&store, "one");
        tell(&store, "two");
        let first = || store.first_waiting().unwrap().remove(&name("a")).unwrap();
        let one = first();
        let later = Tried::Later("away".into(), at(1000));
        store.tried(&name("a"), one.seq, &later, at(2)).unwrap();
        assert_eq!(
            (first().seq, first().tries, first().due),
            (one.seq, 1, at(1000))
        );
        let given_up = Tried::GivenUp("no".into(), at(1000));
        store.tried(&name("a"), one.seq, &given_up, at(3)).unwrap();
        let two = first();
        assert_eq!((two.letter.data.summary.as_str(), two.tries), ("two", 0));
        assert_eq!(two.due, at(1000));
        tell(&store, "three");
        assert_eq!((first().seq, first().due), (two.seq, at(1)));
        store
            .tried(&name("a"), two.seq, &Tried::Delivered, at(4))
            .unwrap();
        let last = store.last_delivery(&name("a")).unwrap().unwrap();
        assert_eq!(
            (last.state, last.at, last.tries),
            (State::Delivered, at(4), 1)
        );
        assert_eq!(last.error, None);
    }

    #[test]
    fn what_waits_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .set_receiver(&name("a"), Some(&receiver(&[])))
            .unwrap();
        tell(&store, "one");
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.waiting().unwrap()[&name("a")], 1);
    }
}
