//! What is wrong with the vendor's files: where, why, and what to write instead.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

use crate::yaml::Pos;

/// One thing that is wrong, or (as a warning) worth a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Path of the file, as seen from the vendor's folder.
    pub file: String,
    /// From 1; 0 when it is about the file as a whole.
    pub line: u32,
    /// From 1; 0 when it is about the file as a whole.
    pub column: u32,
    /// Where in the document, as in `services.web.build`.
    pub key: String,
    /// The reason.
    pub what: String,
    /// What to do.
    pub instead: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(pos: &Pos, key: &str, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self {
            file: pos.file.to_string(),
            line: pos.line,
            column: pos.column,
            key: key.to_owned(),
            what: what.into(),
            instead: instead.into(),
        }
    }
}

impl Problem {
    /// Whether it says the same of the same line, under another key.
    fn is_same_place(&self, other: &Self) -> bool {
        self.line > 0
            && (self.line, self.column) == (other.line, other.column)
            && self.file == other.file
            && self.what == other.what
            && self.instead == other.instead
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.instead.is_empty() {
            write!(f, "; {}", self.instead)?;
        }
        Ok(())
    }
}

/// Collects problems, so that all of them are told at once.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Report {
    /// Something that keeps the release from being made.
    pub fn problem(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Something that the vendor should know.
    pub fn warning(&self, warning: Problem) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Whether nothing keeps the release from being made, so far.
    pub fn is_ok(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Problems and warnings, each once, in the order of the files' lines.
    pub fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        let tidy = |cell: RefCell<Vec<Problem>>| {
            let mut all = cell.into_inner();
            all.sort();
            all.dedup();
            let mut out: Vec<Problem> = Vec::new();
            let mut others = Vec::new();
            for problem in all {
                // Through anchors and `extends`, one line can be wrong for many services.
                let same = out.iter().position(|p| p.is_same_place(&problem));
                match same {
                    Some(at) => others.push(at),
                    None => out.push(problem),
                }
            }
            for (at, problem) in out.iter_mut().enumerate() {
                let count = others.iter().filter(|o| **o == at).count();
                if count > 0 {
                    problem.key = format!("{} (and {count} more)", problem.key);
                }
            }
            out
        };
        (tidy(self.problems), tidy(self.warnings))
    }
}
