//! Nothing is dropped without a word.

mod common;

use berth_publish::compose::resolve;
use common::{folder, told};

#[test]
fn a_value_that_cannot_be_kept_is_told() {
    for (service, expected) in [
        (
            "oom_score_adj: 2000",
            "services.web.oom_score_adj: expected a number from -1000 to 1000",
        ),
        (
            "deploy: {restart_policy: {max_attempts: 3}}",
            "max_attempts: Docker counts attempts only after failures",
        ),
        (
            "deploy: {restart_policy: {condition: any, max_attempts: 3}}",
            "say `condition: on-failure`",
        ),
        (
            "deploy: {restart_policy: {condition: none, max_attempts: 3}}",
            "say `condition: on-failure`",
        ),
        (
            "env_file: names.env",
            "SHELL_ONLY would come from the shell",
        ),
        (
            "volumes: [{type: tmpfs, target: /t, read_only: true}]",
            "volumes[0].read_only: means nothing for memory",
        ),
        (
            "volumes: [{type: tmpfs, target: /t, source: x}]",
            "volumes[0].source: means nothing for memory",
        ),
        (
            "depends_on: {nobody: {condition: service_started, required: false}}",
            "nobody is no service",
        ),
        (
            "network_mode: none, container_name: x",
            "container_name: would be an alias",
        ),
        (
            "ports: [!override '80:80']",
            "ports[0]: a tag inside of a list",
        ),
        ("dns: [!reset 1.1.1.1]", "dns[0]: a tag inside of a list"),
        (
            "ports: [{target: 80, published: !reset null}]",
            "ports[0].published: a tag inside of a list",
        ),
        ("environment: {MODE: 0440}", "write \"0440\""),
    ] {
        let compose = format!("services:\n  web: {{image: web, {service}}}\n");
        let text = told(
            "",
            &[
                ("compose.yaml", &compose),
                ("names.env", "A=1\nSHELL_ONLY\n"),
            ],
        );
        assert!(text.contains(expected), "{service}: {text}");
        assert!(
            text.contains("compose.yaml:2:") || text.contains("names.env:2:1"),
            "{service}: {text}"
        );
    }
}

#[test]
fn a_definition_says_one_thing_and_is_used() {
    let compose = "
services: {web: {image: web, secrets: [two]}}
configs: {unused: {content: x}}
secrets:
  two: {file: ./f, environment: F}
  spare: {file: ./f}
";
    let files = [("compose.yaml", compose), ("f", "x")];
    let text = told("config: [{name: F}]\n", &files);
    assert!(
        text.contains("compose.yaml:5:8: secrets.two: has `file` and `environment`"),
        "{text}"
    );
    let compose = compose.replace(", environment: F", "");
    let text = told("", &[("compose.yaml", &compose), ("f", "x")]);
    for unused in [
        "compose.yaml:3:19: configs.unused: is used by no",
        "secrets.spare: is used by no",
    ] {
        assert!(text.contains(unused), "{text}");
    }
    assert!(!text.contains("secrets.two: is used by no"), "{text}");
}

#[test]
fn an_included_file_is_read_whole() {
    let main = "include: [sub.yaml]\nservices: {web: {image: web}}\n";
    for (sub, expected) in [
        (
            "services: [a]\n",
            "sub.yaml:1:11: services: expected a map, found a list",
        ),
        ("volumes: x\n", "sub.yaml:1:10: volumes: expected a map"),
        (
            "name: other\nservices: {a: {image: a}}\n",
            "sub.yaml:1:7: name: means nothing",
        ),
    ] {
        let text = told("", &[("compose.yaml", main), ("sub.yaml", sub)]);
        assert!(text.contains(expected), "{sub}: {text}");
    }
}

#[test]
fn what_is_left_of_a_half_said_value_stays() {
    let compose = "
services:
  web:
    image: web
    healthcheck: {test: [], interval: 5s}
    environment:
      MODE: ${MODE}
      V: '${V}'
    configs: [{source: c, mode: '${MODE}'}]
    depends_on: {dev: {condition: service_started, required: false}}
  dev: {image: dev, profiles: [dev]}
configs: {c: {content: x}}
";
    let dir = folder(
        "variables: {MODE: '0440', V: '1.10'}\n",
        &[("compose.yaml", compose)],
    );
    let resolved = resolve(dir.path()).unwrap();
    let web = serde_json::to_value(&resolved.release.services["web"]).unwrap();
    assert_eq!(
        web["healthcheck"]["test"],
        serde_json::json!({"interval_ms": 5000})
    );
    assert_eq!(web["environment"]["MODE"], "0440");
    assert_eq!(web["environment"]["V"], "1.10");
    assert_eq!(web["depends_on"], serde_json::Value::Null);
}
