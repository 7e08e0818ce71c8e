//! Tells people and programs elsewhere what happens here: by webhook, by mail, by a program.
//!
//! [`announcement`] says what there is to tell, [`outbox`] keeps it and tries again,
//! [`webhook`], [`mail`] and [`program`] carry it.
//!
//! # Threats
//!
//! Receivers, and everything on the way to them, may be slow, dead or hostile. Whoever may use
//! the API is root already or was let in by root.
//!
//! What could go wrong, and what is done against it:
//! 1. A receiver stops an update: nobody waits for one. An announcement is written down, and a
//!    task of its own delivers it.
//! 2. A dead receiver fills the disk: what waits for each is bounded, and so is what is kept of
//!    the past ([`crate::store::Store::announce`]).
//! 3. A forged announcement: a webhook's body is signed with its time, so that the receiver can
//!    tell it from another's and from an old one ([`webhook::sign`]).
//! 4. A secret that leaks: secrets are in files of root's, are read when they are used, and are in
//!    no record, answer, error or log. A webhook's path may be one: it is not shown.
//! 5. Words of others in a header, a command line or a log: an announcement holds no control
//!    characters, a program gets it as JSON and not as arguments, and there is no shell.
//! 6. A program that somebody else can write would be root's: it is refused, with each of the
//!    folders above it ([`program`]).
//! 7. Endless answers of a web server or a program: read up to a few KiB, under one deadline. No
//!    redirect is followed.
//! 8. Plain text on the way: `http://` and unencrypted mail only where the admin says so, a
//!    password never.
//!
//! What is not done: a receiver may be anywhere, also in the customer's own network, because the
//! admin chose it.
//! The answers of a mail server are bounded by time alone (lettre keeps a line as long as it comes):
//! one that is hostile, or a line to it without TLS, can cost memory for a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_format::{Code, Name, Refusal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod announcement;
pub mod mail;
pub mod outbox;
pub mod program;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod webhook;

pub use announcement::{Announcement, Event, Letter, Topic};
pub use outbox::Outbox;
pub use settings::{Mail, Program, Receiver, Security, Way, Webhook};

use crate::release::download::SettingsError;

/// Who is told what, and how that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifications {
    pub receivers: BTreeMap<Name, ReceiverStatus>,
}

/// A receiver and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// Without what may be a secret.
    pub receiver: Receiver,
    /// Announcements that wait for it.
    pub waiting: u32,
    /// The last that was delivered, or given up.
    pub last: Option<Delivery>,
}

/// One announcement on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub receiver: Name,
    pub state: State,
    /// How often it was tried.
    pub tries: u32,
    /// When it will be tried, was delivered, or was given up.
    pub at: Timestamp,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub letter: Letter,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Waiting,
    Delivered,
    Failed,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    pub receiver: Name,
    pub millis: u64,
    /// `None`: it was delivered.
    pub refusal: Option<Refusal>,
}

/// Why it was not delivered. Nothing here shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0}")]
    Unusable(String),
    #[error("{at}: {why}")]
    Unreachable { at: String, why: String },
    #[error("{at} did not answer in {} s", within.as_secs())]
    Silent { at: String, within: Duration },
    #[error("{at} answered {status}: {said}")]
    Status {
        at: String,
        status: u16,
        said: String,
        /// What the receiver asked for.
        retry_after: Option<Duration>,
    },
    #[error("{at} refused the mail: {why}")]
    Mail {
        at: String,
        why: String,
        /// It would refuse it again.
        permanent: bool,
    },
    #[error("{program} ended with {status}{}", said(stderr))]
    Program {
        program: String,
        status: String,
        stderr: String,
        /// It asks for another try.
        later: bool,
    },
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may work later.
    Later,
    /// This announcement is not wanted; another may be. It is tried a few times all the same.
    Unwanted,
    /// The receiver says that it is gone for good.
    Never,
}

impl NotifyError {
    /// Whether trying again makes sense.
    pub fn again(&self) -> Again {
        match self {
            Self::Status { status: 410, .. } => Again::Never,
            // The first group is mended at the receiver, not by waiting; but it is mended.
            Self::Status {
                status: 401 | 403 | 404 | 407 | 408 | 425 | 429 | 500..,
                ..
            }
            | Self::Settings(_)
            | Self::Unusable(_)
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Mail {
                permanent: false, ..
            }
            | Self::Program { later: true, .. } => Again::Later,
            Self::Status { .. } | Self::Mail { .. } | Self::Program { .. } => Again::Unwanted,
        }
    }

    /// How long the receiver wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// As a person reads it.
    pub fn refusal(&self) -> Refusal {
        let code = match self {
            Self::Settings(_) | Self::Unusable(_) => Code::NotifySettings,
            _ => Code::NotifyFailed,
        };
        Refusal::new(code, code.means()).found(self.to_string())
    }
}

/// This machine's name.
pub fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        return String::new();
    }
    format!(": {stderr}")
}

/// Delivers a letter to a receiver, now. Whatever it takes is gone afterwards: an appliance tells
/// something a few times a month, and connections would be kept for nothing.
pub async fn deliver(receiver: &Receiver, letter: &Letter) -> Result<(), NotifyError> {
    match &receiver.way {
        Way::Webhook(webhook) => webhook::post(webhook, letter).await,
        Way::Mail(mail) => mail::send(mail, letter).await,
        Way::Program(program) => program::run(program, letter).await,
    }
}
