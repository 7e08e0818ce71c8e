//! The table of keys, the resolver and docs/compose.md say the same.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use berth_publish::compose::keys::{Fate, KEYS, markdown};
use berth_publish::compose::resolve;
use berth_publish::yaml::join;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// The release and its warnings, or its problems.
fn outcome(dir: &Path, compose: &str) -> String {
    fs::write(dir.join("compose.yaml"), compose).unwrap();
    match resolve(dir) {
        Ok(r) => format!(
            "fine {} {:?}",
            serde_json::to_string(&r.release).unwrap(),
            r.warnings
        ),
        Err(refused) => {
            let all: Vec<_> = refused.problems.iter().map(ToString::to_string).collect();
            all.join("\n")
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// The file without a line and what is below it, or with another value in it.
fn without_line(lines: &[&str], at: usize) -> Vec<String> {
    let mut out: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    if let Some((before, value)) = lines[at].split_once(" -> ") {
        let key = before.split_once(": ").unwrap().0;
        out[at] = format!("{key}: {value}");
        return out;
    }
    let level = indent(lines[at]);
    let below = lines[at + 1..]
        .iter()
        .take_while(|l| indent(l) > level)
        .count();
    out.drain(at..=at + below);
    // The first key of an item takes the dash along: the next one gets it.
    if lines[at].trim_start().starts_with("- ")
        && let Some(next) = out.get_mut(at)
        && indent(next) == level
        && !next.contains("- ")
    {
        *next = format!("{}- {}", " ".repeat(level - 2), next.trim_start());
    }
    out
}

#[test]
fn every_supported_key_changes_the_release() {
    let dir = tempfile::tempdir().unwrap();
    copy(&root().join("tests/data/every-key"), dir.path());
    let text = fs::read_to_string(dir.path().join("compose.yaml")).unwrap();
    let whole = outcome(dir.path(), &text);
    assert!(whole.starts_with("fine"), "{whole}");
    let lines: Vec<&str> = text.lines().collect();
    let supported = KEYS.iter().filter(|k| matches!(k.fate, Fate::Supported(_)));
    for key in supported {
        let name = join(key.scope.place(), key.name);
        let marked = lines.iter().position(|line| {
            let mark = line
                .split_once("#! ")
                .map(|(_, m)| m.split(" -> ").next().unwrap());
            mark == Some(&name)
        });
        let at = marked.unwrap_or_else(|| panic!("{name} is in no line of every-key/compose.yaml"));
        let changed = without_line(&lines, at);
        let without = outcome(dir.path(), &changed.join("\n"));
        assert_ne!(without, whole, "{name} makes no difference");
        assert!(!without.contains("is not YAML"), "{name}: {without}");
    }
}

#[test]
fn every_refused_key_is_refused_with_its_reason() {
    for key in KEYS {
        let (why, instead) = match key.fate {
            Fate::Refused(why, instead) => (why, instead),
            Fate::Warned(why) => (why, "it is left out"),
            Fate::Supported(_) => continue,
        };
        let place = key.scope.place();
        let long = "{type: volume, source: data, target: /x, KEY}";
        let service = |rest: &str| format!("services: {{web: {{image: web, {rest}}}}}");
        let compose = match place {
            "" => "KEY, services: {web: {image: web}}".to_owned(),
            "services.*" => service("KEY"),
            "services.*.ports[]" => service("ports: [{target: 80, KEY}]"),
            "services.*.volumes[]" => service(&format!("volumes: [{long}]")),
            "services.*.volumes[].bind" => service(
                "volumes: [{type: bind, source: ./f, target: /x, read_only: true, bind: {KEY}}]",
            ),
            "services.*.volumes[].volume" => {
                service("volumes: [{type: volume, source: data, target: /x, volume: {KEY}}]")
            }
            "services.*.networks.*" => service("networks: {default: {KEY}}"),
            "services.*.deploy" => service("deploy: {KEY}"),
            "services.*.deploy.resources.reservations" => {
                service("deploy: {resources: {reservations: {KEY}}}")
            }
            "services.*.deploy.restart_policy" => service("deploy: {restart_policy: {KEY}}"),
            "networks.*" => format!("{}, networks: {{default: {{KEY}}}}", service("")),
            "networks.*.ipam" => {
                format!("{}, networks: {{default: {{ipam: {{KEY}}}}}}", service(""))
            }
            "networks.*.ipam.config[]" => format!(
                "{}, networks: {{default: {{ipam: {{config: [{{KEY}}]}}}}}}",
                service("")
            ),
            "volumes.*" => format!(
                "{}, volumes: {{data: {{KEY}}}}",
                service("volumes: ['data:/x']")
            ),
            "{secrets,configs}.*" => format!(
                "{}, configs: {{c: {{content: x, KEY}}}}",
                service("configs: [c]")
            ),
            other => panic!("{other} has no sample"),
        };
        let compose = if place == "services.*.volumes[]" || place == "services.*.volumes[].volume" {
            format!("{compose}, volumes: {{data: }}")
        } else {
            compose
        };
        let compose = format!(
            "{{{}}}",
            compose.replace("KEY", &format!("{}: x", key.name))
        );
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("berth.yaml"),
            "product: shop\nversion: 1.0.0\n",
        )
        .unwrap();
        fs::write(dir.path().join("f"), "x").unwrap();
        fs::write(dir.path().join("compose.yaml"), &compose).unwrap();
        let told = match resolve(dir.path()) {
            Ok(resolved) => resolved.warnings,
            Err(refused) => refused.problems,
        };
        let found = told.iter().any(|p| {
            p.what == why && p.instead == instead && p.key.ends_with(key.name) && p.line == 1
        });
        assert!(found, "{place} {}: {compose}\n{told:#?}", key.name);
    }
}

/// `BERTH_BLESS=1 cargo test` writes the table.
#[test]
fn the_documentation_is_the_table() {
    let path = root().join("../../docs/compose.md");
    let page = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- keys -->\n", "<!-- /keys -->\n");
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let expected = format!("{head}{begin}{}{end}{tail}", markdown());
    if std::env::var_os("BERTH_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "run with BERTH_BLESS=1"
    );
}
