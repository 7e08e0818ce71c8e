//! What is refused, where, and what nothing may make panic.

mod common;

use std::fs;

use berth_publish::compose::{init, resolve};
use common::{folder, told};
use proptest::prelude::*;

#[test]
fn each_refusal_has_its_line_and_says_what_to_do() {
    for (service, expected) in [
        (
            "volumes: ['/var/run/docker.sock:/s']",
            "`grants: {web: [\"docker-socket\"]}`",
        ),
        (
            "volumes: ['/etc:/etc']",
            "`grants: {web: [\"host-path:/etc\"]}`",
        ),
        ("network_mode: host", "[\"host-network\"]"),
        (
            "network_mode: bridge",
            "bridge is not supported; there are none, host and service:NAME",
        ),
        ("pid: 'service:db'", "is not supported"),
        (
            "security_opt: ['seccomp:unconfined']",
            "[\"unconfined:seccomp\"]",
        ),
        (
            "security_opt: ['seccomp=profile.json']",
            "is not on the customer's machine",
        ),
        ("devices: ['/dev/kvm']", "[\"device:/dev/kvm\"]"),
        ("devices: ['nvidia.com/gpu=all']", "CDI"),
        ("cap_add: [CAP_NET_ADMIN]", "[\"capability:NET_ADMIN\"]"),
        ("volumes: ['./missing:/x']", "./missing does not exist"),
        (
            "volumes: ['./folder:/x']",
            "say :ro if the service only reads them",
        ),
        ("volumes: ['~/x:/x']", "home folder"),
        ("volumes: ['data:/x']", "the volume data is not defined"),
        (
            "volumes: ['./f:x:ro']",
            "expected an absolute path in the container",
        ),
        (
            "volumes: ['./f:/a/../b:ro']",
            "expected an absolute path in the container",
        ),
        (
            "volumes: ['./f:/x:ro', './f:/x/:ro']",
            "something is mounted at /x already",
        ),
        ("ports: ['80:80', '80:81']", "publishes a port twice"),
        ("ports: ['http:80']", "\"http\" is no port"),
        ("ports: [{target: 0}]", "expected a port"),
        (
            "ports: [{target: 80, published: 80-90}]",
            "expected one port",
        ),
        ("depends_on: [nobody]", "nobody is no service"),
        ("ports: ['99:1']", "publishes 99, and so does db"),
        (
            "depends_on: {db: {condition: service_healthy}}",
            "whose healthcheck is off",
        ),
        (
            "depends_on: [dev]",
            "add the profile, or say `required: false`",
        ),
        (
            "depends_on: {db: {condition: service_done}}",
            "expected service_started",
        ),
        ("networks: [nowhere]", "nowhere is not defined"),
        (
            "environment: [HOME]",
            "HOME would come from the shell that runs Compose",
        ),
        ("environment: {MODE: 0440}", "write \"0440\""),
        ("environment: {V: 1.10}", "write \"1.10\""),
        ("env_file: missing.env", "missing.env cannot be read"),
        (
            "healthcheck: {test: [curl]}",
            "expected NONE, or CMD or CMD-SHELL",
        ),
        ("healthcheck: {interval: 30}", "expected a duration"),
        ("command: \"sh -c 'x\"", "a single quote is open"),
        ("restart: sometimes", "expected no, always"),
        ("mem_limit: '${FIELD}'", "depends on the config field FIELD"),
        ("image: 'x:${FIELD}'", "depends on the config field FIELD"),
        (
            "user: '${FIELD:-x}'",
            "its default here is not the one of berth.yaml",
        ),
        ("secrets: [nothing]", "which `secrets` does not define"),
        ("logging: {driver: loki}", "is a plugin"),
        ("deploy: {replicas: 2}", "is one container"),
        (
            "cpus: 1, deploy: {resources: {limits: {cpus: 1}}}",
            "stands beside",
        ),
        ("privileged: yes", "expected true or false"),
        (
            "labels: {com.docker.compose.project: x}",
            "belongs to the tool",
        ),
        ("tmpfs: '/x:exec'", "tmpfs option \"exec\""),
        ("platform: linux/arm64", "the release is for linux/amd64"),
        ("extends: web", "extends itself"),
        ("extends: {file: other.yaml, service: a}", "extends itself"),
        (
            "extends: nobody",
            "extends nobody, which is no service there",
        ),
        ("user: !secret x", "the tag !secret is not supported"),
        ("user: a, user: b", "stands twice"),
        ("dns: [example.org]", "expected an address"),
        ("sysctls: [x]", "expected a text, found nothing"),
        (
            "container_name: 'a b'",
            "expected a name that a host can have",
        ),
    ] {
        let compose = format!(
            "services:\n  db: {{image: db, ports: ['99:9'], healthcheck: {{disable: true}}}}\n  dev: {{image: dev, profiles: [dev]}}\n  web: {{image: web, {service}}}\n"
        );
        let compose = compose
            .replace("image: web, image", "image")
            .replace("image: web, user: a", "user: a");
        let text = told(
            "config: [{name: FIELD, type: string}]\n",
            &[
                ("compose.yaml", compose.as_str()),
                ("folder/x", "x"),
                ("f", "x"),
                ("other.yaml", "services: {a: {extends: b}, b: {extends: a}}"),
            ],
        );
        assert!(
            text.contains(expected),
            "{service}: {expected:?} is not in\n{text}"
        );
        let elsewhere = text.contains("other.yaml");
        assert!(
            elsewhere || text.contains("compose.yaml:4:"),
            "{service}: no line in\n{text}"
        );
    }
}

#[test]
fn berth_yaml_is_read_strictly() {
    for (berth, expected) in [
        (
            "compos: x\n",
            "berth.yaml:3:1: compos: is no key that Berth knows here; did you mean `compose`?",
        ),
        (
            "config: [{name: A, type: number}]\n",
            "expected string, text, url",
        ),
        (
            "config: [{name: A}, {name: A}]\n",
            "the field A stands twice",
        ),
        (
            "config: [{name: A, type: port, default: x}]\n",
            "its default does not fit",
        ),
        (
            "config: [{name: A, generate: 32}]\n",
            "only a secret can be generated",
        ),
        ("config: [{name: A, type: choice}]\n", "belong together"),
        ("grants: {web: [root]}\n", "expected privileged"),
        (
            "grants: {web: [privileged]}\n",
            "privileged is granted and never used",
        ),
        (
            "probes: {web: {http: 'https://web/x'}}\n",
            "expected http://SERVICE",
        ),
        (
            "probes: {nobody: {tcp: '80'}}\n",
            "nobody is no service of the release",
        ),
        (
            "volumes: {nothing: {snapshot: false}}\n",
            "nothing is no volume of the release",
        ),
        (
            "services: {nobody: {settle: 1s}}\n",
            "nobody is no service of the release",
        ),
        (
            "images: {nobody: {oci: x}}\n",
            "nobody is no service and no migration",
        ),
        ("images: {web: {tar: x}}\n", "write {archive: IMAGE.tar}"),
        ("host_data: [/srv]\n", "no service mounts /srv"),
        ("ignore: [links]\n", "expected build"),
        (
            "data: unchanged\nmigrations: [{name: m, image: x}]\n",
            "m is not reversible",
        ),
        ("config: [{name: A}]\n", "a value that nothing uses"),
        ("data: maybe\n", "expected may-change or unchanged"),
        ("upgrade: {from: latest}\n", "unexpected character"),
        (
            "upgrade: {drained: {tcp: 'nobody:1'}}\n",
            "berth.yaml: upgrade.drained: nobody is no service of the release",
        ),
        ("migrations: [{image: x}]\n", "has no `name`"),
        ("migrations: [{name: m}]\n", "has no `image`"),
        (
            "migrations: [{name: m, image: x, phase: later}]\n",
            "expected before or stopped",
        ),
        (
            "migrations: [{name: m, image: x, needs: [nobody]}]\n",
            "berth.yaml:3:41: migrations[0].needs: nobody is no service",
        ),
        (
            "migrations: [{name: m, service: nobody}]\n",
            "nobody is no service",
        ),
        (
            "migrations: [{name: m, image: x, ports: ['80']}]\n",
            "is no key that Berth knows here",
        ),
        ("notes: missing.md\n", "missing.md cannot be read"),
        (
            "notes: ../notes.md\n",
            "../notes.md is outside of the product's folder",
        ),
        ("notes: /notes.md\n", "/notes.md is a path of this machine"),
        ("platforms: [amd64]\n", "expected os/architecture"),
        (
            "compose: [compose.yaml, missing.yaml]\n",
            "missing.yaml cannot be read",
        ),
    ] {
        let text = told(berth, &[("compose.yaml", "services: {web: {image: web}}")]);
        assert!(
            text.contains(expected),
            "{berth}: {expected:?} is not in\n{text}"
        );
    }
}

#[test]
fn files_that_include_each_other_are_refused() {
    let text = told(
        "",
        &[
            (
                "compose.yaml",
                "include: [a.yaml]\nservices: {web: {image: web}}",
            ),
            (
                "a.yaml",
                "include: [compose.yaml]\nservices: {a: {image: a}}",
            ),
        ],
    );
    assert!(
        text.contains("includes itself: compose.yaml -> a.yaml -> compose.yaml"),
        "{text}"
    );
    let text = told(
        "",
        &[
            (
                "compose.yaml",
                "include: [a.yaml]\nservices: {web: {image: web}}",
            ),
            ("a.yaml", "services: {web: {image: other}}"),
        ],
    );
    assert!(
        text.contains("a.yaml:1:12: services.web: is defined in another way at compose.yaml:2"),
        "{text}"
    );
}

#[test]
fn what_means_nothing_is_left_out_with_a_warning() {
    let compose = "version: '3'\nname: other\nservices: {web: {image: web, pull_policy: always}}\nvolumes: {unused: }\n";
    let text = told("", &[("compose.yaml", compose)]);
    for expected in [
        "version: is obsolete",
        "name: is not the product",
        "nothing is pulled",
        "volumes.unused: is used by no service",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_secret_from_a_file_is_said_aloud() {
    let compose = "services: {web: {image: web, secrets: [s]}}\nsecrets: {s: {file: ./s.txt}}\n";
    let text = told("", &[("compose.yaml", compose), ("s.txt", "x")]);
    assert!(text.contains("the same at every customer"), "{text}");
}

#[test]
fn init_writes_what_check_accepts() {
    let compose = "
services:
  web:
    image: shop/web:${TAG:-1}
    build: .
    ports: ['${PORT:-8080}:80', '127.0.0.1:9000:9000']
    environment:
      DB_PASSWORD: ${DB_PASSWORD:?}
      API_TOKEN: ${API_TOKEN}
      DEBUG: ${DEBUG:-false}
      PUBLIC_URL: ${PUBLIC_URL}
      FROM_SHELL:
    mem_limit: ${MEMORY:-1g}
    volumes: ['/var/log:/logs:ro', 'cache:/cache', 'data:/data']
    depends_on: [db]
  db:
    image: postgres:16
    volumes: ['db:/var/lib/postgresql/data']
volumes: {cache: , data: , db: }
";
    let dir = folder("", &[("compose.yaml", compose)]);
    let text = init(&[dir.path().join("compose.yaml")]).unwrap();
    for expected in [
        "{name: PORT, type: port, label: \"port\", default: \"8080\"}",
        "{name: DB_PASSWORD, type: secret, label: \"db password\", generate: 32}",
        "{name: API_TOKEN, type: secret, label: \"api token\", required: true}",
        "{name: DEBUG, type: bool, label: \"debug\", default: \"false\"}",
        "{name: PUBLIC_URL, type: url, label: \"public url\", required: true}",
        "{name: FROM_SHELL, type: string",
        "  MEMORY: \"1g\"",
        "  TAG: \"1\"",
        "ignore: [build]",
        "  web: [\"host-path:/var/log\"]",
        "  cache: {snapshot: false}",
        "  web: {tcp: \"web:80\", within: 5m}",
        "# db looks like a database (postgres:16)",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    fs::write(dir.path().join("berth.yaml"), &text).unwrap();
    if let Err(refused) = resolve(dir.path()) {
        panic!("{refused:#?}\n{text}");
    }
}

/// Pieces of Compose files, good and bad.
fn piece() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "image",
        "command",
        "environment",
        "ports",
        "volumes",
        "networks",
        "depends_on",
        "env_file",
        "healthcheck",
        "extends",
        "secrets",
        "configs",
        "deploy",
        "ulimits",
        "devices",
        "tmpfs",
        "labels",
        "extra_hosts",
        "logging",
        "security_opt",
        "profiles",
        "cpus",
        "mem_limit",
        "network_mode",
        "restart",
        "build",
        "nonsense",
        "dns",
        "sysctls",
    ]);
    let values = prop::sample::select(vec![
        "",
        "x",
        "[]",
        "{}",
        "[x, y]",
        "{x: y}",
        "{x: {}}",
        "[{}]",
        "['80:80/udp']",
        "['./f:/x:ro']",
        "[{source: x, target: /y}]",
        "!reset null",
        "!override [z]",
        "${X:-${Y-}}",
        "$$",
        "${",
        "1.5",
        "{condition: [x]}",
        "['a:b:c:d']",
        "{test: []}",
        "[[x]]",
        "{resources: {limits: {cpus: x}}}",
        "{service: x, file: f}",
        "{service: x, file: /}",
        "[/, '~', '']",
        "['/:/', '~:~', '::']",
        "'~'",
        "host",
        "'${F}'",
        "*a",
        "&a {x: 1}",
        "'\\0'",
    ]);
    (keys, values).prop_map(|(k, v)| format!("    {k}: {v}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic_and_each_gives_the_same_twice(
        web in prop::collection::vec(piece(), 0..5),
        layer in prop::collection::vec(piece(), 0..4),
        include in prop::sample::select(vec![
            "", "/", "~", "''", ".", "..", "[/, '~']", "[x]", "{}", "[{path: /}]", "[{path: [f, '~']}]",
            "[{path: f, project_directory: /}]", "[{path: f, project_directory: '~', env_file: /}]",
            "[{path: f, env_file: [x, '~', '']}]", "[{path: []}]", "[[f]]", "'${F}'", "'$${X}'", "c.yaml",
        ]),
    ) {
        let base = format!("include: {include}\nservices:\n  x:\n    user: a\n{}volumes: {{x: }}\n", web.concat());
        let over = format!("services:\n  x:\n    user: b\n{}", layer.concat());
        let dir = folder(
            "compose: [c.yaml, o.yaml]\nconfig: [{name: F}]\n",
            &[("c.yaml", &base), ("o.yaml", &over), ("f", "x")],
        );
        let show = || match resolve(dir.path()) {
            Ok(r) => format!("{:?} {:?}", r.release, r.warnings),
            Err(refused) => format!("{refused:?}"),
        };
        prop_assert_eq!(show(), show());
        let _ = init(&[dir.path().join("c.yaml")]);
    }
}
