//! Doors: what has published ports is reached only through a network that is not internal.

use std::net::TcpListener;

use berth_daemon::engine::spec::{NetworkChoice, PortSpec};
use berth_daemon::engine::{ContainerSpec, ContainerState, Engine, EngineError};
use berth_format::service::Protocol;

use crate::fixture::World;

async fn front(world: &World, service: &str, port: u16) -> ContainerSpec {
    let image = world.shell_image().await;
    let back = world.network("back", true);
    world.docker.create_network(&back).await.unwrap();
    world
        .docker
        .create_network(&world.network("doors", false))
        .await
        .unwrap();
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let mut spec = world.container(service, &image, script);
    spec.network = NetworkChoice::Networks(vec![(back.name, [service.to_owned()].into())]);
    spec.ports = vec![PortSpec {
        target: 80,
        protocol: Protocol::Tcp,
        published: Some(port),
        host_ip: Some([127, 0, 0, 1].into()),
    }];
    world.docker.create(&spec).await.unwrap();
    world.docker.start(&spec.name).await.unwrap();
    spec
}

#[tokio::test]
async fn doors_open_with_the_network_and_not_before() {
    let Some(world) = World::new("doors") else {
        return;
    };
    let doors = world.network("doors", false).name;
    let spec = front(&world, "front", 18431).await;
    let docker = &world.docker;
    assert_eq!(world.cli(&["port", &spec.name]), "");
    docker.connect(&doors, &spec.name, &[]).await.unwrap();
    docker.connect(&doors, &spec.name, &[]).await.unwrap();
    assert_eq!(
        world.cli(&["port", &spec.name]),
        "80/tcp -> 127.0.0.1:18431"
    );
    let found = docker.inspect(&spec.name).await.unwrap().unwrap();
    assert!(found.networks[&doors].is_some());

    // Closing for good: a mere disconnect publishes again on some engines.
    docker
        .stop(&spec.name, std::time::Duration::ZERO)
        .await
        .unwrap();
    docker.disconnect(&doors, &spec.name).await.unwrap();
    docker.disconnect(&doors, &spec.name).await.unwrap();
    docker.start(&spec.name).await.unwrap();
    assert_eq!(world.cli(&["port", &spec.name]), "");
    docker
        .disconnect("t-doors_never", &spec.name)
        .await
        .unwrap();
    docker.disconnect(&doors, "t-doors-never").await.unwrap();
    assert!(matches!(
        docker.connect(&doors, "t-doors-never", &[]).await,
        Err(EngineError::Missing(_))
    ));
}

#[tokio::test]
async fn a_door_whose_port_is_taken_is_not_left_half_open() {
    let Some(world) = World::new("taken") else {
        return;
    };
    let docker = &world.docker;
    let doors = world.network("doors", false).name;
    let first = front(&world, "first", 18432).await;
    let second = front(&world, "second", 18432).await;
    docker.connect(&doors, &first.name, &[]).await.unwrap();
    assert!(matches!(
        docker.connect(&doors, &second.name, &[]).await,
        Err(EngineError::PortInUse(_))
    ));
    let found = docker.inspect(&second.name).await.unwrap().unwrap();
    assert_eq!(found.state, ContainerState::Running);
    assert!(!found.networks.contains_key(&doors));

    // As a Berth that was killed in the middle leaves it.
    let left = world.cli(&["network", "connect", &doors, &second.name]);
    assert!(left.contains("already allocated"), "{left}");
    docker.remove(&first.name).await.unwrap();
    docker.connect(&doors, &second.name, &[]).await.unwrap();
    assert_eq!(
        world.cli(&["port", &second.name]),
        "80/tcp -> 127.0.0.1:18432"
    );
}

#[tokio::test]
async fn a_port_of_another_program_is_told_as_such() {
    let Some(world) = World::new("foreign") else {
        return;
    };
    // Only where the engine shares this network namespace.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let doors = world.network("doors", false).name;
    let spec = front(&world, "front", port).await;
    match world.docker.connect(&doors, &spec.name, &[]).await {
        Err(EngineError::PortInUse(_)) => {}
        Ok(()) => eprintln!("the engine has a network of its own"),
        other => panic!("{other:?}"),
    }
}
