//! Which files are read, whose problems count, and what `init` sees of them.

mod common;

use std::fs;

use berth_publish::compose::{init, resolve};
use common::{folder, told};

#[test]
fn a_problem_counts_wherever_its_value_ends_up() {
    let base = "services:\n  app: {image: base, environment: {A: '${NO}'}}\n";
    for (main, counts) in [
        // The main file has an `app` of its own, and it is left out.
        (
            "services:\n  app: {image: app, profiles: [dev]}\n  web: {image: web, extends: {file: b.yaml, service: app}}\n",
            true,
        ),
        (
            "services:\n  web: {image: web}\n  dev: {profiles: [dev], extends: {file: b.yaml, service: app}}\n",
            false,
        ),
        (
            "services:\n  web: {image: web, extends: mid, profiles: !reset []}\n  mid: {profiles: [dev], extends: {file: b.yaml, service: app}}\n",
            true,
        ),
        (
            "services:\n  web: {image: web}\n  app: {image: app, profiles: [dev], user: '${NO}'}\n",
            false,
        ),
        // Nobody knows whether such a service is left out.
        (
            "services:\n  web: {image: web}\n  app: {image: app, profiles: ['${NO}']}\n",
            true,
        ),
        (
            "services:\n  web: {image: web}\n  dev: {image: app, profiles: [dev], env_file: no.env}\n",
            false,
        ),
        (
            "services:\n  web: {image: web, extends: dev, profiles: !reset []}\n  dev: {image: app, profiles: [dev], env_file: no.env}\n",
            true,
        ),
        ("include: [b.yaml]\nservices:\n  web: {image: web}\n", true),
    ] {
        let files = [("compose.yaml", main), ("b.yaml", base), ("no.env", "NO\n")];
        let text = told("", &files);
        assert_eq!(
            text.contains("${NO} has no value") || text.contains("NO would come from"),
            counts,
            "{main}\n{text}"
        );
    }
}

#[test]
fn without_compose_the_files_are_those_of_compose_itself() {
    let base = "services: {web: {image: base}}";
    let over = "services: {web: {image: over, user: '5'}}";
    for (files, image) in [
        (vec![("compose.yaml", base)], "base"),
        (
            vec![("compose.yaml", base), ("compose.override.yaml", over)],
            "over",
        ),
        (
            vec![
                ("docker-compose.yml", base),
                ("docker-compose.override.yml", over),
            ],
            "over",
        ),
        (
            vec![("compose.yaml", base), ("docker-compose.yml", over)],
            "base",
        ),
        (
            vec![("docker-compose.yml", base), ("docker-compose.yaml", over)],
            "base",
        ),
    ] {
        let release = resolve(folder("", &files).path()).unwrap().release;
        assert_eq!(release.images["web"].source, image, "{files:?}");
    }
    let named = folder(
        "compose: compose.yaml\n",
        &[("compose.yaml", base), ("compose.override.yaml", over)],
    );
    let release = resolve(named.path()).unwrap().release;
    assert_eq!(release.images["web"].source, "base");
}

#[test]
fn profiles_are_known_and_what_they_leave_out_is_said() {
    let compose = "services: {web: {image: web}, dev: {image: dev, profiles: [dev, more]}}";
    let text = told("profiles: [full]\n", &[("compose.yaml", compose)]);
    assert!(
        text.contains("berth.yaml:3:12: profiles: no service has the profile full; correct the name; there are dev, more"),
        "{text}"
    );
    let left_out = |berth: &str| {
        let resolved = resolve(folder(berth, &[("compose.yaml", compose)]).path()).unwrap();
        resolved.left_out.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(left_out(""), ["dev"]);
    assert!(left_out("profiles: [more]\n").is_empty());
    assert!(left_out("profiles: ['*']\n").is_empty());
}

#[test]
fn nothing_hides_behind_another_problem() {
    let dir = tempfile::tempdir().unwrap();
    for (berth, expected) in [
        (
            "",
            vec![
                "has no `product`",
                "has no `version`",
                "restart: expected no, always",
            ],
        ),
        (
            "version: x\nvariables: {F: '1'}\nconfig: [{name: F}]\n",
            vec![
                "has no `product`",
                "berth.yaml:1:10: version",
                "F is a config field, whose value is the admin's",
                "restart: expected no, always",
                "services.web: has no `image`",
                "services.web.ports: \"x\" is no port",
            ],
        ),
    ] {
        let compose = "version: '3'\nservices:\n  web: {restart: often, ports: ['x']}\n";
        fs::write(dir.path().join("berth.yaml"), berth).unwrap();
        fs::write(dir.path().join("compose.yaml"), compose).unwrap();
        let refused = resolve(dir.path()).unwrap_err();
        let text: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
        let text = text.join("\n");
        for line in expected {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(refused.warnings[0].key, "version");
    }
}

#[test]
fn init_sees_every_file_that_compose_reads() {
    let files = [
        (
            "compose.yaml",
            "include: [sub/more.yaml, {path: sub/own.yaml, env_file: own.env}]\nservices:\n  web: {image: web, extends: {file: base.yaml, service: base}, env_file: web.env, secrets: [key]}\nsecrets: {key: {environment: API_ACCESS}}\n",
        ),
        (
            "compose.override.yaml",
            "services: {web: {hostname: '${WEB_HOST}'}}",
        ),
        (
            "base.yaml",
            "services: {base: {labels: {a: '${LABEL}'}, user: '${BASE_USER:-5}'}}",
        ),
        (
            "sub/more.yaml",
            "services: {more: {image: more, env_file: [{path: more.env}], environment: {URL: '${MORE_URL}'}}}",
        ),
        (
            "web.env",
            "# ${NOT}\nA=${FROM_ENV}\nB='${NOT}'\nC=$A\nPASSED\n",
        ),
        (
            "sub/own.yaml",
            "services: {own: {image: own, user: '${OWN}'}}",
        ),
        ("own.env", "OWN=5\n"),
        ("sub/more.env", "D=${MORE_ENV:-x}\n"),
    ];
    let dir = folder("", &files);
    let paths = ["compose.yaml", "compose.override.yaml"].map(|f| dir.path().join(f));
    let text = init(&paths).unwrap();
    for expected in [
        "compose: [compose.yaml, compose.override.yaml]",
        "{name: API_ACCESS, type: secret",
        "{name: WEB_HOST, type: host",
        "{name: LABEL, type: string",
        "  BASE_USER: \"5\"",
        "{name: MORE_URL, type: url",
        "{name: FROM_ENV, ",
        "{name: PASSED, ",
        "{name: MORE_ENV, type: string, label: \"more env\", default: \"x\"}",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(
        !text.contains("NOT") && !text.contains("OWN") && !text.contains("name: A,"),
        "{text}"
    );
    fs::write(dir.path().join("berth.yaml"), &text).unwrap();
    if let Err(refused) = resolve(dir.path()) {
        panic!("{refused:#?}\n{text}");
    }
}
