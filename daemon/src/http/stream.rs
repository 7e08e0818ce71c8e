//! Answers that go on: server-sent events and lines of JSON.

use std::convert::Infallible;
use std::fs::File;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::until;
use super::wire::{Missed, VerifyLine};
use crate::api::{Api, Notice, Result, RunDetail, Terms};

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Notices that may wait for a slow client before the broadcast itself drops some.
const QUEUE: usize = 64;

type Item = std::result::Result<Event, Infallible>;
type Events = mpsc::Sender<Item>;
type Live = broadcast::Receiver<Notice>;

/// The client has gone.
struct Gone;

/// The journal of a run after `after`, from the store, then as it grows, until the run has ended.
pub(super) fn run_events<A: Api>(
    api: A,
    id: i64,
    after: i64,
    shutdown: watch::Receiver<bool>,
) -> Result<Sse<impl Stream<Item = Item>>> {
    // Subscribed before the store is read: what is between the two comes twice, and is told apart
    // by its number.
    let live = api.subscribe();
    let detail = api.run(id)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let _ = follow_run(api, detail, after, live, sender).await;
    });
    Ok(sse(receiver, shutdown))
}

async fn follow_run<A: Api>(
    api: A,
    mut detail: RunDetail,
    mut last: i64,
    mut live: Live,
    sender: Events,
) -> std::result::Result<(), Gone> {
    let id = detail.run.id;
    loop {
        for entry in detail.entries {
            if entry.seq > last {
                last = entry.seq;
                send(&sender, Some(last), &Notice::Journal(entry)).await?;
            }
        }
        if detail.run.ended.is_some() {
            return send(&sender, None, &Notice::Ended(detail.run)).await;
        }
        // The store is what counts: a notice of the journal only says that there is more in it.
        loop {
            let notice = tokio::select! {
                notice = live.recv() => notice,
                () = sender.closed() => return Err(Gone),
            };
            match notice {
                Ok(Notice::Journal(entry)) if entry.run == id && entry.seq > last => break,
                Ok(Notice::Ended(run)) if run.id == id => break,
                Ok(notice @ (Notice::Progress { run, .. } | Notice::Log { run, .. }))
                    if run == id =>
                {
                    send(&sender, None, &notice).await?;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    missing(&sender, missed).await?;
                    break;
                }
                Err(RecvError::Closed) => return Ok(()),
            }
        }
        detail = match api.run(id) {
            Ok(detail) => detail,
            Err(refusal) => {
                log::error!("run {id} cannot be read while it is followed: {refusal}");
                return Ok(());
            }
        };
    }
}

/// Everything that happens from now on.
pub(super) fn events(
    mut live: Live,
    shutdown: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Item> + use<>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        loop {
            let notice = tokio::select! {
                notice = live.recv() => notice,
                () = sender.closed() => return,
            };
            let sent = match notice {
                Ok(notice) => {
                    let seq = match &notice {
                        Notice::Journal(entry) => Some(entry.seq),
                        _ => None,
                    };
                    send(&sender, seq, &notice).await
                }
                Err(RecvError::Lagged(missed)) => missing(&sender, missed).await,
                Err(RecvError::Closed) => return,
            };
            if sent.is_err() {
                return;
            }
        }
    });
    sse(receiver, shutdown)
}

async fn send(sender: &Events, seq: Option<i64>, notice: &Notice) -> std::result::Result<(), Gone> {
    let name = match notice {
        Notice::Journal(_) => "journal",
        Notice::Progress { .. } => "progress",
        Notice::Log { .. } => "log",
        Notice::Supervisor(_) => "supervisor",
        Notice::Ended(_) => "ended",
    };
    let event = Event::default().event(name);
    let event = match seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    };
    push(sender, event, notice).await
}

async fn missing(sender: &Events, missed: u64) -> std::result::Result<(), Gone> {
    push(sender, Event::default().event("missed"), &Missed { missed }).await
}

async fn push(
    sender: &Events,
    event: Event,
    data: &impl Serialize,
) -> std::result::Result<(), Gone> {
    let event = match event.json_data(data) {
        Ok(event) => event,
        Err(error) => {
            log::error!("a notice cannot be written: {error}");
            return Ok(());
        }
    };
    sender.send(Ok(event)).await.map_err(|_| Gone)
}

fn sse(
    receiver: mpsc::Receiver<Item>,
    mut shutdown: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Item> + use<>> {
    let stream = ReceiverStream::new(receiver)
        .take_until(Box::pin(async move { until(&mut shutdown).await }));
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Lines of JSON as they come.
pub(super) fn lines<T: Serialize + Send + 'static>(
    receiver: mpsc::Receiver<T>,
    mut shutdown: watch::Receiver<bool>,
) -> Response {
    let stream = ReceiverStream::new(receiver)
        .map(|value| line(&value))
        .take_until(Box::pin(async move { until(&mut shutdown).await }));
    ndjson(Body::from_stream(stream))
}

/// Verifies a bundle; the last line of the answer says how it ended.
pub(super) fn verification<A: Api>(api: A, file: File, terms: Terms) -> Response {
    let (sender, receiver) = mpsc::channel(1);
    let (progress, mut steps) = mpsc::channel(4);
    // Whoever goes away needs no verdict: dropping the answer drops this task's last sender.
    tokio::spawn(async move {
        let verdict = api.verify_bundle(file, terms, progress);
        let mut verdict = std::pin::pin!(verdict);
        let last = loop {
            tokio::select! {
                biased;
                Some((done, total)) = steps.recv() => {
                    if sender.send(VerifyLine::Progress { done, total }).await.is_err() {
                        return;
                    }
                }
                verdict = &mut verdict => break verdict,
                () = sender.closed() => return,
            }
        };
        let last = last.map_or_else(VerifyLine::Refused, VerifyLine::Verified);
        let _ = sender.send(last).await;
    });
    ndjson(Body::from_stream(
        ReceiverStream::new(receiver).map(|value| line(&value)),
    ))
}

fn line(value: &impl Serialize) -> std::result::Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}
