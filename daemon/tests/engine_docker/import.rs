//! Bundles into Docker.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use berth_daemon::engine::Engine;
use berth_daemon::release::import::{
    ImportError, Imported, Known, Phase, Progress, Source, import,
};
use berth_format::image::Platform;
use berth_format::{Code, Digest, Release};
use tempfile::TempDir;

use crate::bundle::Vendor;
use crate::fixture::{Image, World, layer, shell_layer_with};

struct Scene {
    world: World,
    vendor: Vendor,
    dir: TempDir,
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        let world = World::new(test)?;
        Some(Self {
            vendor: Vendor::new(&world.product),
            dir: tempfile::tempdir().unwrap(),
            world,
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("x.berth")
    }

    fn files(&self) -> std::path::PathBuf {
        self.dir.path().join("files")
    }

    fn image(&self, name: &str, layers: Vec<Vec<u8>>) -> Image {
        Image::new(&self.world.product, name, layers)
    }

    async fn import(&self, releases: &[Release], known: &Known) -> Result<Imported, ImportError> {
        let file = File::open(self.path()).unwrap();
        let root = self.vendor.root.clone();
        let source = Source::Bundle { file, root };
        let docker = &self.world.docker;
        import(docker, source, releases, known, &self.files(), |_| {}).await
    }

    async fn platform(&self) -> Platform {
        Platform::linux(&self.world.docker.info().await.unwrap().architecture)
    }

    async fn prints(&self, image: &Image, script: &str) -> Vec<String> {
        let docker = &self.world.docker;
        let spec = self.world.container("check", &image.loaded.image, script);
        docker.create(&spec).await.unwrap();
        docker.start(&spec.name).await.unwrap();
        docker.wait(&spec.name).await.unwrap();
        let lines = docker.tail(&spec.name, 5).await.unwrap();
        docker.remove(&spec.name).await.unwrap();
        lines
    }
}

/// Bytes that do not compress, so that a layer has several frames.
fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[tokio::test]
async fn two_releases_in_one_pass_and_the_second_time_nothing_is_read() {
    let Some(scene) = Scene::new("import") else {
        return;
    };
    let base = shell_layer_with("import");
    let big = layer("big", &noise(1, 9 << 20));
    let first = scene.image("first", vec![base.clone(), big.clone()]);
    let second = scene.image("second", vec![base, layer("etc/motd", b"of 2.0.0"), big]);
    let releases = scene.vendor.bundle(
        &scene.path(),
        &[
            ("1.0.0", std::slice::from_ref(&first)),
            ("2.0.0", std::slice::from_ref(&second)),
        ],
        &BTreeSet::new(),
    );
    let seen = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let log = Arc::clone(&seen);
    let imported = import(
        &scene.world.docker,
        Source::Bundle {
            file: File::open(scene.path()).unwrap(),
            root: scene.vendor.root.clone(),
        },
        &releases,
        &Known::none(),
        &scene.files(),
        move |progress| log.lock().unwrap().push(progress),
    )
    .await
    .unwrap();
    assert_eq!(
        (imported.layers, imported.known, imported.images.len()),
        (3, 0, 2)
    );
    assert_eq!(scene.prints(&second, "cat /etc/motd").await, ["of 2.0.0"]);
    let shipped = Digest::of(b"shipped with 2.0.0");
    let kept = std::fs::read(scene.files().join(shipped.hex())).unwrap();
    assert_eq!(kept, b"shipped with 2.0.0");
    {
        let seen = seen.lock().unwrap();
        let last = seen.last().unwrap();
        assert_eq!((last.phase, last.done), (Phase::Syncing, last.total));
        assert!(seen.is_sorted_by_key(|p| p.done) && seen.len() > 5);
    }

    let mut known = Known::none();
    let platform = scene.platform().await;
    for release in &releases {
        known.add(release, &platform);
    }
    let again = scene.import(&releases, &known).await.unwrap();
    assert_eq!((again.layers, again.known), (0, 3));
    assert!(again.bytes < 10_000, "{again:?}");
}

#[tokio::test]
async fn a_bundle_may_lack_what_docker_has_and_nothing_else() {
    let Some(scene) = Scene::new("lacks") else {
        return;
    };
    let base = shell_layer_with("lacks");
    let left_out = BTreeSet::from([Digest::of(&base)]);
    let first = scene.image("first", vec![base.clone()]);
    let second = scene.image("second", vec![base, layer("etc/motd", b"new")]);
    let old = scene
        .vendor
        .bundle(&scene.path(), &[("1.0.0", &[first])], &BTreeSet::new());
    scene.import(&old, &Known::none()).await.unwrap();
    let images = [second.clone()];
    let new = scene
        .vendor
        .bundle(&scene.path(), &[("2.0.0", &images)], &left_out);
    let error = scene.import(&new, &Known::none()).await.unwrap_err();
    assert_eq!(error.refusal().code, Code::BundleMember);
    let mut known = Known::none();
    known.add(&old[0], &scene.platform().await);
    scene.import(&new, &known).await.unwrap();
    assert_eq!(scene.prints(&second, "cat /etc/motd").await, ["new"]);
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn a_damaged_bundle_leaves_no_tag_and_no_file() {
    let Some(scene) = Scene::new("damaged") else {
        return;
    };
    let layers = vec![
        shell_layer_with("damaged"),
        layer("big", &noise(2, 9 << 20)),
    ];
    let images = [scene.image("app", layers)];
    let bundle = || {
        scene
            .vendor
            .bundle(&scene.path(), &[("1.0.0", &images)], &BTreeSet::new())
    };
    let size = {
        bundle();
        std::fs::metadata(scene.path()).unwrap().len()
    };
    let find = |needle: &[u8]| {
        let bytes = std::fs::read(scene.path()).unwrap();
        let at = bytes.windows(needle.len()).rposition(|w| w == needle);
        at.unwrap() as u64
    };
    let config = find(b"\"architecture\"");
    let shipped = find(b"shipped with");
    for (name, code, damage) in [
        ("layer", Code::BundleDamaged, Damage::Flip(size - 100_000)),
        ("config", Code::BundleDamaged, Damage::Flip(config)),
        ("file", Code::BundleDamaged, Damage::Flip(shipped)),
        ("truncated", Code::BundleTruncated, Damage::Cut(size - 3)),
        ("half", Code::BundleTruncated, Damage::Cut(size / 2)),
        ("trailing", Code::BundleTrailing, Damage::Cut(size + 512)),
    ] {
        let releases = bundle();
        drop(std::fs::remove_dir_all(scene.files()));
        match damage {
            Damage::Flip(at) => flip(&scene.path(), at),
            Damage::Cut(at) => {
                let file = OpenOptions::new().write(true).open(scene.path()).unwrap();
                file.set_len(at).unwrap();
            }
        }
        let error = scene.import(&releases, &Known::none()).await.unwrap_err();
        assert_eq!(error.refusal().code, code, "{name}: {error}");
        let tags = scene.world.docker.image_tags(&scene.world.product).await;
        assert!(tags.unwrap().is_empty(), "{name}");
        let kept = std::fs::read_dir(scene.files()).unwrap().count();
        assert!(kept <= 1, "{name}");
    }
}

enum Damage {
    Flip(u64),
    Cut(u64),
}

#[tokio::test]
async fn a_failed_import_keeps_the_tags_that_were_there() {
    let Some(scene) = Scene::new("keeps") else {
        return;
    };
    let base = shell_layer_with("keeps");
    let old = [scene.image("old", vec![base.clone()])];
    let new = [scene.image("new", vec![base, layer("big", &noise(3, 5 << 20))])];
    let releases = scene.vendor.bundle(
        &scene.path(),
        &[("1.0.0", &old), ("2.0.0", &new)],
        &BTreeSet::new(),
    );
    scene.import(&releases[..1], &Known::none()).await.unwrap();
    let size = std::fs::metadata(scene.path()).unwrap().len();
    flip(&scene.path(), size - 100_000);
    scene.import(&releases, &Known::none()).await.unwrap_err();
    assert_eq!(
        scene
            .world
            .docker
            .image_tags(&scene.world.product)
            .await
            .unwrap(),
        [&*old[0].loaded.image.tag]
    );
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_before_anything_is_read() {
    let Some(scene) = Scene::new("arch") else {
        return;
    };
    let images = [scene.image("app", vec![shell_layer_with("arch")])];
    let mut releases = scene
        .vendor
        .bundle(&scene.path(), &[("1.0.0", &images)], &BTreeSet::new());
    for image in releases[0].images.values_mut() {
        let platforms = std::mem::take(&mut image.platforms);
        let other: Platform = "linux/riscv64".parse().unwrap();
        image.platforms = platforms
            .into_values()
            .map(|p| (other.clone(), p))
            .collect();
    }
    let refusal = scene
        .import(&releases, &Known::none())
        .await
        .unwrap_err()
        .refusal();
    assert_eq!(refusal.code, Code::WrongArchitecture);
    assert_eq!(refusal.found.as_deref(), Some("linux/riscv64"));
    assert!(!scene.files().exists());
}
