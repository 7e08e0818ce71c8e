//! The router by itself, and the sockets for real.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use berth_format::{Code, Refusal};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use super::fake::Fake;
use super::handover::{HandOverError, hand_over};
use super::sockets::handover_path;
use super::{Handover, Sockets, router, run};
use crate::api::Notice;
use crate::store::Outcome;
use crate::update::{Event, Phase, Step};

struct App {
    router: axum::Router,
    stop: watch::Sender<bool>,
}

fn app(fake: &Fake) -> App {
    let (stop, stopped) = watch::channel(false);
    App {
        router: router(fake.clone(), Handover::default(), stopped),
        stop,
    }
}

impl App {
    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn json(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let response = self.ask(request(method, path, body)).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn refusal(&self, request: Request<Body>) -> (u16, Code) {
        let response = self.ask(request).await;
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let refusal: Refusal = serde_json::from_slice(&bytes).unwrap();
        (status, refusal.code)
    }
}

fn request(method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path);
    match body {
        Some(body) => builder
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
        None => builder.body(Body::empty()),
    }
    .unwrap()
}

#[tokio::test]
async fn every_question_has_its_answer() {
    let fake = Fake::new();
    fake.begin();
    let app = app(&fake);
    for (method, path, body, status) in [
        (Method::GET, "/v1/status", None, 200),
        (Method::GET, "/v1/trust", None, 200),
        (Method::GET, "/v1/releases", None, 200),
        (Method::GET, "/v1/bundles/1/form?version=1.1.0", None, 200),
        (
            Method::POST,
            "/v1/plan",
            Some(json!({"kind": "update"})),
            200,
        ),
        (
            Method::POST,
            "/v1/apply",
            Some(json!({"plan": {"kind": "update"}})),
            202,
        ),
        (Method::POST, "/v1/resume", None, 409),
        (Method::GET, "/v1/history?limit=5", None, 200),
        (Method::GET, "/v1/mended?limit=5", None, 200),
        (Method::GET, "/v1/runs/7", None, 200),
        (Method::GET, "/v1/runs/8", None, 404),
        (Method::GET, "/v1/config", None, 200),
        (
            Method::PATCH,
            "/v1/config",
            Some(json!({"values": {"EXTERNAL_URL": "https://a"}})),
            200,
        ),
    ] {
        let (found, answer) = app.json(method, path, body).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_the_api_does_not_know_is_a_refusal_too() {
    let fake = Fake::new();
    let app = app(&fake);
    let raw = |path: &str, kind: &str, body: &str| {
        Request::post(path)
            .header("content-type", kind)
            .body(Body::from(body.to_owned()))
            .unwrap()
    };
    let get = |path: &str| request(Method::GET, path, None);
    for (asked, code) in [
        (get("/v1/nothing"), Code::NotFound),
        (get("/v2/status"), Code::NotFound),
        (get("/v1/runs/x"), Code::NotFound),
        (get("/v1/services/..%2fx/logs"), Code::NotFound),
        (get("/v1/history?limit=-1"), Code::Usage),
        (get("/v1/history?lines=1"), Code::Usage),
        (request(Method::DELETE, "/v1/status", None), Code::Usage),
        (
            request(Method::POST, "/v1/plan", Some(json!({"kind": "x"}))),
            Code::Usage,
        ),
        (
            request(
                Method::POST,
                "/v1/plan",
                Some(json!({"kind": "update", "x": 1})),
            ),
            Code::Usage,
        ),
        (request(Method::POST, "/v1/plan", None), Code::Usage),
        (raw("/v1/plan", "application/json", "{"), Code::Usage),
        // What a form of another site could send.
        (
            raw("/v1/plan", "text/plain", "{\"kind\":\"update\"}"),
            Code::Usage,
        ),
        (
            raw("/v1/plan", "application/json", &" ".repeat(1 << 20)),
            Code::Usage,
        ),
        (
            request(Method::POST, "/v1/bundles", Some(json!({"token": "00"}))),
            Code::Usage,
        ),
    ] {
        let what = format!("{} {}", asked.method(), asked.uri());
        let status = code.kind().http_status();
        assert_eq!(app.refusal(asked).await, (status, code), "{what}");
    }
}

#[tokio::test]
async fn a_panic_is_one_request_s_refusal() {
    let fake = Fake::new();
    fake.get().panics = true;
    let app = app(&fake);
    let status = request(Method::GET, "/v1/status", None);
    // The fake's lock is poisoned by its own panic, not by ours.
    assert_eq!(app.refusal(status).await, (500, Code::Internal));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let fake = Fake::new();
    fake.get().slow = Duration::from_millis(100);
    let app = app(&fake);
    let body = json!({"plan": {"kind": "update"}});
    let asked = app.ask(request(Method::POST, "/v1/apply", Some(body)));
    assert!(
        tokio::time::timeout(Duration::from_millis(20), asked)
            .await
            .is_err()
    );
    assert!(fake.get().applied.is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.get().applied.len(), 1);
}

/// Names and ids of the events of a stream, until it ends.
async fn events(response: Response<Body>) -> Vec<(String, Option<i64>)> {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let field = |block: &str, name: &str| {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(|value| value.trim().to_owned()).next()
    };
    text.split("\n\n")
        .filter_map(|block| {
            let id = field(block, "id:").and_then(|id| id.parse().ok());
            Some((field(block, "event:")?, id))
        })
        .collect()
}

#[tokio::test]
async fn a_run_is_followed_from_the_store_on_and_nothing_comes_twice() {
    let fake = Fake::new();
    fake.begin();
    let fetch = Phase::Forward(Step::Fetch);
    fake.journal(fetch, Event::Begun, 0, "");
    let app = app(&fake);
    let path = "/v1/runs/7/events";
    let response = app.ask(request(Method::GET, path, None)).await;
    let all = tokio::spawn(events(response));
    fake.journal(fetch, Event::Done, 1, "");
    fake.notice(Notice::Log {
        run: 8,
        source: "another".into(),
        line: "run".into(),
    });
    fake.end(Outcome::Committed, None);
    let journal = |id| ("journal".to_owned(), Some(id));
    let ended = ("ended".to_owned(), None);
    assert_eq!(all.await.unwrap(), [journal(1), journal(2), ended.clone()]);

    for (path, header) in [("/v1/runs/7/events?after=1", None), (path, Some("1"))] {
        let mut asked = request(Method::GET, path, None);
        if let Some(id) = header {
            asked
                .headers_mut()
                .insert("last-event-id", id.parse().unwrap());
        }
        let response = app.ask(asked).await;
        assert_eq!(events(response).await, [journal(2), ended.clone()]);
    }
}

#[tokio::test]
async fn a_slow_reader_loses_no_line_of_the_journal() {
    let fake = Fake::new();
    fake.begin();
    let app = app(&fake);
    let response = app
        .ask(request(Method::GET, "/v1/runs/7/events", None))
        .await;
    // Far more than the broadcast and the stream's queue hold, and nobody reads yet.
    for n in 0..300 {
        fake.journal(Phase::Forward(Step::Fetch), Event::Begun, n, "");
    }
    fake.end(Outcome::Committed, None);
    let ids: Vec<i64> = events(response)
        .await
        .into_iter()
        .filter_map(|(_, id)| id)
        .collect();
    assert_eq!(ids, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn streams_end_when_berthd_stops() {
    let fake = Fake::new();
    let app = app(&fake);
    let response = app.ask(request(Method::GET, "/v1/events", None)).await;
    let mut body = response.into_body().into_data_stream();
    app.stop.send(true).unwrap();
    let next = tokio::time::timeout(Duration::from_secs(2), body.next()).await;
    assert!(next.unwrap().is_none());
}

#[tokio::test]
async fn a_log_is_lines_of_json() {
    let fake = Fake::new();
    let app = app(&fake);
    let response = app
        .ask(request(Method::GET, "/v1/services/db/logs?tail=3", None))
        .await;
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let lines: Vec<Value> = std::str::from_utf8(&bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["line"], "line 2");
}

#[tokio::test]
async fn the_page_is_whole_without_scripts() {
    let fake = Fake::new();
    fake.get().status.summary = "<script>".into();
    let response = app(&fake).ask(request(Method::GET, "/", None)).await;
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    let page = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page}"
    );
}

/// A served API in a folder of its own.
struct Served {
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn serve(fake: &Fake) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let (stop, stopped) = watch::channel(false);
    let sockets = Sockets::bind(&dir.path().join("berth.sock")).unwrap();
    let task = tokio::spawn(run(sockets, fake.clone(), stopped));
    Served { dir, stop, task }
}

impl Served {
    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("berth.sock")
    }

    fn file(&self, text: &str) -> std::fs::File {
        let path = self.dir.path().join("x.berth");
        std::fs::write(&path, text).unwrap();
        std::fs::File::open(path).unwrap()
    }
}

#[tokio::test]
async fn it_stops_with_a_stream_open_and_takes_its_sockets_with_it() {
    let fake = Fake::new();
    let served = serve(&fake);
    let client = crate::cli::client::Client::new(served.socket());
    let mut lines = client
        .lines(Method::GET, "/v1/events", None::<&()>)
        .await
        .unwrap();
    served.stop.send(true).unwrap();
    assert!(lines.event().await.unwrap().is_none());
    let ended = tokio::time::timeout(Duration::from_secs(4), served.task).await;
    ended.unwrap().unwrap().unwrap();
    assert!(!served.dir.path().join("berth.sock").exists());
    assert!(!served.dir.path().join("handover.sock").exists());
}

#[tokio::test]
async fn a_file_is_handed_over_once() {
    let fake = Fake::new();
    let served = serve(&fake);
    let client = crate::cli::client::Client::new(served.socket());
    let token = hand_over(&served.socket(), served.file("a bundle"))
        .await
        .unwrap();
    assert_eq!(token.token.len(), 32);
    // The name is gone; the file is not.
    std::fs::remove_file(served.dir.path().join("x.berth")).unwrap();
    let info: crate::api::BundleInfo = client
        .send(Method::POST, "/v1/bundles", &token)
        .await
        .unwrap();
    assert_eq!(
        (info.size, fake.get().opened.as_slice()),
        (8, &["a bundle".to_owned()][..])
    );
    let again: Result<crate::api::BundleInfo, Refusal> =
        client.send(Method::POST, "/v1/bundles", &token).await;
    assert_eq!(again.unwrap_err().code, Code::Usage);
}

async fn refused(served: &Served, file: impl AsFd) -> Code {
    match hand_over(&served.socket(), file).await {
        Err(HandOverError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_a_file_that_can_be_read_is_taken() {
    let fake = Fake::new();
    let served = serve(&fake);
    let path = served.dir.path().join("w");
    let write_only = std::fs::File::create(&path).unwrap();
    assert_eq!(refused(&served, write_only).await, Code::BundleNotABundle);
    let folder = std::fs::File::open(served.dir.path()).unwrap();
    assert_eq!(refused(&served, folder).await, Code::BundleNotABundle);
    let device = std::fs::File::open("/dev/zero").unwrap();
    assert_eq!(refused(&served, device).await, Code::BundleNotABundle);
    let (pipe, _other) = std::io::pipe().unwrap();
    assert_eq!(refused(&served, pipe).await, Code::BundleNotABundle);
    let only_a_place =
        rustix::fs::open(&path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    assert_eq!(refused(&served, only_a_place).await, Code::BundleNotABundle);
}

/// Sends bytes and descriptors as no client of ours would, and gives the answer.
fn odd_handover(served: &Served, fds: &[std::os::fd::BorrowedFd<'_>]) -> String {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut stream =
        std::os::unix::net::UnixStream::connect(handover_path(&served.socket())).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    sendmsg(
        &stream,
        &[std::io::IoSlice::new(b"f")],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .unwrap();
    stream.flush().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_or_several_files_are_refused_and_none_is_kept() {
    let fake = Fake::new();
    let served = serve(&fake);
    let file = served.file("a bundle");
    let open = || {
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter(|fd| {
                std::fs::read_link(fd.path())
                    .is_ok_and(|to| to == served.dir.path().join("x.berth"))
            })
            .count()
    };
    for n in [0, 2, 5] {
        let fds = vec![file.as_fd(); n];
        let answer = odd_handover(&served, &fds);
        assert!(answer.contains("\"usage\""), "{n}: {answer}");
    }
    assert_eq!(open(), 1);
}

#[tokio::test]
async fn at_most_eight_files_wait() {
    let fake = Fake::new();
    let served = serve(&fake);
    let file = served.file("a bundle");
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(hand_over(&served.socket(), &file).await.unwrap());
    }
    assert_eq!(refused(&served, &file).await, Code::Busy);
    let client = crate::cli::client::Client::new(served.socket());
    let _: crate::api::BundleInfo = client
        .send(Method::POST, "/v1/bundles", &tokens[0])
        .await
        .unwrap();
    assert!(hand_over(&served.socket(), &file).await.is_ok());
}

#[tokio::test]
async fn a_token_grows_old() {
    let handover = Handover::with_limits(Duration::from_millis(50), Duration::from_secs(5));
    let token = handover.keep(tempfile::tempfile().unwrap()).unwrap();
    assert!(handover.redeem(&token).is_ok());
    let late = handover.keep(tempfile::tempfile().unwrap()).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(handover.redeem(&late).is_err());
}

#[tokio::test]
async fn who_sends_nothing_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handover.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let handover = Handover::with_limits(Duration::from_secs(1), Duration::from_millis(50));
    tokio::spawn(super::handover::serve(listener, handover));
    let mut silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut silent, &mut answer)
        .await
        .unwrap();
    assert!(answer.contains("no file came in time"), "{answer}");
}
