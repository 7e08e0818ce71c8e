//! Attacks on small files.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use berth_format::Code;

use super::super::settings::{Credential, Secret};
use super::super::{Answer, Client, DownloadError, ProxySetting, Small};
use super::server::{Act, Server, ok, reply, status};
use super::{Quick, client, client_with, impatient, impatient_client, settings};

const MS: Duration = Duration::from_millis(1);

async fn channel(servers: &[&Server]) -> Result<Answer, DownloadError> {
    client(servers)
        .fetch("channel.json", Small::Channel, None)
        .await
}

fn fresh(answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Fresh { bytes, .. } => bytes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_comes_as_it_is() {
    let server = Server::start(|_, _| ok(b"{ }\n")).await;
    assert_eq!(fresh(channel(&[&server]).await.unwrap()), b"{ }\n");
    let asked = &server.asked()[0];
    assert_eq!(asked.line, "GET /lantern/channel.json HTTP/1.1");
    let agent = format!("berth/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(asked.header("user-agent"), Some(agent.as_str()));
    assert_eq!(asked.header("accept-encoding"), None);
    assert_eq!(asked.header("referer"), None);
}

#[tokio::test]
async fn endless_data_is_refused_at_the_cap() {
    let heads = ["", "transfer-encoding: chunked\r\n"];
    for (index, head) in heads.into_iter().enumerate() {
        let server = Server::start(move |_, _| {
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n");
            let chunk = match index {
                0 => vec![b'x'; 4096],
                _ => [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat(),
            };
            vec![Act::Send(head.into()), Act::Endless(chunk)]
        })
        .await;
        let client = client(&[&server]);
        let error = client.fetch("x", Small::Signature, None).await.unwrap_err();
        assert!(
            matches!(error, DownloadError::TooLong { most: 1024, .. }),
            "{error}"
        );
        assert_eq!(server.asked().len(), 1, "not asked again");
        assert!(client.fetched() < 1 << 20, "{}", client.fetched());
    }
}

#[tokio::test]
async fn endless_data_that_is_announced_is_refused_before_its_first_byte() {
    let server = Server::start(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Hang]
    })
    .await;
    let client = client(&[&server]);
    let error = client.fetch("x", Small::Signature, None).await.unwrap_err();
    assert!(matches!(error, DownloadError::TooLong { .. }), "{error}");
    assert_eq!(error.refusal().code, Code::DownloadDamaged);
    assert_eq!(client.fetched(), 0);
}

#[tokio::test]
async fn endless_headers_are_refused() {
    for (start, more) in [
        ("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 200 OK\r\n", "x"),
        ("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            "x-trailer: and more\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a",
            "bcdefgh",
        ),
    ] {
        let server = Server::start(move |_, _| {
            let more = more.repeat(100).into_bytes();
            vec![Act::Send(start.into()), Act::Endless(more)]
        })
        .await;
        let error = impatient_client(&[&server])
            .fetch("x", Small::Channel, None)
            .await
            .unwrap_err();
        let is_right = matches!(
            error,
            DownloadError::Protocol { .. }
                | DownloadError::Silent { .. }
                | DownloadError::Cut { .. }
        );
        assert!(is_right, "{start}{more}: {error:?}");
    }
}

#[tokio::test]
async fn slow_retrieval_of_the_head_ends_in_time() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
    let server = Server::start(|_, _| vec![Act::Drip(head.to_vec(), 100 * MS)]).await;
    let error = impatient_client(&[&server])
        .fetch("x", Small::Channel, None)
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Silent { .. }), "{error:?}");
    assert_eq!(
        server.asked().len(),
        2,
        "that may be a bad line: tried again"
    );
}

#[tokio::test]
async fn slow_retrieval_of_a_small_file_ends_in_time() {
    let server = Server::start(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n".to_vec();
        vec![Act::Send(head), Act::Drip(vec![b'x'; 900], 20 * MS)]
    })
    .await;
    // Slower than the floor, and on a line for which the floor is no matter.
    let error = impatient_client(&[&server])
        .fetch("x", Small::Channel, None)
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Slow { .. }), "{error:?}");
    assert_eq!(error.refusal().code, Code::DownloadCut);
    let mut limits = impatient();
    limits.floor.over = Duration::from_mins(1);
    limits.backoff.rounds = 1;
    let client = Client::with(settings(&[&server]), limits, Quick::new());
    let error = client.fetch("x", Small::Signature, None).await.unwrap_err();
    assert!(matches!(error, DownloadError::Deadline { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_is_not_taken() {
    let server = Server::start(|number, _| match number {
        0 => vec![Act::Send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{ }".to_vec(),
        )],
        _ => ok(b"{ \"a\": 1 }"),
    })
    .await;
    assert_eq!(fresh(channel(&[&server]).await.unwrap()), b"{ \"a\": 1 }");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn what_follows_a_body_is_never_an_answer() {
    let server = Server::start(|_, _| {
        let first = reply("200 OK", "", b"one");
        let smuggled = reply("200 OK", "", b"two");
        vec![Act::Send([first, smuggled].concat()), Act::Hang]
    })
    .await;
    let client = client(&[&server]);
    for _ in 0..3 {
        let answer = client.fetch("x", Small::Channel, None).await.unwrap();
        assert_eq!(fresh(answer), b"one");
    }
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_gzip_bomb_stays_as_small_as_it_is() {
    let bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
    let server = Server::start(|_, _| {
        vec![Act::Send(reply(
            "200 OK",
            "content-encoding: gzip\r\n",
            bomb,
        ))]
    })
    .await;
    assert_eq!(fresh(channel(&[&server]).await.unwrap()), bomb);
}

#[tokio::test]
async fn an_unchanged_channel_costs_one_304() {
    let server = Server::start(|_, asked| {
        if asked.header("if-none-match") == Some("\"a1\"") {
            return status("304 Not Modified");
        }
        let headers = "etag: \"a1\"\r\nlast-modified: Tue, 24 Nov 2026 16:00:00 GMT\r\n";
        vec![Act::Send(reply("200 OK", headers, b"{ }"))]
    })
    .await;
    let other = Server::start(|_, _| ok(b"{ }")).await;
    let Answer::Fresh { tag: Some(tag), .. } = channel(&[&server]).await.unwrap() else {
        panic!("no tag");
    };
    let kept: super::super::Tag =
        serde_json::from_str(&serde_json::to_string(&tag).unwrap()).unwrap();
    let again = client(&[&server]);
    let answer = again
        .fetch("channel.json", Small::Channel, Some(&kept))
        .await
        .unwrap();
    assert_eq!(answer, Answer::NotModified);
    assert_eq!((server.asked().len(), again.fetched()), (2, 0));
    assert!(server.asked()[1].header("if-modified-since").is_some());
    // Another mirror has other validators.
    client(&[&other])
        .fetch("channel.json", Small::Channel, Some(&kept))
        .await
        .unwrap();
    assert_eq!(other.asked()[0].header("if-none-match"), None);
}

#[tokio::test]
async fn answers_that_nobody_asked_for_are_refused() {
    for line in [
        "304 Not Modified",
        "206 Partial Content",
        "204 No Content",
        "300 Multiple",
    ] {
        let server = Server::start(move |_, _| status(line)).await;
        let error = channel(&[&server]).await.unwrap_err();
        assert!(
            matches!(error, DownloadError::Status { .. }),
            "{line}: {error:?}"
        );
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_file_is_missing_when_no_mirror_has_it() {
    let none = Server::start(|_, _| status("404 Not Found")).await;
    let gone = Server::start(|_, _| status("410 Gone")).await;
    let some = Server::start(|_, _| ok(b"{ }")).await;
    let broken = Server::start(|_, _| status("503 Service Unavailable")).await;
    assert_eq!(channel(&[&none, &gone]).await.unwrap(), Answer::Missing);
    assert_eq!(fresh(channel(&[&none, &some]).await.unwrap()), b"{ }");
    assert_eq!(channel(&[&broken, &none]).await.unwrap(), Answer::Missing);
    assert_eq!(broken.asked().len(), 1);
}

#[tokio::test]
async fn a_busy_server_is_left_alone_as_long_as_it_wants() {
    let server = Server::start(|number, _| match number {
        0 => vec![Act::Send(reply("503 Busy", "retry-after: 7\r\n", b""))],
        1 => vec![Act::Send(reply(
            "429 Too Many",
            "retry-after: 999999\r\n",
            b"",
        ))],
        _ => ok(b"{ }"),
    })
    .await;
    let (client, quick) = client_with(settings(&[&server]));
    client
        .fetch("channel.json", Small::Channel, None)
        .await
        .unwrap();
    assert_eq!(
        quick.slept(),
        [Duration::from_secs(7), Duration::from_mins(5)]
    );
}

#[tokio::test]
async fn a_refusal_is_not_argued_with() {
    let server = Server::start(|_, _| status("401 Unauthorized")).await;
    let error = channel(&[&server]).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::MirrorRefused);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn redirects_of_a_plain_mirror_are_refused() {
    let server = Server::start(|_, _| {
        vec![Act::Send(reply(
            "302 Found",
            "location: /lantern/other\r\n",
            b"",
        ))]
    })
    .await;
    let error = channel(&[&server]).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::MirrorRedirect, "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn plain_http_is_only_for_private_hosts_and_where_it_was_allowed() {
    let server = Server::start(|_, _| ok(b"{ }")).await;
    let mut plain = settings(&[&server]);
    plain.allow_http = false;
    let error = client_with(plain)
        .0
        .fetch("x", Small::Root, None)
        .await
        .unwrap_err();
    assert_eq!(error.refusal().code, Code::DownloadSettings, "{error}");
    let mut public = settings(&[&server]);
    public.mirrors[0].url = "http://1.1.1.1/".into();
    let error = client_with(public)
        .0
        .fetch("x", Small::Root, None)
        .await
        .unwrap_err();
    assert_eq!(error.refusal().code, Code::DownloadSettings, "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_token_stays_with_its_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "open sesame\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let first = Server::start(|_, _| status("503 Busy")).await;
    let second = Server::start(|_, _| ok(b"{ }")).await;
    let mut settings = settings(&[&first, &second]);
    settings.mirrors[0].credential = Some(Credential::Basic {
        user: "Aladdin".into(),
        password_file: path,
    });
    client_with(settings)
        .0
        .fetch("x", Small::Root, None)
        .await
        .unwrap();
    // The example of RFC 7617.
    let basic = first.asked()[0].header("authorization").map(str::to_owned);
    assert_eq!(basic.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    assert_eq!(second.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_proxy_gets_what_is_for_the_mirror() {
    let proxy = Server::start(|_, _| ok(b"by proxy")).await;
    let mut set = settings(&[&proxy]);
    set.mirrors[0].url = "http://mirror.internal/lantern".into();
    set.proxy = ProxySetting::Use {
        url: Secret(format!("http://me:pw@{}", proxy.addr)),
        except: None,
    };
    let answer = client_with(set)
        .0
        .fetch("x", Small::Root, None)
        .await
        .unwrap();
    assert_eq!(fresh(answer), b"by proxy");
    let asked = &proxy.asked()[0];
    assert_eq!(asked.line, "GET http://mirror.internal/lantern/x HTTP/1.1");
    assert_eq!(asked.header("proxy-authorization"), Some("Basic bWU6cHc="));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_read_is_no_direct_connection() {
    let server = Server::start(|_, _| ok(b"{ }")).await;
    let mut set = settings(&[&server]);
    set.proxy = ProxySetting::Environment;
    let (client, _) = client_with(set);
    let client = client.environment(|name| (name == "http_proxy").then(|| "http://:::".into()));
    let error = client.fetch("x", Small::Root, None).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::DownloadSettings);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn what_is_streamed_is_unverified_and_nobodys_link() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "kept").unwrap();
    let path = dir.path().join("berth.deb.unverified");
    symlink(&victim, &path).unwrap();
    let server = Server::start(|number, _| match number {
        0 => vec![Act::Send(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal".to_vec(),
        )],
        1 => ok(b"all of it"),
        _ => ok(b"much too long for it"),
    })
    .await;
    let client = client(&[&server]);
    let found = client
        .fetch_to("berth/berth.deb", 10, dir.path())
        .await
        .unwrap();
    assert_eq!(found.as_deref(), Some(path.as_path()));
    assert_eq!(std::fs::read(&path).unwrap(), b"all of it");
    let about = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
    let error = client
        .fetch_to("berth/berth.deb", 10, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::TooLong { .. }));
    assert!(!path.exists(), "half of it is of no use");
}

#[tokio::test]
async fn the_bandwidth_limit_is_slept_for() {
    let body = vec![b'x'; 500_000];
    let server = Server::start(move |_, _| ok(&body)).await;
    let mut set = settings(&[&server]);
    set.bandwidth = Some(100_000);
    let (client, quick) = client_with(set);
    client.fetch("x", Small::Root, None).await.unwrap();
    // A second's worth is free; what is owed is asked for again, as nobody really sleeps here.
    let longest = quick.slept().into_iter().max().unwrap();
    assert!((3.0..=4.0).contains(&longest.as_secs_f64()), "{longest:?}");
}
