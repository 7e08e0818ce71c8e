//! Attacks on the content of layers, and on the place where they are written.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use berth_format::image::Blob;
use berth_format::{Code, Digest};

use super::super::{DownloadError, Wanted};
use super::published::{Published, cut, get, head};
use super::server::{Act, Server, file};
use super::{bytes, client, impatient_client};

#[tokio::test]
async fn a_layer_arrives_and_is_not_fetched_again() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer.server().await;
    let client = client(&[&server]);
    let arrived = get(&client, &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(arrived.fetched, 50_000);
    let line = format!(
        "GET /lantern/layers/{}.tar.zst HTTP/1.1",
        Digest::of(b"the tar").hex()
    );
    assert_eq!(server.asked()[0].line, line);
    assert_eq!(get(&client, &layer, dir.path()).await.unwrap().fetched, 0);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn lies_about_the_length_are_refused_before_the_body() {
    for len in [0, 49_999, 50_001, usize::MAX] {
        let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
        let server = layer
            .serve(move |_, _, _| {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
                vec![Act::Send(head.into()), Act::Hang]
            })
            .await;
        let error = get(&client(&[&server]), &layer, dir.path())
            .await
            .unwrap_err();
        let lied = matches!(
            error,
            DownloadError::Length { .. } | DownloadError::Protocol { .. }
        );
        assert!(lied, "{len}: {error:?}");
    }
}

#[tokio::test]
async fn endless_data_after_a_layer_is_not_read() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let body = Arc::clone(&layer.file);
    let server = layer
        .serve(move |_, _, _| {
            let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            vec![
                Act::Send(head),
                Act::Send(body.to_vec()),
                Act::Endless(vec![7; 1 << 16]),
            ]
        })
        .await;
    let client = client(&[&server]);
    let arrived = get(&client, &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert!(client.fetched() < 1 << 20, "{}", client.fetched());
}

#[tokio::test]
async fn slow_retrieval_of_a_layer_is_given_up() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer
        .serve(|_, _, mut answer| {
            let body = answer.split_off(head(&answer));
            vec![
                Act::Send(answer),
                Act::Drip(body, Duration::from_millis(10)),
            ]
        })
        .await;
    let error = get(&impatient_client(&[&server]), &layer, dir.path())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DownloadError::Slow { floor: 1024, .. }),
        "{error:?}"
    );
    assert_eq!(error.refusal().code, Code::DownloadCut);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_bad_frame_comes_from_the_next_mirror() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let (bad, good) = (layer.lying(23_456).await, layer.server().await);
    let arrived = get(&client(&[&bad, &good]), &layer, dir.path())
        .await
        .unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(good.asked()[0].header("range"), Some("bytes=20000-49999"));
    assert_eq!(
        good.asked()[0].header("if-range"),
        None,
        "that was another mirror's"
    );
}

#[tokio::test]
async fn arbitrary_bytes_are_refused_and_never_written() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let (one, two) = (layer.lying(23_456).await, layer.lying(23_457).await);
    for (mirrors, requests) in [(vec![&one], 2), (vec![&one, &two], 2)] {
        let before = one.asked().len() + two.asked().len();
        let error = get(&client(&mirrors), &layer, dir.path())
            .await
            .unwrap_err();
        assert!(
            matches!(error, DownloadError::Frame { index: 2, .. }),
            "{error}"
        );
        assert_eq!(error.refusal().code, Code::DownloadDamaged);
        assert_eq!(one.asked().len() + two.asked().len() - before, requests);
        let kept = std::fs::read(layer.unverified(dir.path())).unwrap();
        assert!(kept == layer.file[..20_000]);
    }
}

#[tokio::test]
async fn right_frames_of_a_wrong_whole_are_refused() {
    let (mut layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer.server().await;
    layer.layer.stored.digest = Digest::of(b"another");
    let error = get(&client(&[&server]), &layer, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Whole { .. }));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    layer.layer.frames.pop();
    assert!(Wanted::layer(&Digest::of(b"x"), &layer.layer).is_err());
}

#[tokio::test]
async fn a_link_in_the_place_of_the_file_is_not_followed() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer.server().await;
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "kept").unwrap();
    symlink(&victim, layer.unverified(dir.path())).unwrap();
    let error = get(&client(&[&server]), &layer, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Io { .. }), "{error}");
    std::fs::remove_file(layer.unverified(dir.path())).unwrap();
    std::fs::hard_link(&victim, layer.unverified(dir.path())).unwrap();
    assert!(get(&client(&[&server]), &layer, dir.path()).await.is_err());
    assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn two_at_once_do_not_write_one_file() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer
        .serve(|_, _, answer| {
            let mut acts = cut(answer, 5_000);
            acts.push(Act::Hang);
            acts
        })
        .await;
    let client = client(&[&server]);
    let (one, two) = (
        get(&client, &layer, dir.path()),
        get(&client, &layer, dir.path()),
    );
    let outcome = tokio::select! { outcome = one => outcome, outcome = two => outcome };
    assert!(
        matches!(outcome, Err(DownloadError::Busy(_))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_config_is_one_frame() {
    let dir = tempfile::tempdir().unwrap();
    let body = bytes(3, 1000);
    let stored = Blob {
        digest: Digest::of(&body),
        size: 1000,
    };
    let server = Server::start(move |_, asked| vec![Act::Send(file(&body, "v1", asked))]).await;
    let wanted = Wanted::unframed("configs/a.json".into(), stored).unwrap();
    let seen = std::sync::atomic::AtomicU64::new(0);
    let progress = |bytes| seen.store(bytes, std::sync::atomic::Ordering::Relaxed);
    let arrived = client(&[&server])
        .blob(&wanted, dir.path(), progress)
        .await
        .unwrap();
    assert_eq!((arrived.fetched, seen.into_inner()), (1000, 1000));
    let large = Blob {
        size: 65 << 20,
        ..stored
    };
    assert!(Wanted::unframed("x".into(), large).is_err());
    let empty = Blob {
        digest: Digest::of(b""),
        size: 0,
    };
    let wanted = Wanted::unframed("files/x".into(), empty).unwrap();
    let arrived = client(&[&server])
        .blob(&wanted, dir.path(), |_| ())
        .await
        .unwrap();
    assert_eq!(std::fs::read(arrived.path).unwrap(), b"");
    assert_eq!(server.asked().len(), 1, "nothing is not asked for");
}
