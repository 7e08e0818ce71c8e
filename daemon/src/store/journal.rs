//! The journal: each run, its phase, and the intent and outcome of every step.
//!
//! A phase is changed in one transaction with the outcome of the one before it, so a reader sees
//! either both or neither. There is at most one run that has not ended.

use std::collections::BTreeMap;

use berth_format::Refusal;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::{Installed, Result, Store, put};
use crate::update::{Event, Phase, Plan};

/// An update, rollback or reconfiguration.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: i64,
    pub plan: Plan,
    /// Config values of each hop: a stop runs with its own defaults.
    pub values: Vec<BTreeMap<String, String>>,
    /// Index in the plan's hops.
    pub hop: usize,
    pub phase: Phase,
    pub started: Timestamp,
    /// `None` while it is under way.
    pub ended: Option<Ended>,
    /// The first thing that went wrong.
    pub failure: Option<Refusal>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub at: Timestamp,
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new version runs.
    Committed,
    /// The version before the failed hop runs.
    RolledBack,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: i64,
    pub run: i64,
    pub hop: usize,
    pub at: Timestamp,
    pub phase: Phase,
    pub event: Event,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Run {
    /// Config values of the stack that the current hop makes.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.values.get(self.hop).cloned().unwrap_or_default()
    }
}

impl Store {
    /// Records a new run in its first phase.
    pub fn begin(
        &self,
        plan: &Plan,
        values: &[BTreeMap<String, String>],
        phase: Phase,
        at: Timestamp,
    ) -> Result<Run> {
        let mut db = self.db();
        let tx = db.transaction()?;
        tx.execute(
            "INSERT INTO runs (plan, \"values\", phase, started) VALUES (?1, ?2, ?3, ?4)",
            (
                serde_json::to_string(plan)?,
                serde_json::to_string(values)?,
                serde_json::to_string(&phase)?,
                at.to_string(),
            ),
        )?;
        let id = tx.last_insert_rowid();
        entry(&tx, (id, 0), at, phase, Event::Begun, "")?;
        tx.commit()?;
        Ok(Run {
            id,
            plan: plan.clone(),
            values: values.to_vec(),
            hop: 0,
            phase,
            started: at,
            ended: None,
            failure: None,
        })
    }

    /// Records the outcome of the run's phase and the intent of the next, in one transaction.
    ///
    /// `commit` is the stack that this outcome makes the installed one.
    pub fn advance(
        &self,
        run: &mut Run,
        event: Event,
        next: Phase,
        detail: &str,
        commit: Option<&Installed>,
        at: Timestamp,
    ) -> Result<()> {
        let mut db = self.db();
        let tx = db.transaction()?;
        entry(&tx, (run.id, run.hop), at, run.phase, event, detail)?;
        let last_hop = run.hop + 1 >= run.plan.hops.len();
        let mut after = run.clone();
        after.phase = next;
        match next {
            // The next hop begins where this one ended.
            Phase::Idle if matches!(run.phase, Phase::Forward(_)) && !last_hop => {
                after.hop += 1;
                after.phase = crate::update::transition::next(Phase::Idle, Event::Begun)
                    .unwrap_or(Phase::Idle);
                entry(
                    &tx,
                    (after.id, after.hop),
                    at,
                    after.phase,
                    Event::Begun,
                    "",
                )?;
            }
            Phase::Idle => {
                let outcome = match run.phase {
                    Phase::Forward(_) => Outcome::Committed,
                    Phase::Idle | Phase::Back(_) | Phase::Halted(_) => Outcome::RolledBack,
                };
                after.ended = Some(Ended { at, outcome });
                tx.execute(
                    "UPDATE runs SET ended = ?2, outcome = ?3 WHERE id = ?1",
                    (run.id, at.to_string(), serde_json::to_string(&outcome)?),
                )?;
            }
            phase => entry(&tx, (run.id, run.hop), at, phase, Event::Begun, "")?,
        }
        let failure = after
            .failure
            .as_ref()
            .map(serde_json::to_string)
            .transpose()?;
        tx.execute(
            "UPDATE runs SET hop = ?2, phase = ?3, failure = ?4 WHERE id = ?1",
            (
                run.id,
                index(after.hop),
                serde_json::to_string(&after.phase)?,
                failure,
            ),
        )?;
        if let Some(installed) = commit {
            put(&tx, "installed", installed)?;
        }
        tx.commit()?;
        *run = after;
        Ok(())
    }

    /// The run that is under way, if one is.
    pub fn current(&self) -> Result<Option<Run>> {
        let db = self.db();
        let row = db
            .query_row(&format!("{SELECT} WHERE ended IS NULL"), [], raw)
            .optional()?;
        row.map(Raw::read).transpose()
    }

    /// One run.
    pub fn run(&self, id: i64) -> Result<Option<Run>> {
        let db = self.db();
        let row = db
            .query_row(&format!("{SELECT} WHERE id = ?1"), [id], raw)
            .optional()?;
        row.map(Raw::read).transpose()
    }

    /// The last runs, newest first.
    pub fn history(&self, limit: u32) -> Result<Vec<Run>> {
        let db = self.db();
        let mut statement = db.prepare(&format!("{SELECT} ORDER BY id DESC LIMIT ?1"))?;
        let rows = statement
            .query_map([limit], raw)?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter().map(Raw::read).collect()
    }

    /// Number of the last journal line of any run; 0 before the first.
    pub fn last_entry(&self) -> Result<i64> {
        let last = "SELECT coalesce(max(seq), 0) FROM entries";
        Ok(self.db().query_row(last, [], |row| row.get(0))?)
    }

    /// Journal lines after `seq`, at most `limit`.
    pub fn entries(&self, run: i64, after: i64, limit: u32) -> Result<Vec<Entry>> {
        let db = self.db();
        let mut statement = db.prepare(
            "SELECT seq, run, hop, at, phase, event, detail FROM entries
             WHERE run = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        )?;
        let rows = statement
            .query_map((run, after, limit), |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    [
                        row.get::<_, String>(3)?,
                        row.get(4)?,
                        row.get(5)?,
                        row.get(6)?,
                    ],
                ))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter()
            .map(|(seq, run, hop, [at, phase, event, detail])| {
                Ok(Entry {
                    seq,
                    run,
                    hop: usize::try_from(hop).unwrap_or_default(),
                    at: timestamp(&at)?,
                    phase: serde_json::from_str(&phase)?,
                    event: serde_json::from_str(&event)?,
                    detail,
                })
            })
            .collect()
    }

    /// Notes what an undo of this hop must know, before it is done.
    pub fn note(&self, run: &Run, kind: &str, name: &str, value: &str) -> Result<()> {
        self.db().execute(
            "INSERT INTO notes (run, hop, kind, name, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (run, hop, kind, name) DO UPDATE SET value = excluded.value",
            (run.id, index(run.hop), kind, name, value),
        )?;
        Ok(())
    }

    /// Forgets notes of one kind: what they spoke of is done with.
    pub fn forget_notes(&self, run: i64, hop: usize, kind: &str) -> Result<()> {
        self.db().execute(
            "DELETE FROM notes WHERE run = ?1 AND hop = ?2 AND kind = ?3",
            (run, index(hop), kind),
        )?;
        Ok(())
    }

    /// Notes of one kind, by name.
    pub fn notes(&self, run: i64, hop: usize, kind: &str) -> Result<BTreeMap<String, String>> {
        let db = self.db();
        let mut statement =
            db.prepare("SELECT name, value FROM notes WHERE run = ?1 AND hop = ?2 AND kind = ?3")?;
        let notes = statement
            .query_map((run, index(hop), kind), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(notes)
    }
}

const SELECT: &str =
    "SELECT id, plan, \"values\", hop, phase, started, ended, outcome, failure FROM runs";

struct Raw {
    id: i64,
    plan: String,
    values: String,
    hop: i64,
    phase: String,
    started: String,
    ended: Option<String>,
    outcome: Option<String>,
    failure: Option<String>,
}

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok(Raw {
        id: row.get(0)?,
        plan: row.get(1)?,
        values: row.get(2)?,
        hop: row.get(3)?,
        phase: row.get(4)?,
        started: row.get(5)?,
        ended: row.get(6)?,
        outcome: row.get(7)?,
        failure: row.get(8)?,
    })
}

impl Raw {
    fn read(self) -> Result<Run> {
        let ended = match (self.ended, self.outcome) {
            (Some(at), Some(outcome)) => Some(Ended {
                at: timestamp(&at)?,
                outcome: serde_json::from_str(&outcome)?,
            }),
            _ => None,
        };
        Ok(Run {
            id: self.id,
            plan: serde_json::from_str(&self.plan)?,
            values: serde_json::from_str(&self.values)?,
            hop: usize::try_from(self.hop).unwrap_or_default(),
            phase: serde_json::from_str(&self.phase)?,
            started: timestamp(&self.started)?,
            ended,
            failure: self.failure.map(|f| serde_json::from_str(&f)).transpose()?,
        })
    }
}

fn entry(
    db: &Connection,
    (run, hop): (i64, usize),
    at: Timestamp,
    phase: Phase,
    event: Event,
    detail: &str,
) -> Result<()> {
    db.execute(
        "INSERT INTO entries (run, hop, at, phase, event, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            run,
            index(hop),
            at.to_string(),
            serde_json::to_string(&phase)?,
            serde_json::to_string(&event)?,
            detail,
        ),
    )?;
    Ok(())
}

fn index(hop: usize) -> i64 {
    i64::try_from(hop).unwrap_or(i64::MAX)
}

fn timestamp(text: &str) -> Result<Timestamp> {
    Ok(serde_json::from_value(serde_json::Value::String(
        text.to_owned(),
    ))?)
}
