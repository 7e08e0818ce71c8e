//! Where an update may go from where it is: every (phase, event) pair, decided in one match.
//!
//! Pure: no engine, host or store. [`super::driver`] does what a phase says and reports back
//! with an [`Event`]; recovery is the same match with [`Event::Cut`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step forward. Everything before [`Step::Commit`] can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Images are brought into Docker.
    Fetch,
    /// New containers, networks and volumes are created, nothing is started.
    Prepare,
    /// Migrations that run beside the old stack.
    Premigrate,
    /// What changes is stopped, in reverse order.
    Stop,
    /// Volumes are copied.
    Snapshot,
    /// Migrations, or the return to a kept snapshot.
    Migrate,
    /// The new stack is started in order, each gated on health, doors closed.
    Start,
    /// One durable record.
    Commit,
    /// Doors open, restart policies are set.
    Open,
    /// What is past its keep goes.
    Prune,
}

/// A step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Everything of the new generation is stopped.
    Halt,
    /// Volumes are swapped for their snapshots.
    Restore,
    /// The old stack is started in order, doors open.
    Revive,
    /// What the update made is removed.
    Discard,
}

/// Where the one update of an appliance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "direction", content = "at")]
pub enum Phase {
    /// No update is under way.
    Idle,
    /// A step is being done.
    Forward(Step),
    /// A step is being undone.
    Back(Undo),
    /// An undo failed: nothing is started until a human says so.
    Halted(Undo),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Someone asked for an update.
    Begun,
    /// What the phase says is done.
    Done,
    /// It could not be done.
    Failed,
    /// The process ended meanwhile: found at the next start.
    Cut,
    /// A human says that the reason of a halt is mended.
    Resumed,
}

/// An event that has no place in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} has no place in {phase:?}")]
pub struct Refused {
    pub phase: Phase,
    pub event: Event,
}

/// The phase after `event`.
#[expect(
    clippy::match_same_arms,
    reason = "one line a pair, in the order of the phases"
)]
pub fn next(phase: Phase, event: Event) -> Result<Phase, Refused> {
    use Phase::{Back, Forward, Halted, Idle};
    match (phase, event) {
        (Idle, Event::Begun) => Ok(Forward(Step::Fetch)),

        (Forward(step), Event::Done) => Ok(step.following().map_or(Idle, Forward)),
        // Past the commit nothing goes back: doors that do not open are tried again by the
        // supervisor, what could not be pruned is pruned next time.
        (Forward(Step::Open), Event::Failed) => Ok(Forward(Step::Prune)),
        (Forward(Step::Prune), Event::Failed) => Ok(Idle),
        (Forward(step @ (Step::Open | Step::Prune)), Event::Cut) => Ok(Forward(step)),
        (Forward(step), Event::Failed | Event::Cut) => Ok(Back(step.undone_from())),

        (Back(undo), Event::Done) => Ok(undo.following().map_or(Idle, Back)),
        // The old stack runs already; what is left over is removed next time.
        (Back(Undo::Discard), Event::Failed) => Ok(Idle),
        (Back(undo), Event::Failed) => Ok(Halted(undo)),
        (Back(undo), Event::Cut) => Ok(Back(undo)),

        (Halted(undo), Event::Resumed) => Ok(Back(undo)),
        (Halted(undo), Event::Cut) => Ok(Halted(undo)),

        (Idle, Event::Done | Event::Failed | Event::Cut | Event::Resumed)
        | (Forward(_) | Back(_), Event::Begun | Event::Resumed)
        | (Halted(_), Event::Begun | Event::Done | Event::Failed) => Err(Refused { phase, event }),
    }
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 10] = [
        Self::Fetch,
        Self::Prepare,
        Self::Premigrate,
        Self::Stop,
        Self::Snapshot,
        Self::Migrate,
        Self::Start,
        Self::Commit,
        Self::Open,
        Self::Prune,
    ];

    fn following(self) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step > self)
    }

    /// The first undo of an update that ends in this step.
    fn undone_from(self) -> Undo {
        match self {
            // The old stack runs, untouched.
            Self::Fetch | Self::Prepare | Self::Premigrate => Undo::Discard,
            // The old stack may be down; nothing new was started, no data was changed.
            Self::Stop | Self::Snapshot => Undo::Revive,
            // Open and Prune never get here: they are past the commit.
            Self::Migrate | Self::Start | Self::Commit | Self::Open | Self::Prune => Undo::Halt,
        }
    }

    /// Whether the product may be down while it is done.
    pub fn is_down(self) -> bool {
        (Self::Stop..=Self::Commit).contains(&self)
    }

    /// As it is written in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Prepare => "prepare",
            Self::Premigrate => "premigrate",
            Self::Stop => "stop",
            Self::Snapshot => "snapshot",
            Self::Migrate => "migrate",
            Self::Start => "start",
            Self::Commit => "commit",
            Self::Open => "open",
            Self::Prune => "prune",
        }
    }
}

impl Undo {
    /// Every undo, in order.
    pub const ALL: [Self; 4] = [Self::Halt, Self::Restore, Self::Revive, Self::Discard];

    fn following(self) -> Option<Self> {
        Self::ALL.into_iter().find(|undo| *undo > self)
    }

    /// As it is written in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Restore => "restore",
            Self::Revive => "revive",
            Self::Discard => "discard",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Forward(step) => f.write_str(step.as_str()),
            Self::Back(undo) => f.write_str(undo.as_str()),
            Self::Halted(undo) => write!(f, "halted at {}", undo.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 5] = [
        Event::Begun,
        Event::Done,
        Event::Failed,
        Event::Cut,
        Event::Resumed,
    ];

    fn phases() -> Vec<Phase> {
        let mut all = vec![Phase::Idle];
        all.extend(Step::ALL.map(Phase::Forward));
        all.extend(Undo::ALL.map(Phase::Back));
        all.extend(Undo::ALL.map(Phase::Halted));
        all
    }

    #[test]
    fn from_everywhere_it_ends_idle_when_all_goes_well() {
        for start in phases() {
            let mut phase = match start {
                Phase::Idle => continue,
                Phase::Halted(_) => next(start, Event::Resumed).unwrap(),
                phase => next(phase, Event::Cut).unwrap(),
            };
            for _ in 0..Step::ALL.len() + Undo::ALL.len() {
                if phase != Phase::Idle {
                    phase = next(phase, Event::Done).unwrap();
                }
            }
            assert_eq!(phase, Phase::Idle, "from {start}");
        }
    }

    #[test]
    fn before_the_commit_a_failure_goes_back_and_after_it_never() {
        for step in Step::ALL {
            for event in [Event::Failed, Event::Cut] {
                let went_back =
                    matches!(next(Phase::Forward(step), event).unwrap(), Phase::Back(_));
                assert_eq!(went_back, step <= Step::Commit, "{step:?} {event:?}");
            }
        }
    }

    #[test]
    fn data_is_restored_exactly_when_something_new_may_have_written() {
        for step in Step::ALL.into_iter().filter(|s| *s <= Step::Commit) {
            let Ok(Phase::Back(first)) = next(Phase::Forward(step), Event::Failed) else {
                panic!()
            };
            assert_eq!(first <= Undo::Restore, step >= Step::Migrate, "{step:?}");
        }
    }

    #[test]
    fn a_halt_is_left_only_by_a_human() {
        for undo in Undo::ALL {
            for event in EVENTS {
                let after = next(Phase::Halted(undo), event);
                match event {
                    Event::Resumed => assert_eq!(after, Ok(Phase::Back(undo))),
                    Event::Cut => assert_eq!(after, Ok(Phase::Halted(undo))),
                    _ => assert!(after.is_err()),
                }
            }
        }
    }

    /// The drawing of docs/states.md.
    fn drawing() -> String {
        let id = |phase: Phase| match phase {
            Phase::Idle => "[*]".to_owned(),
            Phase::Forward(step) => step.as_str().to_owned(),
            Phase::Back(undo) => undo.as_str().to_owned(),
            Phase::Halted(undo) => format!("halted_{}", undo.as_str()),
        };
        let mut lines = vec!["stateDiagram-v2".to_owned()];
        for phase in phases() {
            // Edges to the same phase are one, with every event that leads there.
            let mut edges: Vec<(Phase, Vec<String>)> = Vec::new();
            for event in EVENTS {
                let Ok(after) = next(phase, event) else {
                    continue;
                };
                let event = format!("{event:?}").to_lowercase();
                match edges.iter_mut().find(|(to, _)| *to == after) {
                    Some((_, events)) => events.push(event),
                    None => edges.push((after, vec![event])),
                }
            }
            for (after, events) in edges {
                lines.push(format!(
                    "    {} --> {}: {}",
                    id(phase),
                    id(after),
                    events.join(", ")
                ));
            }
        }
        lines.join("\n")
    }

    #[test]
    fn the_drawing_in_docs_is_the_match() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
        let page = format!(
            "# The states of an update\n\n\
             Drawn from `update::transition::next` by its test; after a change there, draw it anew \
             with\n`BERTH_BLESS=1 cargo test -p berth-daemon the_drawing`. `[*]` is idle: no update \
             is under way.\n\n\
             ```mermaid\n{}\n```\n",
            drawing()
        );
        if std::env::var_os("BERTH_BLESS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, page, "draw docs/states.md anew: BERTH_BLESS=1");
    }
}
