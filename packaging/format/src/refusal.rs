//! How Berth says no: the same shape in the command line, the page and the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// What a refusal left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Containers, volumes and state are as they were.
    NothingChanged,
    /// The version that runs again.
    RolledBackTo(String),
    /// Neither: Berth stands still and waits for a human.
    Halted,
    /// The one who asked does not know: what was asked for may have begun, and goes on by itself.
    UnderWay,
}

/// A refusal or failure that a person reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// One sentence: what went wrong.
    pub summary: String,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What this left behind.
    pub effect: Effect,
    /// What to do next.
    pub next: String,
    /// The last lines of the log that shows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Refusal {
    /// A refusal that changed nothing; `next` is the code's own advice until it is replaced.
    pub fn new(code: Code, summary: impl Into<String>) -> Self {
        Self {
            code,
            summary: summary.into(),
            expected: None,
            found: None,
            effect: Effect::NothingChanged,
            next: code.next().to_owned(),
            log: Vec::new(),
        }
    }

    /// Says what was expected and what was found.
    #[must_use]
    pub fn because(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self.found = Some(found.into());
        self
    }

    /// Says what was found.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Shows the last lines of a log.
    #[must_use]
    pub fn log(mut self, lines: Vec<String>) -> Self {
        self.log = lines;
        self
    }

    /// Replaces the advice.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// Replaces what was left behind.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.summary, self.code)?;
        if let Some(expected) = &self.expected {
            write!(f, "\n  expected: {expected}")?;
        }
        if let Some(found) = &self.found {
            write!(f, "\n  found:    {found}")?;
        }
        for line in &self.log {
            write!(f, "\n  | {line}")?;
        }
        write!(f, "\n  {}\n  next:     {}", self.effect, self.next)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingChanged => f.write_str("nothing was changed"),
            Self::RolledBackTo(version) => write!(f, "rolled back to {version}"),
            Self::UnderWay => {
                f.write_str("it may be under way, and goes on without you: `berth status` says")
            }
            Self::Halted => {
                f.write_str("stopped half way; Berth starts nothing until this is mended")
            }
        }
    }
}
