//! Which update the appliance takes by itself, and when: the admin's policy and what follows from
//! it. Pure: given a channel's offers and a time, always the same answer.

use std::time::Duration;

use berth_format::{Code, Refusal};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

mod decide;
mod window;

pub use decide::{Candidate, Intent, Reason, decide};
pub use window::{Window, WindowError, opening};

/// The longest soak: longer is a mistake, the release would never come.
const MAX_SOAK_HOURS: u32 = 24 * 90;

/// The shortest and the longest time between two questions to the channel, in minutes.
const EVERY: std::ops::RangeInclusive<u32> = 15..=7 * 24 * 60;

/// The most windows.
const MAX_WINDOWS: usize = 32;

/// What happens when the channel offers something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody is asked: the admin checks and updates.
    Manual,
    /// The channel is asked and the admin is told.
    #[default]
    Notify,
    /// The update begins by itself, in a window.
    Auto,
}

/// What the admin wants done with updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub mode: Mode,
    /// When an update may begin by itself. It may end later.
    pub windows: Vec<Window>,
    /// The place whose time the windows are in, as `Europe/Berlin`; `None`: the machine's.
    pub zone: Option<String>,
    /// Hours that a release must have been offered before it is taken.
    pub soak_hours: u32,
    /// The same for one that mends a security hole.
    pub security_soak_hours: u32,
    /// Minutes between two questions to the channel.
    pub every_minutes: u32,
    /// Updates by itself although nobody would be told.
    pub silent: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            windows: vec![Window::NIGHTLY],
            zone: None,
            soak_hours: 24,
            security_soak_hours: 0,
            every_minutes: 6 * 60,
            silent: false,
        }
    }
}

impl Policy {
    /// Whether it can be meant. `is_heard`: some notification is set.
    pub fn check(&self, is_heard: bool) -> Result<(), Refusal> {
        let refuse = |expected: String, found: String| {
            Err(
                Refusal::new(Code::PolicyInvalid, Code::PolicyInvalid.means())
                    .because(expected, found),
            )
        };
        if self.soak_hours.max(self.security_soak_hours) > MAX_SOAK_HOURS {
            let found = format!("{} and {}", self.soak_hours, self.security_soak_hours);
            return refuse(format!("a soak of at most {MAX_SOAK_HOURS} hours"), found);
        }
        if !EVERY.contains(&self.every_minutes) {
            let expected = format!(
                "{} to {} minutes between checks",
                EVERY.start(),
                EVERY.end()
            );
            return refuse(expected, self.every_minutes.to_string());
        }
        let count = self.windows.len();
        if count > MAX_WINDOWS || (count == 0 && self.mode == Mode::Auto) {
            return refuse(format!("1 to {MAX_WINDOWS} windows"), count.to_string());
        }
        if let Err(error) = self.time_zone() {
            let name = self.zone.clone().unwrap_or_default();
            return refuse(
                "a time zone that this machine knows, as Europe/Berlin".into(),
                format!("{name}: {error}"),
            );
        }
        if self.mode == Mode::Auto && !is_heard && !self.silent {
            return Err(Refusal::new(Code::PolicySilent, Code::PolicySilent.means()));
        }
        Ok(())
    }

    /// The place whose time the windows are in.
    pub fn time_zone(&self) -> Result<TimeZone, jiff::Error> {
        self.zone
            .as_deref()
            .map_or_else(|| Ok(TimeZone::system()), TimeZone::get)
    }

    /// Between two questions to the channel.
    pub fn every(&self) -> Duration {
        Duration::from_mins(u64::from(self.every_minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(policy: &Policy, is_heard: bool) -> Option<Code> {
        policy.check(is_heard).err().map(|refusal| refusal.code)
    }

    #[test]
    fn the_default_tells_and_does_nothing() {
        let policy = Policy::default();
        assert_eq!(policy.mode, Mode::Notify);
        assert_eq!(code(&policy, false), None);
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), policy);
    }

    #[test]
    fn an_update_that_nobody_would_hear_of_must_be_meant() {
        let mut policy = Policy {
            mode: Mode::Auto,
            ..Policy::default()
        };
        assert_eq!(code(&policy, true), None);
        assert_eq!(code(&policy, false), Some(Code::PolicySilent));
        policy.silent = true;
        assert_eq!(code(&policy, false), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let good = Policy::default();
        let bad = [
            Policy {
                soak_hours: MAX_SOAK_HOURS + 1,
                ..good.clone()
            },
            Policy {
                security_soak_hours: u32::MAX,
                ..good.clone()
            },
            Policy {
                every_minutes: 0,
                ..good.clone()
            },
            Policy {
                zone: Some("Mars/Olympus".into()),
                ..good.clone()
            },
            Policy {
                zone: Some("../../etc/passwd".into()),
                ..good.clone()
            },
            Policy {
                mode: Mode::Auto,
                windows: vec![],
                ..good.clone()
            },
            Policy {
                windows: vec![Window::NIGHTLY; MAX_WINDOWS + 1],
                ..good.clone()
            },
        ];
        for policy in bad {
            assert_eq!(code(&policy, true), Some(Code::PolicyInvalid), "{policy:?}");
        }
        let typed = r#"{"mode": "sometimes"}"#;
        assert!(serde_json::from_str::<Policy>(typed).is_err());
        let unknown = r#"{"mode": "auto", "soak": 3}"#;
        assert!(serde_json::from_str::<Policy>(unknown).is_err());
    }
}
