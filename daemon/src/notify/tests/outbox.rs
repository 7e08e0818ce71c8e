//! The outbox with receivers that are slow, dead, or come back.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_format::Name;
use jiff::{SignedDuration, Timestamp};

use super::super::outbox::Limits;
use super::super::{Announcement, Event, Outbox, Receiver, State, Way, Webhook};
use super::web::{Server, status};
use super::{SECRET, file, letter};
use crate::host::Linux;
use crate::release::download::Backoff;
use crate::store::Store;

/// A hundred times faster.
fn fast() -> Limits {
    Limits {
        backoff: Backoff {
            rounds: 500,
            first: Duration::from_millis(100),
            most: Duration::from_secs(36),
            obey: Duration::from_secs(36),
        },
        unwanted: 3,
        age: SignedDuration::from_hours(1),
    }
}

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    outbox: Outbox,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state")).unwrap();
        let outbox = Outbox::with(store.clone(), fast());
        file(dir.path(), "secret", SECRET);
        Self { dir, store, outbox }
    }

    fn webhook(&self, name: &str, url: String) {
        let way = Way::Webhook(Webhook {
            url,
            secret_file: self.dir.path().join("secret"),
            proxy: Some("direct".into()),
            ca_file: None,
            allow_http: true,
        });
        let only = BTreeSet::new();
        let name: Name = name.parse().unwrap();
        let receiver = Receiver { way, only };
        self.store.set_receiver(&name, Some(&receiver)).unwrap();
    }

    fn run(&self) -> tokio::task::JoinHandle<()> {
        let outbox = self.outbox.clone();
        tokio::spawn(async move { outbox.run(&Linux).await })
    }

    fn tell(&self, text: &str) {
        let letter = letter(&Announcement::new(Event::UpdateDone, text));
        self.outbox.put(&letter, None, Timestamp::now());
    }

    fn waiting(&self) -> u32 {
        self.store.waiting().unwrap().values().sum()
    }

    async fn until_empty(&self) {
        let wait = async {
            while self.waiting() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap();
    }
}

fn texts(server: &Server) -> Vec<String> {
    let asked = server.asked();
    let text = |a: &super::web::Asked| a.json()["data"]["summary"].as_str().unwrap().to_owned();
    asked.iter().map(text).collect()
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_everything_in_order_and_the_same_id() {
    let bench = Bench::new();
    let server = Server::start(|n| status(if n < 3 { 503 } else { 204 })).await;
    bench.webhook("ops", server.url());
    let running = bench.run();
    bench.tell("one");
    bench.tell("two");
    bench.until_empty().await;
    assert_eq!(texts(&server), ["one", "one", "one", "one", "two"]);
    let ids: BTreeSet<String> = server.asked()[..4]
        .iter()
        .map(|a| a.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    let all = bench.store.deliveries(9).unwrap();
    assert_eq!((all[1].state, all[1].tries), (State::Delivered, 4));
    running.abort();
}

#[tokio::test]
async fn a_dead_receiver_holds_up_nobody_else() {
    let bench = Bench::new();
    // It takes the connection and never answers.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.webhook("dead", format!("http://{}/", dead.local_addr().unwrap()));
    let alive = Server::start(|_| status(204)).await;
    bench.webhook("alive", alive.url());
    let running = bench.run();
    let begun = std::time::Instant::now();
    for text in ["one", "two", "three"] {
        bench.tell(text);
    }
    alive.until(3).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(texts(&alive), ["one", "two", "three"]);
    assert_eq!(bench.store.waiting().unwrap()["dead"], 3);
    running.abort();
}

#[tokio::test]
async fn what_was_not_delivered_is_delivered_after_a_restart() {
    let bench = Bench::new();
    let addr = {
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        nobody.local_addr().unwrap()
    };
    bench.webhook("ops", format!("http://{addr}/"));
    let running = bench.run();
    bench.tell("one");
    while bench.store.deliveries(1).unwrap()[0].tries == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.abort();
    drop(running.await);
    assert_eq!(bench.waiting(), 1);

    let server = Server::start_at(addr, |_| status(204)).await;
    let store = Store::open(&bench.dir.path().join("state")).unwrap();
    let outbox = Outbox::with(store, fast());
    let running = tokio::spawn(async move { outbox.run(&Linux).await });
    bench.until_empty().await;
    assert_eq!(texts(&server), ["one"]);
    running.abort();
}

#[tokio::test]
async fn what_is_refused_gives_way_to_the_next() {
    let bench = Bench::new();
    let server = Server::start(|n| status(if n < 3 { 400 } else { 204 })).await;
    bench.webhook("ops", server.url());
    let running = bench.run();
    bench.tell("one");
    bench.tell("two");
    bench.until_empty().await;
    assert_eq!(texts(&server), ["one", "one", "one", "two"]);
    let all = bench.store.deliveries(9).unwrap();
    assert_eq!(all[1].state, State::Failed);
    assert!(all[1].error.as_ref().unwrap().contains("400"), "{all:?}");
    assert_eq!(all[0].state, State::Delivered);
    running.abort();
}
