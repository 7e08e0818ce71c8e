//! Certificates, redirects, and tokens along redirects.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use berth_format::Code;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::super::{Answer, Credential, DownloadError, ProxySetting, Secret, Settings, Small};
use super::server::{Act, Server, ok, reply};
use super::{client_with, settings};

/// An authority of our own, and a server certificate by it.
struct Authority {
    dir: tempfile::TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new() -> Self {
        Self::certifying(&["localhost", "127.0.0.1"])
    }

    fn certifying(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), pem).unwrap();
        Self {
            dir,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn settings(&self, servers: &[&Server]) -> Settings {
        Settings {
            ca_file: Some(self.file()),
            allow_http: false,
            ..settings(servers)
        }
    }

    async fn server(&self, body: &'static [u8]) -> Server {
        Server::start_tls(self.acceptor.clone(), move |_, _| ok(body)).await
    }

    /// Sends everybody on to `location`.
    async fn redirecting(&self, location: String) -> Server {
        Server::start_tls(self.acceptor.clone(), move |_, _| {
            let header = format!("location: {location}\r\n");
            vec![Act::Send(reply("302 Found", &header, b""))]
        })
        .await
    }
}

async fn fetch(settings: Settings) -> Result<Vec<u8>, DownloadError> {
    let answer = client_with(settings)
        .0
        .fetch("x", Small::Channel, None)
        .await?;
    match answer {
        Answer::Fresh { bytes, .. } => Ok(bytes),
        other => panic!("{other:?}"),
    }
}

fn code(outcome: Result<Vec<u8>, DownloadError>) -> Code {
    outcome.unwrap_err().refusal().code
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_an_unknown_one_is_not() {
    let (own, other) = (Authority::new(), Authority::new());
    let server = own.server(b"secure").await;
    assert_eq!(fetch(own.settings(&[&server])).await.unwrap(), b"secure");
    assert_eq!(
        code(fetch(other.settings(&[&server])).await),
        Code::MirrorCertificate
    );
    let mut system = own.settings(&[&server]);
    system.ca_file = None;
    assert_eq!(code(fetch(system).await), Code::MirrorCertificate);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let own = Authority::certifying(&["dl.vendor.example"]);
    let server = own.server(b"secure").await;
    assert_eq!(
        code(fetch(own.settings(&[&server])).await),
        Code::MirrorCertificate
    );
}

#[tokio::test]
async fn a_file_of_certificates_without_one_is_an_error() {
    let own = Authority::new();
    let server = own.server(b"secure").await;
    for text in ["", "no certificate\n"] {
        std::fs::write(own.file(), text).unwrap();
        assert_eq!(
            code(fetch(own.settings(&[&server])).await),
            Code::DownloadSettings
        );
    }
    std::fs::remove_file(own.file()).unwrap();
    assert_eq!(
        code(fetch(own.settings(&[&server])).await),
        Code::DownloadSettings
    );
}

#[tokio::test]
async fn redirects_are_followed_five_times_and_not_six() {
    for (redirects, followed) in [(5, true), (6, false)] {
        let own = Authority::new();
        let server = Server::start_tls(own.acceptor.clone(), move |number, _| {
            if number < redirects {
                let header = format!("location: /lantern/{number}\r\n");
                vec![Act::Send(reply("307 Temporary Redirect", &header, b""))]
            } else {
                ok(b"there")
            }
        })
        .await;
        let outcome = fetch(own.settings(&[&server])).await;
        assert_eq!(outcome.is_ok(), followed);
        assert_eq!(server.asked().len(), 6);
        if !followed {
            assert_eq!(code(outcome), Code::MirrorRedirect);
        }
    }
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let own = Authority::new();
    let server = own.redirecting("/lantern/x".to_owned()).await;
    assert_eq!(
        code(fetch(own.settings(&[&server])).await),
        Code::MirrorRedirect
    );
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn redirects_to_http_and_into_the_network_are_refused() {
    let own = Authority::new();
    let inside = own.server(b"a secret of the network").await;
    let plain = Server::start(|_, _| ok(b"plain")).await;
    let port = inside.addr.port();
    for location in [
        format!("http://{}/x", plain.addr),
        format!("https://127.0.0.1:{port}/x"),
        format!("https://localhost:{port}/x"),
        format!("https://LOCALHOST:{port}/x"),
        format!("https://2130706433:{port}/x"),
        format!("https://[::ffff:127.0.0.1]:{port}/x"),
        "https://[::1]/x".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[fe80::1]/x".to_owned(),
        "https://10.0.0.1/x".to_owned(),
        "file:///etc/shadow".to_owned(),
    ] {
        let server = own.redirecting(location.clone()).await;
        let error = fetch(own.settings(&[&server])).await.unwrap_err();
        assert_eq!(
            error.refusal().code,
            Code::MirrorRedirect,
            "{location}: {error}"
        );
        assert_eq!(server.asked().len(), 1, "{location}");
    }
    assert!(inside.asked().is_empty() && plain.asked().is_empty());
}

#[tokio::test]
async fn redirects_into_the_network_are_followed_where_that_is_set() {
    let own = Authority::new();
    let inside = own.server(b"inside").await;
    let server = own
        .redirecting(format!("https://127.0.0.1:{}/x", inside.addr.port()))
        .await;
    let mut settings = own.settings(&[&server]);
    settings.allow_private = true;
    assert_eq!(fetch(settings).await.unwrap(), b"inside");
    // Another mirror is a place that the admin chose.
    let server = own.redirecting(format!("{}/x", inside.url())).await;
    assert_eq!(
        fetch(own.settings(&[&server, &inside])).await.unwrap(),
        b"inside"
    );
}

#[tokio::test]
async fn a_token_stays_with_its_host() {
    let own = Authority::new();
    let token_file = own.dir.path().join("token");
    std::fs::write(&token_file, "s3cret\n").unwrap();
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let elsewhere = own.server(b"elsewhere").await;
    let server = own.redirecting(format!("{}/x", elsewhere.url())).await;
    let mut settings = own.settings(&[&server]);
    settings.allow_private = true;
    settings.mirrors[0].credential = Some(Credential::Bearer { token_file });
    assert_eq!(fetch(settings).await.unwrap(), b"elsewhere");
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Bearer s3cret")
    );
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_proxy_sees_neither_what_is_asked_nor_the_token() {
    let own = Authority::certifying(&["dl.vendor.example"]);
    let token_file = own.dir.path().join("token");
    std::fs::write(&token_file, "s3cret\n").unwrap();
    std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = own.server(b"secure").await;
    let there = server.addr;
    let proxy = Server::start(move |_, _| {
        let head = b"HTTP/1.1 200 Connected\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Tunnel(there)]
    })
    .await;
    let mut settings = own.settings(&[&server]);
    settings.proxy = ProxySetting::Use {
        url: Secret(format!("http://localhost:{}", proxy.addr.port())),
        except: None,
    };
    settings.mirrors[0].url = "https://dl.vendor.example/lantern".into();
    settings.mirrors[0].credential = Some(Credential::Bearer { token_file });
    assert_eq!(fetch(settings).await.unwrap(), b"secure");
    let asked = &proxy.asked()[0];
    assert_eq!(asked.line, "CONNECT dl.vendor.example:443 HTTP/1.1");
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(
        server.asked()[0].header("authorization"),
        Some("Bearer s3cret")
    );
}
