//! What the admin set for notifications: checked when it is set, and again when it is used.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::{Event, NotifyError, program, webhook};
use crate::release::download::{ProxySetting, Secret, authorities, secret};

/// The most receivers of one appliance.
pub const MOST: usize = 16;

/// The most addresses of one mail.
const MOST_ADDRESSES: usize = 32;

/// Somebody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    pub way: Way,
    /// Told of these alone; empty: of everything.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub only: BTreeSet<Event>,
}

/// How it gets there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    Webhook(Webhook),
    Mail(Mail),
    Program(Program),
}

/// A POST to a web server, signed as Standard Webhooks says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    /// A file of root's, mode 0600, with `whsec_` and a key in base64.
    pub secret_file: PathBuf,
    /// A proxy; `direct` for none. `None`: what the environment of berthd says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// PEM: authorities that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The URL may be http://, at an address that is not public.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
}

/// A mail over SMTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The SMTP server's name.
    pub server: String,
    /// `None`: the usual one, 465, 587 or 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default)]
    pub security: Security,
    pub from: String,
    pub to: Vec<String>,
    /// Who logs in; `None`: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file of root's, mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM: authorities that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// [`Security::Plain`] may go to another machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_plain: bool,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// TLS from the first byte, port 465.
    #[default]
    Tls,
    /// TLS after STARTTLS, or nothing: port 587.
    Starttls,
    /// No encryption: for a mail server on this machine, port 25.
    Plain,
}

/// A program on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Absolute; root's, and nobody else can write it.
    pub path: PathBuf,
}

impl Receiver {
    /// Whether it wants to know.
    pub fn wants(&self, event: Event) -> bool {
        event == Event::Test || self.only.is_empty() || self.only.contains(&event)
    }

    /// Checks everything that can be checked without telling anybody anything. Files are opened.
    pub fn check(&self) -> Result<(), NotifyError> {
        match &self.way {
            Way::Webhook(webhook) => webhook.check(),
            Way::Mail(mail) => mail.check(),
            Way::Program(program) => program::trusted(&program.path).map(drop),
        }
    }

    /// Without what may be a secret: the path of a URL, the password of a proxy.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut shown = self.clone();
        if let Way::Webhook(webhook) = &mut shown.way {
            webhook.url = match Url::parse(&webhook.url) {
                Ok(url) if url.path() == "/" && url.query().is_none() => url.to_string(),
                Ok(url) => format!("{}/…", url.origin().ascii_serialization()),
                Err(_) => "…".to_owned(),
            };
            webhook.proxy = webhook.proxy.take().map(|proxy| {
                let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", &proxy));
                match rest.rsplit_once('@') {
                    Some((_, host)) => format!("{scheme}://{host}"),
                    None => proxy,
                }
            });
        }
        shown
    }

    /// One short line for people, without a secret.
    pub fn describe(&self) -> String {
        match &self.shown().way {
            Way::Webhook(webhook) => webhook.url.clone(),
            Way::Mail(mail) => format!("{} by {}", mail.to.join(", "), mail.server),
            Way::Program(program) => program.path.display().to_string(),
        }
    }
}

impl Webhook {
    fn check(&self) -> Result<(), NotifyError> {
        let url = self.target()?;
        webhook::Key::read(&secret(&self.secret_file)?, &self.secret_file)?;
        webhook::client(self, &url).map(drop)
    }

    /// Where it goes. The text is not repeated: a secret may be in it.
    pub(super) fn target(&self) -> Result<Url, NotifyError> {
        let bad = |problem: &str| NotifyError::Unusable(format!("the URL: {problem}"));
        let url = Url::parse(&self.url).map_err(|error| bad(&error.to_string()))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(bad("http:// is allowed only with --allow-http")),
            _ => return Err(bad("it is not https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("a password does not belong into it"));
        }
        if url.fragment().is_some() {
            return Err(bad("there is a # in it"));
        }
        Ok(url)
    }

    pub(super) fn proxy(&self) -> ProxySetting {
        match self.proxy.as_deref() {
            None => ProxySetting::Environment,
            Some("direct") => ProxySetting::Direct,
            Some(url) => ProxySetting::Use {
                url: Secret(url.to_owned()),
                except: None,
            },
        }
    }
}

impl Mail {
    fn check(&self) -> Result<(), NotifyError> {
        let bad = |text: String| Err(NotifyError::Unusable(text));
        let odd = |char: char| !(char.is_ascii_alphanumeric() || "._-:".contains(char));
        if self.server.is_empty() || self.server.len() > 253 || self.server.contains(odd) {
            return bad(format!("{:?} is not the name of a server", self.server));
        }
        if self.to.is_empty() || self.to.len() > MOST_ADDRESSES {
            return bad(format!("1 to {MOST_ADDRESSES} addresses are told"));
        }
        for address in self.to.iter().chain([&self.from]) {
            mailbox(address)?;
        }
        if self.security == Security::Plain && !self.is_here() {
            if !self.allow_plain {
                return bad(
                    "mail without encryption goes to this machine alone, or with \
                     --allow-plain"
                        .to_owned(),
                );
            }
            if self.user.is_some() {
                return bad("a password goes nowhere without encryption".to_owned());
            }
        }
        match (&self.user, &self.password_file) {
            (Some(_), Some(file)) => drop(secret(file)?),
            (None, None) => {}
            _ => return bad("a user and a password belong together".to_owned()),
        }
        if let Some(file) = &self.ca_file {
            authorities(file)?;
        }
        Ok(())
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            Security::Tls => 465,
            Security::Starttls => 587,
            Security::Plain => 25,
        })
    }

    fn is_here(&self) -> bool {
        let ip = self.server.parse::<IpAddr>();
        self.server == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

/// `ops@example.com` or `Ops <ops@example.com>`.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, NotifyError> {
    let bad = |why: String| {
        let text: String = text.chars().take(120).collect();
        NotifyError::Unusable(format!("{text:?} is not a mail address: {why}"))
    };
    if text.contains(char::is_control) {
        return Err(bad("there is more than one line".to_owned()));
    }
    text.parse::<Mailbox>()
        .map_err(|error| bad(error.to_string()))
}

/// An absolute path, as text.
pub(super) fn absolute(path: &Path) -> Result<&Path, NotifyError> {
    if path.is_absolute() {
        Ok(path)
    } else {
        let path = path.display();
        Err(NotifyError::Unusable(format!(
            "{path} is not an absolute path"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn problem(way: Way) -> Option<String> {
        let only = BTreeSet::new();
        let checked = Receiver { way, only }.check();
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_webhook_wants_https_and_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let good = file(&dir, "good", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let way = |url: &str, secret_file: &Path, allow_http| {
            Way::Webhook(Webhook {
                url: url.into(),
                secret_file: secret_file.into(),
                proxy: Some("direct".into()),
                ca_file: None,
                allow_http,
            })
        };
        assert_eq!(
            problem(way("https://hooks.example/a?b=c", &good, false)),
            None
        );
        assert_eq!(problem(way("http://10.0.0.1/x", &good, true)), None);
        for (url, says) in [
            ("http://10.0.0.1/x", "--allow-http"),
            ("ftp://hooks.example/", "not https"),
            ("hooks.example", "relative"),
            ("https://me:s3cret@hooks.example/", "password"),
            ("https://hooks.example/#x", "#"),
        ] {
            let problem = problem(way(url, &good, false)).unwrap();
            assert!(problem.contains(says), "{url}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        let public = problem(way("http://1.1.1.1/", &good, true)).unwrap();
        assert!(public.contains("public"), "{public}");
        for (name, text) in [
            ("short", "whsec_c2hvcnQ="),
            ("bare", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("odd", "whsec_not base64"),
        ] {
            let bad = file(&dir, name, text);
            let problem = problem(way("https://hooks.example/", &bad, false)).unwrap();
            assert!(problem.contains("whsec_"), "{problem}");
            assert!(!problem.contains(&text[6..]), "{problem}");
        }
        std::fs::set_permissions(&good, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = problem(way("https://hooks.example/", &good, false)).unwrap();
        assert!(open.contains("0600"), "{open}");
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        let receiver = Receiver {
            way: Way::Webhook(Webhook {
                url: "https://hooks.example:8443/T0/s3cret?k=s3cret".into(),
                secret_file: "/etc/berth/hook".into(),
                proxy: Some("http://me:s3cret@proxy:3128".into()),
                ca_file: None,
                allow_http: false,
            }),
            only: BTreeSet::from([Event::Halted]),
        };
        let shown = serde_json::to_string(&receiver.shown()).unwrap();
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("https://hooks.example:8443/…"), "{shown}");
        assert!(shown.contains("http://proxy:3128"), "{shown}");
        assert!(receiver.wants(Event::Halted) && receiver.wants(Event::Test));
        assert!(!receiver.wants(Event::DiskLow));
    }

    #[test]
    fn mail_is_encrypted_unless_the_admin_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let mail = || Mail {
            server: "mail.example".into(),
            port: None,
            security: Security::Plain,
            from: "Berth <berth@example.com>".into(),
            to: vec!["ops@example.com".into()],
            user: None,
            password_file: None,
            ca_file: None,
            allow_plain: false,
        };
        let said = |mail| problem(Way::Mail(mail)).unwrap_or_default();
        assert!(said(mail()).contains("--allow-plain"));
        let here = |server: &str| Mail {
            server: server.into(),
            ..mail()
        };
        for server in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(said(here(server)), "", "{server}");
        }
        let allowed = Mail {
            allow_plain: true,
            ..mail()
        };
        assert_eq!(said(allowed.clone()), "");
        let password = file(&dir, "password", "hunter2");
        let leaking = Mail {
            user: Some("me".into()),
            password_file: Some(password),
            ..allowed
        };
        assert!(said(leaking.clone()).contains("nowhere without"));
        let secure = Mail {
            security: Security::Tls,
            ..leaking
        };
        assert_eq!(said(secure.clone()), "");
        let alone = Mail {
            password_file: None,
            ..secure.clone()
        };
        assert!(said(alone).contains("together"));
        for address in ["nobody", "a@b\r\nBcc: c@d.example", ""] {
            let bad = Mail {
                to: vec![address.into()],
                ..secure.clone()
            };
            assert!(said(bad).contains("not a mail address"), "{address:?}");
        }
        assert!(said(here("mail.example evil")).contains("name of a server"));
    }
}
