//! Each verb, twice: what is already so is success.

use std::time::Duration;

use berth_daemon::engine::docker::LogStream;
use berth_daemon::engine::spec::{HealthSpec, MountSpec, NetworkChoice};
use berth_daemon::engine::{
    ContainerState, Engine, EngineError, Happening, Health, ImageStore, VolumeSpec,
};
use berth_format::service::Restart;
use futures_util::StreamExt;

use crate::fixture::World;

fn on(networks: &[&str]) -> NetworkChoice {
    let alias = |name: &&str| ((*name).to_owned(), ["app".to_owned()].into());
    NetworkChoice::Networks(networks.iter().map(alias).collect())
}

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let Some(world) = World::new("info") else {
        return;
    };
    let info = world.docker.info().await.unwrap();
    let version = world.cli(&["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(info.version_text, version);
    assert!(version.starts_with(&info.version.to_string()), "{info:?}");
    assert!(info.api >= (1, 41) && info.memory > 0 && info.cpus > 0);
    assert_eq!(info.root, info.data_roots[0]);
    let store = if info.data_roots.len() == 2 {
        ImageStore::Containerd
    } else {
        ImageStore::GraphDriver
    };
    assert_eq!(info.image_store, store);
}

#[tokio::test]
async fn nobody_on_the_socket_is_an_engine_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let docker = berth_daemon::engine::docker::Docker::new(&socket);
    assert!(matches!(docker.info().await, Err(EngineError::Gone(_))));
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(matches!(docker.info().await, Err(EngineError::Gone(_))));
}

#[tokio::test]
async fn a_container_from_create_to_remove() {
    let Some(world) = World::new("life") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let net = world.network("back", true);
    docker.create_network(&net).await.unwrap();
    docker.create_network(&net).await.unwrap();
    assert_eq!(docker.networks(&world.product).await.unwrap(), [&*net.name]);

    let mut spec = world.container(
        "app",
        &image,
        "echo up; trap 'exit 7' TERM; while :; do sleep 0.1; done",
    );
    spec.network = on(&[&net.name]);
    docker.create(&spec).await.unwrap();
    docker.create(&spec).await.unwrap();
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(found.state, ContainerState::Created);
    assert_eq!(found.spec, Some(spec.digest()));
    assert_eq!(
        found.restart,
        Restart::No,
        "what the spec says comes at commit"
    );
    assert_eq!(found.networks.get(&net.name), Some(&None));

    let mut other = spec.clone();
    other.environment.insert("A".into(), "b".into());
    assert!(matches!(
        docker.create(&other).await,
        Err(EngineError::Conflict(_))
    ));

    docker.start(&spec.name).await.unwrap();
    docker.start(&spec.name).await.unwrap();
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(found.state, ContainerState::Running);
    assert_eq!(found.health, Health::None);
    assert!(found.networks[&net.name].is_some() && found.started.is_some());
    assert_eq!(docker.containers(&world.product).await.unwrap(), [found]);

    for policy in [
        Restart::Always,
        Restart::OnFailure { max_retries: 3 },
        Restart::UnlessStopped,
        Restart::No,
    ] {
        docker.set_restart(&spec.name, policy).await.unwrap();
        let found = docker.inspect(&spec.name).await.unwrap().unwrap();
        assert_eq!(found.restart, policy);
    }

    let command = |text: &str| ["/bin/sh", "-c", text].map(str::to_owned);
    let second = Duration::from_secs(5);
    assert_eq!(
        docker
            .exec(&spec.name, &command("exit 3"), second)
            .await
            .unwrap(),
        3
    );
    assert_eq!(
        docker
            .exec(&spec.name, &command("echo hi"), second)
            .await
            .unwrap(),
        0
    );
    let sleep = command("sleep 5");
    let slow = docker.exec(&spec.name, &sleep, Duration::from_millis(300));
    assert!(matches!(slow.await, Err(EngineError::TimedOut(_))));

    docker
        .stop(&spec.name, Duration::from_secs(5))
        .await
        .unwrap();
    docker
        .stop(&spec.name, Duration::from_secs(5))
        .await
        .unwrap();
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(found.state, ContainerState::Exited { code: 7 });
    assert!(found.finished.is_some());
    assert_eq!(docker.wait(&spec.name).await.unwrap(), 7);

    docker.remove(&spec.name).await.unwrap();
    docker.remove(&spec.name).await.unwrap();
    docker.stop(&spec.name, Duration::ZERO).await.unwrap();
    assert_eq!(docker.inspect(&spec.name).await.unwrap(), None);
    assert!(matches!(
        docker.start(&spec.name).await,
        Err(EngineError::Missing(_))
    ));
    assert!(matches!(
        docker.wait(&spec.name).await,
        Err(EngineError::Missing(_))
    ));
    docker.remove_network(&net.name).await.unwrap();
    docker.remove_network(&net.name).await.unwrap();
    assert!(docker.networks(&world.product).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_container_that_a_crash_left_off_its_networks_is_completed() {
    let Some(world) = World::new("half") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let (first, second) = (world.network("a", true), world.network("b", true));
    docker.create_network(&first).await.unwrap();
    docker.create_network(&second).await.unwrap();
    let mut spec = world.container("app", &image, "sleep 60");
    spec.network = on(&[&first.name, &second.name]);
    docker.create(&spec).await.unwrap();
    world.cli(&["network", "disconnect", &second.name, &spec.name]);
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(found.networks.len(), 1);
    docker.create(&spec).await.unwrap();
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(found.networks.len(), 2);
    let aliases = world.cli(&[
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}",
        &spec.name,
    ]);
    assert_eq!(aliases.matches("app").count(), 2, "{aliases}");
}

#[tokio::test]
async fn what_is_not_ours_is_never_taken_for_ours() {
    let Some(world) = World::new("alien") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let spec = world.container("app", &image, "sleep 60");
    let net = world.network("back", true);
    let id = image
        .id(docker.info().await.unwrap().image_store)
        .to_string();
    world.cli(&["create", "--name", &spec.name, &id, "/bin/true"]);
    world.cli(&["network", "create", &net.name]);
    world.cli(&["volume", "create", "t-alien_data"]);
    let volume = VolumeSpec {
        name: "t-alien_data".into(),
        product: world.product.clone(),
        label: "data".parse().unwrap(),
        driver_opts: [].into(),
        labels: [].into(),
    };
    let created = docker.create(&spec).await;
    let connected = docker.create_network(&net).await;
    let made = docker.create_volume(&volume).await;
    let listed = docker.containers(&world.product).await.unwrap();
    world.cli(&["rm", &spec.name]);
    world.cli(&["network", "rm", &net.name]);
    world.cli(&["volume", "rm", "t-alien_data"]);
    assert!(matches!(created, Err(EngineError::Conflict(_))));
    assert!(matches!(connected, Err(EngineError::Conflict(_))));
    assert!(matches!(made, Err(EngineError::Conflict(_))));
    assert!(listed.is_empty());
}

#[tokio::test]
async fn volumes_are_made_once_and_found_on_disk() {
    let Some(world) = World::new("volumes") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let spec = VolumeSpec {
        name: format!("{}_data", world.product),
        product: world.product.clone(),
        label: "data".parse().unwrap(),
        driver_opts: [].into(),
        labels: [("x".to_owned(), "y".to_owned())].into(),
    };
    docker.create_volume(&spec).await.unwrap();
    let path = docker.volume_path(&spec.name).await.unwrap().unwrap();
    let mut container = world.container("app", &image, "echo kept > /data/file; cat /etc/name");
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("name"), "shipped").unwrap();
    container.mounts = vec![
        MountSpec::Volume {
            name: spec.name.clone(),
            target: "/data".into(),
            read_only: false,
            nocopy: false,
        },
        MountSpec::Bind {
            path: host.path().join("name"),
            target: "/etc/name".into(),
            read_only: true,
            create: false,
            propagation: None,
        },
        MountSpec::Bind {
            path: host.path().join("made"),
            target: "/made".into(),
            read_only: false,
            create: true,
            propagation: None,
        },
        MountSpec::Tmpfs {
            target: "/run".into(),
            size: Some(1 << 20),
            mode: Some(0o700),
        },
    ];
    docker.create(&container).await.unwrap();
    docker.start(&container.name).await.unwrap();
    assert_eq!(docker.wait(&container.name).await.unwrap(), 0);
    assert_eq!(docker.tail(&container.name, 5).await.unwrap(), ["shipped"]);
    docker.remove(&container.name).await.unwrap();
    docker.create_volume(&spec).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(path.join("file")).unwrap(),
        "kept\n"
    );
    assert!(host.path().join("made").is_dir());
    assert_eq!(docker.volumes(&world.product).await.unwrap(), [&*spec.name]);
    docker.remove_volume(&spec.name).await.unwrap();
    docker.remove_volume(&spec.name).await.unwrap();
    assert_eq!(docker.volume_path(&spec.name).await.unwrap(), None);
}

#[tokio::test]
async fn health_and_death_are_seen_as_they_happen() {
    let Some(world) = World::new("events") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let mut events = std::pin::pin!(docker.events(&world.product).unwrap());
    let mut spec = world.container("app", &image, "sleep 1.5; exit 4");
    spec.healthcheck = Some(HealthSpec::Test {
        test: Some(vec!["CMD".into(), "/bin/true".into()]),
        interval_ms: Some(200),
        timeout_ms: Some(5000),
        retries: Some(50),
        start_period_ms: None,
        start_interval_ms: Some(100),
    });
    let run = async {
        docker.create(&spec).await.unwrap();
        docker.start(&spec.name).await.unwrap();
        let health = docker.inspect(&spec.name).await.unwrap().unwrap().health;
        assert_ne!(health, Health::None);
        assert_eq!(docker.wait(&spec.name).await.unwrap(), 4);
        docker.remove(&spec.name).await.unwrap();
    };
    let watch = async {
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            assert_eq!(
                (event.container.as_str(), event.generation),
                (&*spec.name, 1)
            );
            seen.push(event.what);
            if event.what == Happening::Destroyed {
                break;
            }
        }
        seen
    };
    // The stream is asked first, so that the engine listens before anything happens.
    let (seen, ()) = tokio::join!(watch, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        run.await;
    });
    assert_eq!(
        seen,
        [
            Happening::Started,
            Happening::Health(Health::Healthy),
            Happening::Died { code: 4 },
            Happening::Destroyed,
        ]
    );
}

#[tokio::test]
async fn the_last_lines_of_both_streams_in_order() {
    let Some(world) = World::new("logs") else {
        return;
    };
    let docker = &world.docker;
    let image = world.shell_image().await;
    let script = "i=0; while [ $i -lt 50 ]; do echo out $i; i=$((i+1)); done; sleep 0.2; \
                  echo problem >&2; sleep 0.2; \
                  s=xxxxxxxxxx; s=$s$s$s$s$s$s$s$s$s$s; s=$s$s$s$s$s$s$s$s$s$s; \
                  s=$s$s$s$s$s$s$s$s$s$s; echo $s$s$s; sleep 0.2; printf end";
    let spec = world.container("app", &image, script);
    docker.create(&spec).await.unwrap();
    docker.start(&spec.name).await.unwrap();
    docker.wait(&spec.name).await.unwrap();
    let lines = docker.tail(&spec.name, 6).await.unwrap();
    assert_eq!(lines.last().unwrap(), "end");
    assert_eq!(lines.iter().filter(|l| l.starts_with("xxx")).count(), 1);
    assert!(lines.iter().all(|l| l.len() <= 4096) && lines.len() <= 6);

    let all: Vec<_> = docker.logs(&spec.name, 1000, true).unwrap().collect().await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), 53);
    assert_eq!(all[49].text, "out 49");
    assert_eq!(
        (all[50].stream, &*all[50].text),
        (LogStream::Stderr, "problem")
    );
    assert!(all.iter().all(|line| line.at.is_some()));

    let mut quiet = world.container("quiet", &image, "echo lost");
    quiet.logging = Some(berth_format::service::Logging {
        driver: "none".into(),
        options: [].into(),
    });
    docker.create(&quiet).await.unwrap();
    docker.start(&quiet.name).await.unwrap();
    docker.wait(&quiet.name).await.unwrap();
    assert!(docker.tail(&quiet.name, 5).await.unwrap().is_empty());
}
