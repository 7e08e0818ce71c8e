//! What becomes of values: each of them as the daemon will see it.

mod common;

use berth_publish::compose::resolve;
use common::folder;
use serde_json::{Value, json};

/// The release of a service `web`, beside a `db` and a `job`.
fn release(berth: &str, service: &str) -> Value {
    let compose = format!(
        "services:\n  db: {{image: db}}\n  job: {{image: job}}\n  web: {{image: web, {service}}}\n"
    );
    let dir = folder(berth, &[("compose.yaml", &compose)]);
    match resolve(dir.path()) {
        Ok(resolved) => serde_json::to_value(resolved.release).unwrap_or_default(),
        Err(refused) => panic!("{service}: {:#?}", refused.problems),
    }
}

#[test]
fn each_value_becomes_what_docker_makes_of_it() {
    for (service, path, expected) in [
        (
            "healthcheck: {test: [NONE]}",
            "/healthcheck",
            json!("disabled"),
        ),
        (
            "healthcheck: {disable: true}",
            "/healthcheck",
            json!("disabled"),
        ),
        (
            "healthcheck: {test: [CMD, curl, -f, 'http://x'], retries: 2}",
            "/healthcheck/test",
            json!({"test": ["CMD", "curl", "-f", "http://x"], "retries": 2}),
        ),
        (
            "healthcheck: {test: pg_isready}",
            "/healthcheck/test/test",
            json!(["CMD-SHELL", "pg_isready"]),
        ),
        (
            "depends_on: {job: {condition: service_completed_successfully}}",
            "/depends_on/job",
            json!({"condition": "service_completed_successfully", "required": true}),
        ),
        (
            "depends_on: [db]",
            "/depends_on/db",
            json!({"condition": "service_started", "required": true}),
        ),
        ("network_mode: none", "/network", json!("none")),
        (
            "network_mode: 'service:db'",
            "/network",
            json!({"service": "db"}),
        ),
        (
            "container_name: front",
            "/network",
            json!({"networks": {"default": {"aliases": ["front"]}}}),
        ),
        (
            "deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
            "/restart",
            json!({"on-failure": {"max_retries": 3}}),
        ),
        (
            "deploy: {restart_policy: {condition: any}}",
            "/restart",
            json!("always"),
        ),
        (
            "oom_score_adj: -1000",
            "/resources/oom_score_adj",
            json!(-1000),
        ),
        (
            "ulimits: {memlock: -1}",
            "/container/ulimits/memlock",
            json!({"soft": -1, "hard": -1}),
        ),
        (
            "cap_drop: [CAP_NET_RAW, chown]",
            "/container/cap_drop",
            json!(["CHOWN", "NET_RAW"]),
        ),
        ("cap_drop: [all]", "/container/cap_drop", json!(["ALL"])),
    ] {
        let release = release("", service);
        let found = release["services"]["web"].pointer(path);
        assert_eq!(found, Some(&expected), "{service}");
    }
}

#[test]
fn what_is_granted_is_what_the_container_gets() {
    for (grant, service, path, expected, detail) in [
        (
            "host-network",
            "network_mode: host",
            "/network",
            json!("host"),
            None,
        ),
        (
            "device:/dev/kvm",
            "devices: [{source: /dev/kvm, target: /dev/kvm0, permissions: r}]",
            "/container/devices/0",
            json!({"source": "/dev/kvm", "target": "/dev/kvm0", "permissions": "r"}),
            Some("/dev/kvm"),
        ),
        (
            "device:/dev/kvm",
            "devices: [{source: /dev/kvm}]",
            "/container/devices/0",
            json!({"source": "/dev/kvm", "target": "/dev/kvm", "permissions": "rwm"}),
            Some("/dev/kvm"),
        ),
        (
            "device:/dev/kvm",
            "devices: ['/dev/kvm:rw']",
            "/container/devices/0",
            json!({"source": "/dev/kvm", "target": "/dev/kvm", "permissions": "rw"}),
            Some("/dev/kvm"),
        ),
        (
            "capability:ALL",
            "cap_add: [all]",
            "/container/cap_add",
            json!(["ALL"]),
            Some("ALL"),
        ),
        (
            "host-path:/srv",
            "volumes: ['/srv:/srv:ro,rslave']",
            "/mounts/0",
            json!({
                "type": "host", "path": "/srv", "target": "/srv", "read_only": true, "create": true,
                "propagation": "rslave",
            }),
            Some("/srv"),
        ),
    ] {
        let release = release(&format!("grants: {{web: ['{grant}']}}\n"), service);
        let found = release["services"]["web"].pointer(path);
        assert_eq!(found, Some(&expected), "{service}");
        let kind = grant.split(':').next().unwrap_or_default();
        let mut said = json!([{"service": "web", "kind": kind}]);
        if let Some(detail) = detail {
            said[0]["detail"] = detail.into();
        }
        assert_eq!(release["grants"], said, "{service}");
    }
}
