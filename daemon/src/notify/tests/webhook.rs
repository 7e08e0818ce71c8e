//! Webhooks to real web servers, verified as the documentation says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use axum::body::Body;
use jiff::Timestamp;

use super::super::{Again, Announcement, Letter, NotifyError, Receiver, Way, Webhook, deliver};
use super::web::{Server, status};
use super::{Authority, SECRET, file, letter};

struct Hook {
    dir: tempfile::TempDir,
    webhook: Webhook,
}

fn hook(url: String) -> Hook {
    let dir = tempfile::tempdir().unwrap();
    let secret_file = file(dir.path(), "secret", &format!("{SECRET}\n"));
    let webhook = Webhook {
        url,
        secret_file,
        proxy: Some("direct".into()),
        ca_file: None,
        allow_http: true,
    };
    Hook { dir, webhook }
}

impl Hook {
    async fn post(&self, letter: &Letter) -> Result<(), NotifyError> {
        let way = Way::Webhook(self.webhook.clone());
        let only = BTreeSet::new();
        deliver(&Receiver { way, only }, letter).await
    }

    async fn test(&self) -> Result<(), NotifyError> {
        self.post(&letter(&Announcement::test())).await
    }
}

/// The lines between the marks of the documentation, so that they are tried as they are printed.
fn documented() -> String {
    let page = include_str!("../../../../docs/notifications.md");
    let (_, rest) = page.split_once("<!-- verify -->\n```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn verified(
    dir: &std::path::Path,
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
) -> bool {
    std::fs::write(dir.join("body.json"), body).unwrap();
    let secret = dir.join("webhook.secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let ended = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &documented()])
        .current_dir(dir)
        .env("SECRET_FILE", secret)
        .env("WEBHOOK_ID", id)
        .env("WEBHOOK_TIMESTAMP", timestamp)
        .env("WEBHOOK_SIGNATURE", signature)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.is_empty(), "{said}");
    ended.status.success()
}

#[tokio::test]
async fn a_receiver_can_verify_it_with_openssl_as_documented() {
    let server = Server::start(|_| status(204)).await;
    let hook = hook(server.url());
    let version = "1.2.0".parse().unwrap();
    let letter = letter(&Announcement::available(&version, None, false));
    hook.post(&letter).await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.header("content-type"), "application/json");
    let agent = concat!("berth/", env!("CARGO_PKG_VERSION"));
    assert_eq!(asked.header("user-agent"), agent);
    assert_eq!(asked.header("webhook-id"), letter.id);
    assert_eq!(asked.json(), serde_json::to_value(&letter).unwrap());
    let sent: i64 = asked.header("webhook-timestamp").parse().unwrap();
    assert!((Timestamp::now().as_second() - sent).abs() < 30);

    let (id, time) = (
        asked.header("webhook-id"),
        asked.header("webhook-timestamp"),
    );
    let signature = asked.header("webhook-signature");
    let dir = tempfile::tempdir().unwrap();
    assert!(verified(dir.path(), id, time, signature, &asked.body));
    let mut forged = asked.body.to_vec();
    forged[10] ^= 1;
    assert!(!verified(dir.path(), id, time, signature, &forged));
    assert!(!verified(
        dir.path(),
        "msg_other",
        time,
        signature,
        &asked.body
    ));
    assert!(
        !verified(dir.path(), id, "1", signature, &asked.body),
        "an old one"
    );
}

#[tokio::test]
async fn answers_say_whether_to_try_again() {
    let codes = [503, 429, 410, 400, 302, 401];
    let server = Server::start(move |n| {
        let mut answer = status(codes[n]);
        let headers = answer.headers_mut();
        headers.insert("retry-after", "7".parse().unwrap());
        headers.insert("location", "http://127.0.0.1:1/".parse().unwrap());
        *answer.body_mut() = Body::from(format!("no\u{1b}[2J{}", "x".repeat(100_000)));
        answer
    })
    .await;
    let hook = hook(server.url());
    for again in [
        Again::Later,
        Again::Later,
        Again::Never,
        Again::Unwanted,
        Again::Unwanted,
        Again::Later,
    ] {
        let error = hook.test().await.unwrap_err();
        assert_eq!(error.again(), again, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        let said = error.to_string();
        assert!(said.len() < 500 && !said.contains('\u{1b}'), "{said}");
        assert!(
            !said.contains("team=ops"),
            "the URL may be a secret: {said}"
        );
    }
    assert_eq!(
        server.asked().len(),
        codes.len(),
        "no redirect was followed"
    );
}

#[tokio::test]
async fn an_endless_answer_ends() {
    let server = Server::start(|_| {
        let endless =
            futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1000)));
        let mut answer = status(500);
        *answer.body_mut() = Body::from_stream(endless);
        answer
    })
    .await;
    let hook = hook(server.url());
    let ended = tokio::time::timeout(Duration::from_secs(10), hook.test());
    assert!(ended.await.unwrap().is_err());
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_an_unknown_one_is_not() {
    let (own, other) = (Authority::new(), Authority::new());
    let server = Server::start_tls(&own).await;
    let url = format!("https://localhost:{}/", server.addr.port());
    let with = |ca_file: Option<PathBuf>| {
        let mut hook = hook(url.clone());
        hook.webhook.ca_file = ca_file;
        hook.webhook.allow_http = false;
        hook
    };
    with(Some(own.path("ca.pem"))).test().await.unwrap();
    for ca_file in [None, Some(other.path("ca.pem"))] {
        let error = with(ca_file).test().await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
        assert_eq!(error.again(), Again::Later);
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn nothing_is_sent_without_encryption_or_key_where_that_is_not_allowed() {
    let server = Server::start(|_| status(204)).await;
    let mut plain = hook(server.url());
    plain.webhook.allow_http = false;
    let error = plain.test().await.unwrap_err();
    assert!(error.to_string().contains("--allow-http"), "{error}");
    let keyless = hook(server.url());
    std::fs::remove_file(keyless.dir.path().join("secret")).unwrap();
    assert!(keyless.test().await.is_err());
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_proxy_that_is_set_is_used() {
    let proxy = Server::start(|_| status(204)).await;
    let mut hook = hook("http://10.0.0.1/hooks".into());
    hook.webhook.proxy = Some(format!("http://{}", proxy.addr));
    hook.test().await.unwrap();
    assert_eq!(proxy.asked()[0].header("host"), "10.0.0.1");
}
