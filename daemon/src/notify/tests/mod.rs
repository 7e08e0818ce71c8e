//! Real receivers: web servers, an SMTP server, programs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::announcement::Sender;
use super::{Announcement, Letter};

mod mail;
mod outbox;
mod program;
mod web;
mod webhook;

/// A key of the standard's own documentation.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn letter(announcement: &Announcement) -> Letter {
    let sender = Sender {
        host: "box".into(),
        appliance: "ab12".into(),
        product: Some("lantern".parse().unwrap()),
        title: Some("Lantern".into()),
    };
    Letter::new(announcement, sender, Timestamp::now())
}

/// A file of ours alone.
fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// An authority of our own, and a server's certificate by it: files in PEM.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "ca.pem", &ca);
        file(dir.path(), "cert.pem", &certificate.pem());
        file(dir.path(), "key.pem", &key.serialize_pem());
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}
