//! The product that runs on the fake engine: how its images behave, and what they do to data.

use std::collections::BTreeSet;
use std::time::Duration;

/// What is in a volume, or in a copy of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// Newest application that wrote here.
    pub epoch: u32,
    /// Newest database that wrote here.
    pub format: u32,
    /// The last migration that ended.
    pub schema: u32,
    /// A migration began and did not end.
    pub half: bool,
    /// Writes that a client was told are kept.
    pub writes: BTreeSet<u64>,
}

/// What an image does when it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// For messages: `api of 1.2.0`.
    pub label: String,
    pub role: Role,
    /// Time from its start until it answers, or until it ends.
    pub takes: Duration,
    pub fault: Option<Flaw>,
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads what older databases of it wrote, never what newer ones did.
    Database { format: u32 },
    /// Migrates small things by itself when it starts; needs the schema of its release.
    Application { epoch: u32, schema: u32 },
    /// Keeps no data that matters.
    Indifferent,
    /// Ends by itself with 0.
    OneOff,
    /// Changes data and ends.
    Migration { epoch: u32, schema: u32 },
    /// Changes only what the old version does not look at, and ends.
    Premigration,
    /// Reads what a database older than this says, and ends.
    Dump { below: u32 },
}

/// How an image is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It runs and never becomes healthy.
    NeverHealthy,
    /// It ends with this code, again and again; a migration half way.
    Ends(i64),
    /// It runs for ever where it should end.
    Hangs,
}

impl Behaviour {
    /// When it ends by itself after its start, and with what.
    pub fn end(&self) -> Option<(Duration, i64)> {
        let ends = matches!(
            self.role,
            Role::OneOff | Role::Migration { .. } | Role::Premigration | Role::Dump { .. }
        );
        match self.fault {
            Some(Flaw::Ends(code)) => Some((self.takes, code)),
            Some(Flaw::Hangs | Flaw::NeverHealthy) => None,
            None => ends.then_some((self.takes, 0)),
        }
    }

    /// It starts on this data: an error is the bug that must never be. Migrations know only the
    /// volume that is `migrated`.
    pub fn open(&self, data: &mut Data, migrated: bool) -> Result<(), String> {
        match self.role {
            Role::Database { format } => {
                if data.format > format {
                    return Err(format!(
                        "{} on data of database {}",
                        self.label, data.format
                    ));
                }
                data.format = format;
            }
            Role::Application { epoch, schema } => {
                if data.epoch > epoch {
                    return Err(format!("{} on data of epoch {}", self.label, data.epoch));
                }
                if data.half {
                    return Err(format!("{} on half-migrated data", self.label));
                }
                if migrated && data.schema != schema {
                    return Err(format!("{} on schema {}", self.label, data.schema));
                }
                data.epoch = epoch;
            }
            Role::Migration { epoch, .. } => {
                if data.epoch > epoch {
                    return Err(format!("{} on data of epoch {}", self.label, data.epoch));
                }
                if data.half {
                    return Err(format!("{} on half-migrated data", self.label));
                }
                data.epoch = epoch;
                data.half = true;
            }
            Role::Indifferent | Role::OneOff | Role::Premigration | Role::Dump { .. } => {}
        }
        Ok(())
    }

    /// It ends.
    pub fn close(&self, data: &mut Data, code: i64) {
        if let Role::Migration { schema, .. } = self.role
            && code == 0
        {
            data.half = false;
            data.schema = schema;
        }
    }
}
