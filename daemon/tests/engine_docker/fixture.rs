//! A product of its own for each test, and nothing of it left afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use berth_daemon::engine::docker::Docker;
use berth_daemon::engine::load::{LoadedImage, TarError, TarWriter};
use berth_daemon::engine::spec::NetworkChoice;
use berth_daemon::engine::{ContainerSpec, Engine, EngineError, ImageRef, NetworkSpec};
use berth_format::image::{Blob, oci_manifest};
use berth_format::service::{Resources, Restart};
use berth_format::{Digest, Product};

/// A private engine and a product's name that no other test uses.
pub struct World {
    pub docker: Docker,
    pub product: Product,
    socket: PathBuf,
}

impl World {
    /// `None` where there is no engine for tests.
    pub fn new(test: &str) -> Option<Self> {
        let Some(socket) = std::env::var_os("BERTH_TEST_DOCKER") else {
            eprintln!("skipped: BERTH_TEST_DOCKER is not set");
            return None;
        };
        let world = Self {
            docker: Docker::new(&socket),
            product: format!("t-{test}").parse().unwrap(),
            socket: socket.into(),
        };
        world.clean();
        Some(world)
    }

    /// Asks Docker's own command line, so that nothing vouches for itself.
    pub fn cli(&self, args: &[&str]) -> String {
        let out = Command::new("docker")
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        if !out.status.success() {
            return format!("failed: {}", String::from_utf8_lossy(&out.stderr));
        }
        text
    }

    fn clean(&self) {
        let label = format!("label=berth.product={}", self.product);
        let reference = format!("reference=berth.local/{}/*", self.product);
        for (list, remove) in [
            (vec!["ps", "-aq"], vec!["rm", "-fv"]),
            (vec!["network", "ls", "-q"], vec!["network", "rm"]),
            (vec!["volume", "ls", "-q"], vec!["volume", "rm"]),
        ] {
            let ids = self.cli(&[&list[..], &["--filter", &label]].concat());
            for id in ids.lines() {
                self.cli(&[&remove[..], &[id]].concat());
            }
        }
        let tags = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let tags = self.cli(&[&tags[..], &["--filter", &reference]].concat());
        for tag in tags.lines() {
            self.cli(&["rmi", "-f", tag]);
        }
    }

    pub fn name(&self, service: &str) -> String {
        format!("{}-{service}-1", self.product)
    }

    /// An image with a shell, loaded as Berth loads it.
    pub async fn shell_image(&self) -> ImageRef {
        let test = Image::new(&self.product, "shell", vec![shell_layer()]);
        self.load(&[&test], &BTreeSet::new()).await.unwrap();
        test.loaded.image
    }

    /// Loads images without the layers in `left_out`.
    pub async fn load(
        &self,
        images: &[&Image],
        left_out: &BTreeSet<Digest>,
    ) -> Result<(), EngineError> {
        let (mut tar, stream) = TarWriter::new();
        let images: Vec<_> = images.iter().map(|i| (*i).clone()).collect();
        let left_out = left_out.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for image in &images {
                tar.blob(image.loaded.config.digest, &image.config)?;
                for layer in &image.layers {
                    if !left_out.contains(&Digest::of(layer)) {
                        tar.blob(Digest::of(layer), layer)?;
                    }
                }
            }
            let images: Vec<_> = images.into_iter().map(|i| i.loaded).collect();
            tar.finish(&images)
        });
        let loaded = self.docker.load(stream).await;
        match writing.await.unwrap() {
            Ok(()) | Err(TarError::Closed) => loaded,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn container(&self, service: &str, image: &ImageRef, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(service),
            product: self.product.clone(),
            service: service.parse().unwrap(),
            generation: 1,
            image: image.clone(),
            command: Some(vec!["/bin/sh".into(), "-c".into(), script.into()]),
            entrypoint: None,
            environment: BTreeMap::new(),
            ports: Vec::new(),
            expose: BTreeSet::new(),
            mounts: Vec::new(),
            network: NetworkChoice::None,
            healthcheck: None,
            restart: Restart::Always,
            hostname: None,
            domainname: None,
            user: None,
            working_dir: None,
            init: None,
            tty: false,
            stdin_open: false,
            read_only: false,
            privileged: false,
            stop_signal: None,
            stop_grace_ms: 1000,
            labels: BTreeMap::new(),
            logging: None,
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_opt: Vec::new(),
            group_add: Vec::new(),
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            security_opt: Vec::new(),
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            devices: Vec::new(),
            pid: None,
            ipc: None,
            userns_mode: None,
            resources: Resources::default(),
        }
    }

    pub fn network(&self, label: &str, internal: bool) -> NetworkSpec {
        NetworkSpec {
            name: format!("{}_{label}", self.product),
            product: self.product.clone(),
            label: label.into(),
            generation: 1,
            internal,
            ipv6: false,
            subnet: None,
            driver_opts: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.clean();
    }
}

/// An image that was never in a registry.
#[derive(Clone)]
pub struct Image {
    pub loaded: LoadedImage,
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    pub fn new(product: &Product, name: &str, layers: Vec<Vec<u8>>) -> Self {
        let blob = |bytes: &[u8]| Blob {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let blobs: Vec<_> = layers.iter().map(|l| blob(l)).collect();
        let diff_ids: Vec<_> = blobs.iter().map(|b| b.digest).collect();
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Labels": {"test": name}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let manifest = oci_manifest(blob(&config), &blobs);
        Self {
            loaded: LoadedImage {
                image: ImageRef {
                    tag: format!("berth.local/{product}/{name}:1.0.0"),
                    config: Digest::of(&config),
                    manifest: Digest::of(&manifest),
                },
                config: blob(&config),
                layers: blobs,
            },
            config,
            layers,
        }
    }
}

/// A layer with one file.
pub fn layer(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, path, content, 0o644);
    tar.into_inner().unwrap()
}

/// A layer with this machine's own shell: the tests need no image from anywhere.
pub fn shell_layer() -> Vec<u8> {
    shell_layer_with("")
}

/// The same with a file that makes it another layer.
pub fn shell_layer_with(mark: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "mark", mark.as_bytes(), 0o644);
    let mut wanted = BTreeSet::new();
    for program in ["/bin/sh", "/bin/sleep", "/bin/cat", "/bin/true"] {
        wanted.insert(program.to_owned());
        let out = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let libraries = text.split_whitespace().filter(|w| w.starts_with('/'));
        wanted.extend(libraries.map(str::to_owned));
    }
    for path in wanted {
        let content = std::fs::read(Path::new(&path)).unwrap();
        add(&mut tar, &path[1..], &content, 0o755);
    }
    tar.into_inner().unwrap()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content).unwrap();
}
