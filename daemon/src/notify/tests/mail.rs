//! Mail to a real SMTP server: Debian's aiosmtpd.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::super::{Again, Announcement, Event, Mail, NotifyError, Receiver, Security, Way};
use super::{Authority, file, letter};

struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        // Debian's own: another Python does not see Debian's packages.
        let mut child = Command::new("/usr/bin/python3")
            .args(["-u", "-c", include_str!("smtp.py")])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 is missing: apt-get install python3-aiosmtpd");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(Ok(port)) = lines.next() else {
            let mut said = String::new();
            let mut errors = child.stderr.take().unwrap();
            errors.read_to_string(&mut said).unwrap();
            panic!("no SMTP server: apt-get install python3-aiosmtpd\n{said}");
        };
        let port = port.parse().unwrap();
        Self { child, lines, port }
    }

    fn secure(authority: &Authority, how: &str, more: &[&str]) -> Self {
        let (cert, key) = (authority.path("cert.pem"), authority.path("key.pem"));
        let files = [
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ];
        let args: Vec<_> = [how].iter().chain(&files).chain(more).copied().collect();
        Self::start(&args)
    }

    fn mail(&self, security: Security) -> Mail {
        Mail {
            server: "localhost".into(),
            port: Some(self.port),
            security,
            from: "Berth <berth@example.com>".into(),
            to: vec!["ops@example.com".into()],
            user: None,
            password_file: None,
            ca_file: None,
            allow_plain: false,
        }
    }

    /// The next mail that it took.
    fn took(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn send(mail: Mail, announcement: &Announcement) -> Result<(), NotifyError> {
    let way = Way::Mail(mail);
    let only = std::collections::BTreeSet::new();
    let receiver = Receiver { way, only };
    receiver.check()?;
    super::super::deliver(&receiver, &letter(announcement)).await
}

#[tokio::test]
async fn a_mail_arrives_with_all_that_a_person_needs() {
    let mut server = Server::start(&[]);
    let mail = Mail {
        to: vec!["ops@example.com".into(), "Anna Ü <anna@example.com>".into()],
        ..server.mail(Security::Plain)
    };
    let mut halted = Announcement::new(Event::Halted, "A rollback could not finish: Zählwerk.")
        .next("Look at `berth status`.");
    halted.to = Some("1.2.0".parse().unwrap());
    halted.run = Some(7);
    halted.code = Some(berth_format::Code::RollbackFailed);
    send(mail, &halted).await.unwrap();
    let took = server.took();
    assert_eq!(took["from"], "berth@example.com");
    assert_eq!(took["to"][0], "ops@example.com");
    assert_eq!(took["to"][1], "anna@example.com");
    let headers = &took["headers"];
    assert_eq!(
        headers["subject"],
        "Lantern on box: stands still and needs you"
    );
    assert_eq!(headers["auto-submitted"], "auto-generated");
    assert_eq!(headers["x-berth-event"], "halted");
    let id = headers["message-id"].as_str().unwrap();
    assert!(
        id.starts_with("<msg_") && id.ends_with("@example.com>"),
        "{id}"
    );
    assert!(
        headers["date"].as_str().unwrap().contains("20"),
        "{headers}"
    );
    let text = took["text"].as_str().unwrap().replace('\r', "");
    assert!(
        text.starts_with("A rollback could not finish: Zählwerk.\n\nNext: Look at"),
        "{text}"
    );
    for row in [
        "product  lantern",
        "to       1.2.0",
        "update   7",
        "code     rollback-failed",
    ] {
        assert!(text.contains(row), "{row} in {text}");
    }
}

#[tokio::test]
async fn starttls_and_tls_with_a_password_and_an_own_authority() {
    let (own, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good", "hunter2\n");
    let bad = file(dir.path(), "bad", "hunter3\n");
    for (how, security) in [("--starttls", Security::Starttls), ("--tls", Security::Tls)] {
        let login = ["--user", "berth", "--password", "hunter2"];
        let mut server = Server::secure(&own, how, &login);
        let mail = Mail {
            user: Some("berth".into()),
            password_file: Some(good.clone()),
            ca_file: Some(own.path("ca.pem")),
            ..server.mail(security)
        };
        send(mail.clone(), &Announcement::test()).await.unwrap();
        let took = server.took();
        assert_eq!(took["tls"], true, "{how}");
        assert_eq!(took["authenticated"], true, "{how}");

        let wrong = Mail {
            password_file: Some(bad.clone()),
            ..mail.clone()
        };
        let error = send(wrong, &Announcement::test()).await.unwrap_err();
        assert!(error.to_string().contains("535"), "{error}");
        assert!(!error.to_string().contains("hunter"), "{error}");
        assert_eq!(error.again(), Again::Later, "the password can be mended");

        for ca_file in [None, Some(other.path("ca.pem"))] {
            let stranger = Mail {
                ca_file,
                ..mail.clone()
            };
            let error = send(stranger, &Announcement::test()).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_offers_no_tls_gets_nothing() {
    let server = Server::start(&["--user", "berth", "--password", "hunter2"]);
    let dir = tempfile::tempdir().unwrap();
    let mail = Mail {
        user: Some("berth".into()),
        password_file: Some(file(dir.path(), "password", "hunter2")),
        ..server.mail(Security::Starttls)
    };
    let error = send(mail, &Announcement::test()).await.unwrap_err();
    assert!(error.to_string().contains("STARTTLS"), "{error}");
}

#[tokio::test]
async fn a_refused_address_is_not_tried_for_days_and_a_greylisted_one_is() {
    let mut server = Server::start(&[]);
    for (address, again) in [
        ("nobody@example.com", Again::Unwanted),
        ("later@example.com", Again::Later),
    ] {
        let mail = Mail {
            to: vec![address.into()],
            ..server.mail(Security::Plain)
        };
        let error = send(mail, &Announcement::test()).await.unwrap_err();
        assert_eq!(error.again(), again, "{error}");
    }
    let gone = Server::start(&[]).mail(Security::Plain);
    let error = send(gone, &Announcement::test()).await.unwrap_err();
    assert_eq!(error.again(), Again::Later, "{error}");
    send(server.mail(Security::Plain), &Announcement::test())
        .await
        .unwrap();
    assert_eq!(server.took()["headers"]["x-berth-event"], "test");
}
