//! Loads: whole, in parts, and broken off.

use std::collections::BTreeSet;

use berth_daemon::engine::load::TarWriter;
use berth_daemon::engine::{Engine, EngineError};
use berth_format::Digest;

use crate::fixture::{Image, World, layer, shell_layer, shell_layer_with};

#[tokio::test]
async fn an_image_has_the_id_that_was_signed_and_runs() {
    let Some(world) = World::new("load") else {
        return;
    };
    let docker = &world.docker;
    let base = shell_layer();
    let image = Image::new(
        &world.product,
        "app",
        vec![base, layer("etc/motd", b"of the first layer")],
    );
    let id = image
        .loaded
        .image
        .id(docker.info().await.unwrap().image_store);
    assert!(!docker.image_exists(id).await.unwrap());
    world.load(&[&image], &BTreeSet::new()).await.unwrap();
    world.load(&[&image], &BTreeSet::new()).await.unwrap();
    assert!(docker.image_exists(id).await.unwrap());
    assert_eq!(
        docker.image_tags(&world.product).await.unwrap(),
        [&*image.loaded.image.tag]
    );
    let spec = world.container("app", &image.loaded.image, "cat /etc/motd");
    docker.create(&spec).await.unwrap();
    docker.start(&spec.name).await.unwrap();
    assert_eq!(docker.wait(&spec.name).await.unwrap(), 0);
    assert_eq!(
        docker.tail(&spec.name, 1).await.unwrap(),
        ["of the first layer"]
    );
    // What a container uses stays, whoever asks.
    let tag = &image.loaded.image.tag;
    docker.remove_image(tag).await.unwrap();
    assert!(docker.image_exists(id).await.unwrap());
    docker.remove(&spec.name).await.unwrap();
    docker.remove_image(tag).await.unwrap();
    docker.remove_image(tag).await.unwrap();
    assert!(!docker.image_exists(id).await.unwrap());
}

#[tokio::test]
async fn a_layer_that_the_engine_has_is_left_out() {
    let Some(world) = World::new("parts") else {
        return;
    };
    let docker = &world.docker;
    // One that no other test brings in: the engine keeps layers by content, whoever brought them.
    let base = shell_layer_with("parts");
    let left_out = BTreeSet::from([Digest::of(&base)]);
    let first = Image::new(&world.product, "first", vec![base.clone()]);
    let second = Image::new(
        &world.product,
        "second",
        vec![base, layer("etc/motd", b"on top")],
    );
    // Nobody has the base yet.
    let early = world.load(&[&second], &left_out).await;
    assert!(early.is_err(), "{early:?}");
    for tag in docker.image_tags(&world.product).await.unwrap() {
        docker.remove_image(&tag).await.unwrap();
    }
    world.load(&[&first], &BTreeSet::new()).await.unwrap();
    world.load(&[&second], &left_out).await.unwrap();
    let spec = world.container("app", &second.loaded.image, "cat /etc/motd");
    docker.create(&spec).await.unwrap();
    docker.start(&spec.name).await.unwrap();
    assert_eq!(docker.wait(&spec.name).await.unwrap(), 0);
    assert_eq!(docker.tail(&spec.name, 1).await.unwrap(), ["on top"]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_brings_nothing_in() {
    let Some(world) = World::new("broken") else {
        return;
    };
    let docker = &world.docker;
    let image = Image::new(&world.product, "app", vec![shell_layer_with("broken")]);
    for reason in [Some("the file ends within a layer"), None] {
        let (mut tar, stream) = TarWriter::new();
        let half = image.clone();
        let writing = tokio::task::spawn_blocking(move || {
            tar.blob(half.loaded.config.digest, &half.config).unwrap();
            let layer = &half.layers[0];
            tar.begin(Digest::of(layer), layer.len() as u64).unwrap();
            let _ = tar.piece(layer[..layer.len() / 2].to_vec().into());
            if let Some(reason) = reason {
                tar.abort(reason);
            }
        });
        let loaded = docker.load(stream).await;
        writing.await.unwrap();
        match (loaded, reason) {
            (Err(EngineError::Refused(why)), Some(reason)) => assert!(why.contains(reason)),
            (Err(EngineError::Refused(_)), None) => {}
            other => panic!("{other:?}"),
        }
        assert!(docker.image_tags(&world.product).await.unwrap().is_empty());
        let id = image
            .loaded
            .image
            .id(docker.info().await.unwrap().image_store);
        assert!(!docker.image_exists(id).await.unwrap());
    }
}

#[tokio::test]
async fn a_layer_that_is_not_its_digest_is_refused_by_the_engine() {
    let Some(world) = World::new("forged") else {
        return;
    };
    let mut image = Image::new(&world.product, "app", vec![shell_layer_with("forged")]);
    image.layers[0] = layer("etc/motd", b"another");
    let (mut tar, stream) = TarWriter::new();
    let writing = tokio::task::spawn_blocking(move || {
        tar.blob(image.loaded.config.digest, &image.config)?;
        // Under the digest of the layer that it is not.
        let bytes = image.layers[0].clone();
        tar.begin(image.loaded.layers[0].digest, bytes.len() as u64)?;
        tar.piece(bytes.into())?;
        tar.end()?;
        tar.finish(&[image.loaded])
    });
    let loaded = world.docker.load(stream).await;
    let _ = writing.await.unwrap();
    assert!(matches!(loaded, Err(EngineError::Refused(_))), "{loaded:?}");
    assert!(
        world
            .docker
            .image_tags(&world.product)
            .await
            .unwrap()
            .is_empty()
    );
}
