//! Lines that break, and what goes on after them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_format::Code;

use super::super::{DownloadError, Wanted, sweep};
use super::published::{Published, cut, get};
use super::server::{Act, file, reply, status};
use super::{bytes, client, splitmix};

#[tokio::test]
async fn a_cut_line_resumes_at_its_byte_and_after_a_restart_at_a_frame() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer
        .serve(|number, _, answer| match number {
            0 => cut(answer, 25_000),
            1 => cut(answer, 7_000),
            _ => vec![Act::Send(answer), Act::Hang],
        })
        .await;
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(arrived.fetched, 50_000, "no byte twice");
    let range = |n: usize| server.asked()[n].header("range").map(str::to_owned);
    assert_eq!(range(1).as_deref(), Some("bytes=25000-49999"));
    assert_eq!(range(2).as_deref(), Some("bytes=32000-49999"));
    assert_eq!(server.asked()[1].header("if-range"), Some("\"v1\""));

    // berthd ends in the middle of the third frame, and is started again.
    std::fs::remove_file(&arrived.path).unwrap();
    let stops = layer
        .serve(|_, _, answer| {
            let mut acts = cut(answer, 25_000);
            acts.push(Act::Hang);
            acts
        })
        .await;
    let first = client(&[&stops]);
    let kept = layer.unverified(dir.path());
    let two_frames = async {
        while std::fs::metadata(&kept).map_or(0, |about| about.len()) < 20_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        outcome = get(&first, &layer, dir.path()) => panic!("{outcome:?}"),
        () = two_frames => {}
    }
    // A write that is still under way holds the file.
    std::fs::File::open(&kept).unwrap().lock().unwrap();
    let server = layer.server().await;
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(server.asked()[0].header("range"), Some("bytes=20000-49999"));
    assert_eq!(arrived.fetched, 30_000);
}

#[tokio::test]
async fn a_line_that_is_cut_two_hundred_times_costs_less_than_a_twentieth_more() {
    let (layer, dir) = (Published::new(40, 200_000), tempfile::tempdir().unwrap());
    let size = layer.file.len();
    let mut cuts: BTreeSet<usize> = BTreeSet::new();
    for seed in 0.. {
        if cuts.len() == 200 {
            break;
        }
        cuts.insert(usize::try_from(splitmix(seed) % size as u64).unwrap());
    }
    let server = layer
        .serve(move |_, asked, answer| {
            let from = asked.from().unwrap_or(0);
            match cuts.range(from + 1..).next() {
                Some(at) => cut(answer, at - from),
                None => vec![Act::Send(answer)],
            }
        })
        .await;
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    let requests = server.asked().len();
    assert!((200..=201).contains(&requests), "{requests}");
    let most = size as u64 * 105 / 100;
    assert!(arrived.fetched < most, "{} of {size}", arrived.fetched);
    assert!(server.sent() < most, "{} with heads", server.sent());
}

#[tokio::test]
async fn wrong_range_is_refused() {
    for range in [
        "bytes 0-49999/50000",
        "bytes 25001-49999/50000",
        "bytes 25000-49998/50000",
        "bytes 25000-49999/60000",
        "bytes 25000-49999/*",
        "25000-49999",
        "",
    ] {
        let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
        let server = layer
            .serve(move |number, _, answer| {
                if number == 0 {
                    return cut(answer, 25_000);
                }
                let header = format!("content-range: {range}\r\n");
                let answer = reply("206 Partial Content", &header, &vec![0; 25_000]);
                vec![Act::Send(answer)]
            })
            .await;
        let client = client(&[&server]);
        let error = get(&client, &layer, dir.path()).await.unwrap_err();
        assert!(
            matches!(error, DownloadError::Range { .. }),
            "{range}: {error}"
        );
        assert_eq!(error.refusal().code, Code::DownloadDamaged);
        assert_eq!(server.asked().len(), 2);
        assert_eq!(client.fetched(), 25_000, "nothing of it was read");
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_passed_over_up_to_what_is_here() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let body = Arc::clone(&layer.file);
    let server = layer
        .serve(move |number, _, _| {
            let answer = reply("200 OK", "etag: \"v1\"\r\n", &body);
            match number {
                0 => cut(answer, 25_000),
                _ => vec![Act::Send(answer)],
            }
        })
        .await;
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(arrived.fetched, 75_000);
}

#[tokio::test]
async fn a_416_starts_over() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer
        .serve(|_, asked, answer| match asked.from() {
            None => vec![Act::Send(answer)],
            Some(_) => status("416 Range Not Satisfiable"),
        })
        .await;
    std::fs::write(layer.unverified(dir.path()), &layer.file[..20_000]).unwrap();
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_file_that_changes_in_the_middle_makes_no_mixture() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let body = Arc::clone(&layer.file);
    let old = bytes(99, 50_000);
    let server = layer
        .serve(move |number, asked, _| match number {
            0 => {
                // Right for two frames, then another version.
                let mut first = body[..20_000].to_vec();
                first.extend_from_slice(&old[20_000..]);
                cut(file(&first, "v0", asked), 25_000)
            }
            _ => vec![Act::Send(file(&body, "v1", asked))],
        })
        .await;
    let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
    layer.is_at(&arrived, dir.path());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_disk_that_lost_a_frame_is_found_out() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    let server = layer.server().await;
    let mut kept = layer.file.to_vec();
    kept[15_000] = !kept[15_000];
    let whole = dir.path().join(layer.layer.stored.digest.hex());
    for path in [layer.unverified(dir.path()), whole] {
        std::fs::write(path, &kept).unwrap();
        let arrived = get(&client(&[&server]), &layer, dir.path()).await.unwrap();
        layer.is_at(&arrived, dir.path());
        assert_eq!(arrived.fetched, 40_000);
        std::fs::remove_file(arrived.path).unwrap();
    }
}

#[tokio::test]
async fn a_line_that_brings_nothing_new_is_given_up() {
    let (layer, dir) = (Published::new(5, 10_000), tempfile::tempdir().unwrap());
    // The same bytes again and again: cut before what would be new.
    let body = Arc::clone(&layer.file);
    let server = layer
        .serve(move |_, _, _| cut(reply("200 OK", "", &body), 25_000))
        .await;
    let error = get(&client(&[&server]), &layer, dir.path())
        .await
        .unwrap_err();
    assert!(matches!(error, DownloadError::Cut { .. }), "{error}");
    assert_eq!(
        server.asked().len(),
        7,
        "once with progress, six rounds without"
    );
    // A byte a connection is no progress either.
    let dir = tempfile::tempdir().unwrap();
    let server = layer.serve(|_, _, answer| cut(answer, 1)).await;
    get(&client(&[&server]), &layer, dir.path())
        .await
        .unwrap_err();
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_removed_and_what_is_on_its_way_stays() {
    let dir = tempfile::tempdir().unwrap();
    let names = |dir: &tempfile::TempDir| -> BTreeSet<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        names.collect()
    };
    let wanted = [1_u8, 2].map(|n| {
        let digest = berth_format::Digest::of(&[n]);
        let blob = berth_format::image::Blob { digest, size: 1 };
        (digest.hex(), Wanted::unframed("x".into(), blob).unwrap())
    });
    let stays: BTreeSet<_> = [wanted[0].0.clone(), format!("{}.unverified", wanted[1].0)].into();
    let other = berth_format::Digest::of(b"other").hex();
    let goes = [other.clone(), format!("{other}.unverified"), "x".into()];
    for name in stays.iter().chain(&goes) {
        std::fs::write(dir.path().join(name), "x").unwrap();
    }
    sweep(dir.path(), wanted.iter().map(|(_, w)| w))
        .await
        .unwrap();
    assert_eq!(names(&dir), stays);
}
