//! What there is to tell, and the form in which it goes out.

use std::fmt;

use berth_format::{Code, Name, Product};
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};

/// The most characters of a sentence.
const SENTENCE: usize = 1000;

/// What happened, in one word.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// There is a newer version.
    UpdateAvailable,
    /// An update that was to begin by itself wants something of the admin first.
    UpdateWaits,
    /// An install, update, rollback or reconfiguration has begun.
    UpdateBegun,
    /// It is done: the new version runs.
    UpdateDone,
    /// The version from before runs again, because the new one failed or because somebody said so.
    RolledBack,
    /// It failed, and no version runs that could be gone back to.
    UpdateFailed,
    /// A rollback could not finish: nothing is started until a human has mended it.
    Halted,
    /// A service, or Docker, has not been well for some time.
    Unhealthy,
    /// It is well again, and has been for some time.
    HealthyAgain,
    /// A disk is nearly full.
    DiskLow,
    /// The vendor has taken back the version that runs.
    ReleaseWithdrawn,
    /// The channel cannot be followed, and has not been for some time.
    ChannelLost,
    /// Somebody wants to know whether this arrives.
    Test,
}

impl Event {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::UpdateAvailable,
        Self::UpdateWaits,
        Self::UpdateBegun,
        Self::UpdateDone,
        Self::RolledBack,
        Self::UpdateFailed,
        Self::Halted,
        Self::Unhealthy,
        Self::HealthyAgain,
        Self::DiskLow,
        Self::ReleaseWithdrawn,
        Self::ChannelLost,
        Self::Test,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpdateAvailable => "update-available",
            Self::UpdateWaits => "update-waits",
            Self::UpdateBegun => "update-begun",
            Self::UpdateDone => "update-done",
            Self::RolledBack => "rolled-back",
            Self::UpdateFailed => "update-failed",
            Self::Halted => "halted",
            Self::Unhealthy => "unhealthy",
            Self::HealthyAgain => "healthy-again",
            Self::DiskLow => "disk-low",
            Self::ReleaseWithdrawn => "release-withdrawn",
            Self::ChannelLost => "channel-lost",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an announcement is about, so that it is told once: `name` stays, `what` changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// `available`, `disk /var/lib/docker`.
    pub name: String,
    /// What was told of it; the same is not told twice.
    pub what: String,
}

/// Something to tell. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    pub event: Event,
    pub from: Option<Version>,
    pub to: Option<Version>,
    pub service: Option<Name>,
    /// Of the run that it is about.
    pub run: Option<i64>,
    /// Why, where Berth refused something.
    pub code: Option<Code>,
    /// One sentence for people.
    pub summary: String,
    /// What to do next.
    pub next: Option<String>,
    /// `None`: told each time.
    pub topic: Option<Topic>,
}

impl Announcement {
    /// Something that happened, in one sentence.
    pub fn new(event: Event, summary: impl Into<String>) -> Self {
        Self {
            event,
            from: None,
            to: None,
            service: None,
            run: None,
            code: None,
            summary: summary.into(),
            next: None,
            topic: None,
        }
    }

    /// A newer version can be had; told once a version. `from`: what is installed.
    pub fn available(version: &Version, from: Option<&Version>, security: bool) -> Self {
        let what = if security {
            format!("Version {version} is there, and mends a security hole.")
        } else {
            format!("Version {version} is there.")
        };
        Self {
            from: from.cloned(),
            to: Some(version.clone()),
            ..Self::new(Event::UpdateAvailable, what)
        }
        .next("Read `berth plan`, then run `berth update`.")
        .once("available", version.to_string())
    }

    /// Whether this arrives.
    pub fn test() -> Self {
        let summary = "This is a test. Berth reaches you, and will tell you what happens here.";
        Self::new(Event::Test, summary)
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Is told once, until [`crate::store::Store::forget_told`] or until `what` is another.
    #[must_use]
    pub fn once(mut self, name: impl Into<String>, what: impl Into<String>) -> Self {
        self.topic = Some(Topic {
            name: name.into(),
            what: what.into(),
        });
        self
    }
}

/// An announcement as it goes out: the body of a webhook, and a program's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The same however often it is delivered: who has seen it may throw it away.
    pub id: String,
    #[serde(rename = "type")]
    pub event: Event,
    /// When it happened.
    pub timestamp: Timestamp,
    pub data: Data,
}

/// What happened, to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The machine's name.
    pub host: String,
    /// A random name of this appliance.
    pub appliance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// The product's name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    pub summary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub host: String,
    pub appliance: String,
    pub product: Option<Product>,
    pub title: Option<String>,
}

impl Letter {
    /// An announcement, from somebody, at a time.
    pub fn new(announcement: &Announcement, from: Sender, at: Timestamp) -> Self {
        Self {
            id: id(),
            event: announcement.event,
            timestamp: at,
            data: Data {
                host: line(&from.host),
                appliance: from.appliance,
                product: from.product,
                title: from.title.as_deref().map(line),
                from: announcement.from.clone(),
                to: announcement.to.clone(),
                service: announcement.service.clone(),
                run: announcement.run,
                code: announcement.code,
                summary: line(&announcement.summary),
                next: announcement.next.as_deref().map(line),
            },
        }
    }

    /// In one line: the subject of a mail.
    pub fn headline(&self) -> String {
        let who = self.data.title.as_deref().unwrap_or("Berth");
        let what = match (self.event, &self.data.to) {
            (Event::UpdateAvailable, Some(to)) => format!("version {to} is there"),
            (Event::UpdateBegun, Some(to)) => format!("the way to {to} has begun"),
            (Event::UpdateDone, Some(to)) => format!("{to} runs"),
            (Event::RolledBack, Some(to)) => format!("{to} runs again"),
            (Event::UpdateAvailable, None) => "a newer version is there".to_owned(),
            (Event::UpdateBegun, None) => "an update has begun".to_owned(),
            (Event::UpdateDone, None) => "an update is done".to_owned(),
            (Event::RolledBack, None) => "rolled back".to_owned(),
            (Event::UpdateFailed, _) => "the update failed".to_owned(),
            (Event::Halted, _) => "stands still and needs you".to_owned(),
            (Event::Unhealthy, _) => match &self.data.service {
                Some(service) => format!("{service} is not well"),
                None => "Docker does not answer".to_owned(),
            },
            (Event::HealthyAgain, _) => match &self.data.service {
                Some(service) => format!("{service} is well again"),
                None => "Docker answers again".to_owned(),
            },
            (Event::DiskLow, _) => "a disk is nearly full".to_owned(),
            (Event::UpdateWaits, Some(to)) => format!("the way to {to} waits for you"),
            (Event::UpdateWaits, None) => "an update waits for you".to_owned(),
            (Event::ReleaseWithdrawn, _) => "the vendor has withdrawn what runs".to_owned(),
            (Event::ChannelLost, _) => "the channel cannot be followed".to_owned(),
            (Event::Test, _) => "a test".to_owned(),
        };
        format!("{who} on {}: {what}", self.data.host)
    }
}

/// 96 random bits: nobody else has the same, and nothing can be read from it.
fn id() -> String {
    let mut bytes = [0_u8; 12];
    // Without randomness, which Linux always has after boot, two letters could look the same to a
    // receiver that throws away what it has seen; the time keeps them apart then.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = Timestamp::now().as_nanosecond().to_be_bytes();
        bytes.copy_from_slice(&now[4..]);
    }
    format!("msg_{}", hex::encode(bytes))
}

/// A text of whatever source as one line of bounded length.
pub(super) fn line(text: &str) -> String {
    text.chars()
        .take(SENTENCE)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        Sender {
            host: "box".into(),
            appliance: "ab".into(),
            product: Some("lantern".parse().unwrap()),
            title: Some("Lantern".into()),
        }
    }

    #[test]
    fn the_form_is_the_one_of_the_documentation() {
        let version = "1.2.0".parse().unwrap();
        let announcement = Announcement::available(&version, None, true);
        let mut letter = Letter::new(&announcement, sender(), Timestamp::UNIX_EPOCH);
        assert!(letter.id.starts_with("msg_") && letter.id.len() == 28);
        letter.id = "msg_1".into();
        let json = serde_json::to_string(&letter).unwrap();
        assert_eq!(
            json,
            r#"{"id":"msg_1","type":"update-available","timestamp":"1970-01-01T00:00:00Z","data":{"host":"box","appliance":"ab","product":"lantern","title":"Lantern","to":"1.2.0","summary":"Version 1.2.0 is there, and mends a security hole.","next":"Read `berth plan`, then run `berth update`."}}"#
        );
        assert_eq!(letter.headline(), "Lantern on box: version 1.2.0 is there");
    }

    #[test]
    fn each_event_is_written_as_the_api_writes_it() {
        for event in Event::ALL {
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json, event.as_str());
        }
        let documented = include_str!("../../../docs/notifications.md");
        for event in Event::ALL {
            assert!(documented.contains(&format!("| `{event}` |")), "{event}");
        }
    }

    #[test]
    fn words_of_others_stay_one_line_of_bounded_length() {
        let text = format!("up\r\nBcc: evil@example.com\u{1b}[31m{}", "x".repeat(5000));
        let letter = Letter::new(
            &Announcement::new(Event::Unhealthy, text),
            sender(),
            Timestamp::UNIX_EPOCH,
        );
        assert!(!letter.data.summary.contains(char::is_control));
        assert_eq!(letter.data.summary.chars().count(), SENTENCE);
    }

    #[test]
    fn no_two_letters_have_one_id() {
        let one = || Letter::new(&Announcement::test(), sender(), Timestamp::UNIX_EPOCH).id;
        assert_ne!(one(), one());
    }
}
