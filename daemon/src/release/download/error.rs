//! Why a download failed, and whether it makes sense to try again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_format::{Code, Refusal};

use super::settings::SettingsError;

/// Why a download failed. `at` is the host that was asked; nothing here shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0:?} is not the name of a file of a channel")]
    Name(String),
    #[error("{at} cannot be reached: {why}")]
    Unreachable { at: String, why: String },
    #[error("{at} has a certificate that this machine does not trust: {why}")]
    Certificate { at: String, why: String },
    #[error("{at} sends us on to where Berth does not go: {why}")]
    Redirect { at: String, why: String },
    #[error("{at} did not answer in {} s", within.as_secs())]
    Silent { at: String, within: Duration },
    /// What came was no HTTP.
    #[error("{at} gave an answer that is none: {why}")]
    Protocol { at: String, why: String },
    #[error("{at} answered {name} with status {status}")]
    Status {
        at: String,
        name: String,
        status: u16,
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    #[error("no mirror has {name}")]
    Missing { name: String },
    #[error("{at} sent more than {most} bytes as {name}")]
    TooLong { at: String, name: String, most: u64 },
    #[error("{at} has {name} with {found} bytes, {expected} were signed")]
    Length {
        at: String,
        name: String,
        expected: u64,
        found: u64,
    },
    /// An answer to a request for a part that is not that part.
    #[error("{at} was asked for {expected} of {name} and sent {found:?}")]
    Range {
        at: String,
        name: String,
        expected: String,
        found: String,
    },
    #[error("the line from {at} was cut: {why}")]
    Cut { at: String, why: String },
    #[error("{at} sent {bytes} bytes in {} s, at least {floor} a second are wanted", over.as_secs())]
    Slow {
        at: String,
        bytes: u64,
        over: Duration,
        floor: u64,
    },
    #[error("{name} from {at} was not here after {} s", within.as_secs())]
    Deadline {
        at: String,
        name: String,
        within: Duration,
    },
    #[error("frame {index} of {name} from {at} is not the one that was signed")]
    Frame {
        at: String,
        name: String,
        index: usize,
    },
    /// Its frames are those that were signed: who signed it made a mistake.
    #[error("{name} is not what was signed, although each of its frames is")]
    Whole { name: String },
    #[error("{0} is being downloaded already")]
    Busy(PathBuf),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The same request may work later.
    Later,
    /// Not at this mirror; another one may be better.
    Elsewhere,
    /// The reason is here, or in what was signed.
    Never,
}

impl DownloadError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    /// Whether trying again makes sense.
    pub fn again(&self) -> Again {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Cut { .. }
            | Self::Slow { .. }
            | Self::Deadline { .. }
            | Self::Protocol { .. }
            | Self::Frame { .. }
            | Self::Status {
                status: 408 | 425 | 429 | 500..,
                ..
            } => Again::Later,
            Self::Status { .. }
            | Self::Certificate { .. }
            | Self::Redirect { .. }
            | Self::Missing { .. }
            | Self::TooLong { .. }
            | Self::Length { .. }
            | Self::Range { .. } => Again::Elsewhere,
            Self::Settings(_)
            | Self::Name(_)
            | Self::Whole { .. }
            | Self::Busy(_)
            | Self::Io { .. } => Again::Never,
        }
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// As a person reads it.
    pub fn refusal(&self) -> Refusal {
        let code = self.code();
        Refusal::new(code, code.means()).found(self.to_string())
    }

    fn code(&self) -> Code {
        match self {
            Self::Settings(_) => Code::DownloadSettings,
            Self::Unreachable { .. } | Self::Silent { .. } => Code::MirrorUnreachable,
            Self::Certificate { .. } => Code::MirrorCertificate,
            Self::Redirect { .. } => Code::MirrorRedirect,
            Self::Status { .. } => Code::MirrorRefused,
            Self::Missing { .. } => Code::DownloadMissing,
            Self::Cut { .. } | Self::Slow { .. } | Self::Deadline { .. } => Code::DownloadCut,
            Self::Protocol { .. }
            | Self::TooLong { .. }
            | Self::Length { .. }
            | Self::Range { .. }
            | Self::Frame { .. } => Code::DownloadDamaged,
            Self::Name(_) | Self::Whole { .. } => Code::ManifestInvalid,
            Self::Busy(_) => Code::Busy,
            Self::Io { error, .. } if error.kind() == io::ErrorKind::StorageFull => Code::DiskSpace,
            Self::Io { .. } => Code::Internal,
        }
    }
}

/// A server's text, fit for one short line.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(120)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

/// The HTTP library's error without its URL, with all of its causes.
pub(crate) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.chars()
        .take(400)
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_to_try_again() {
        let status = |status| DownloadError::Status {
            at: "m".into(),
            name: "channel.json".into(),
            status,
            retry_after: None,
        };
        for (code, again) in [
            (401, Again::Elsewhere),
            (403, Again::Elsewhere),
            (429, Again::Later),
            (503, Again::Later),
            (304, Again::Elsewhere),
        ] {
            assert_eq!(status(code).again(), again, "{code}");
        }
        let full = DownloadError::Io {
            path: "/x".into(),
            error: io::Error::from(io::ErrorKind::StorageFull),
        };
        assert_eq!(full.again(), Again::Never);
        assert_eq!(full.refusal().code, Code::DiskSpace);
    }
}
