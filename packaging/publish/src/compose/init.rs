//! The first berth.yaml for a Compose file: what can be guessed, and what is to be decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use berth_format::release::{GrantKind, Release};
use berth_format::service::{Condition, Protocol};

use crate::berth_yaml::{self, grant_text};
use crate::compose::cursor::At;
use crate::compose::dotenv;
use crate::compose::interpolate::{Use, Variables, uses};
use crate::problem::{Problem, Report};
use crate::yaml::{self, Kind, Node, Pos};

/// Parts of a service in which a config field may stand.
const FIELD_PLACES: &[&str] = &[
    "environment",
    "command",
    "entrypoint",
    "labels",
    "hostname",
    "domainname",
    "extra_hosts",
    "ports",
    "volumes",
];

/// Writes the berth.yaml. It lies beside the Compose file.
pub fn init(compose: &Path) -> Result<String, Problem> {
    let file = compose
        .file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let dir = compose.parent().filter(|p| !p.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let text = std::fs::read_to_string(compose).map_err(|error| {
        let what = format!("cannot be read: {error}");
        Problem::new(&Pos::file(&file), "", what, "name a Compose file")
    })?;
    let root = yaml::parse(&file, &text)?;
    let variables = Found::read(dir, &root);
    let mut out = head(dir, &file, &root);
    variables.write(&mut out);
    // The rest is seen only once everything is resolved; what is wrong is for `check` to say.
    let report = Report::default();
    if let Some(berth) = berth_yaml::parse(dir, &out, &report) {
        let resolved = super::build(dir, &berth, &Report::default());
        rest(&mut out, &root, &resolved.release);
    }
    Ok(out)
}

fn head(dir: &Path, file: &str, root: &Node) -> String {
    let folder = dir.canonicalize().ok();
    let folder = folder
        .as_deref()
        .and_then(Path::file_name)
        .map(|n| n.to_string_lossy());
    let name = root.get("name").and_then(Node::as_text).map(str::to_owned);
    let product = product(&name.unwrap_or_else(|| folder.unwrap_or_default().into_owned()));
    let mut out = format!(
        "# What Compose cannot say about this product. `berth-publish check` tells what is missing.

# Guessed from the Compose file or the folder; it never changes after the first release.
product: {product}
version: 0.1.0
compose: {file}

# Versions that may update to this one directly; older ones go through the stops between.
# `stop: true`: nobody may skip this version.
# upgrade: {{from: \">=0.1.0\", stop: false}}

# Markdown that the admin reads before the update.
# notes: notes.md

# To decide: what the machine must have.
requires: {{cpus: 1, memory: 1GiB, disk: 5GiB, engine: \">=20.10\"}}
# platforms: [linux/amd64, linux/arm64]

# `unchanged` promises that the old version can run on whatever this one writes: no snapshot, no
# closed doors. Keep `may-change` unless that was tested.
data: may-change
"
    );
    let services = root.get("services").and_then(Node::as_map);
    let services = services.map(|m| m.entries.as_slice()).unwrap_or_default();
    if services.iter().any(|s| s.value.get("build").is_some()) {
        out.push_str("\n# Images are built before `berth-publish build`; each service with `build:` needs an `image:` too.\nignore: [build]\n");
    }
    let profiles: BTreeSet<&str> = services
        .iter()
        .filter_map(|s| s.value.get("profiles")?.as_seq())
        .flatten()
        .filter_map(Node::as_text)
        .collect();
    if !profiles.is_empty() {
        let all = profiles.into_iter().collect::<Vec<_>>().join(", ");
        let _ = write!(
            out,
            "\n# To decide: which profiles customers get ({all}). Services of the others are left out.\nprofiles: []\n"
        );
    }
    out
}

/// `${NAME}` in the Compose file.
#[derive(Default)]
struct Found {
    fields: BTreeMap<String, Guess>,
    /// Known when the release is built.
    variables: BTreeMap<String, String>,
}

struct Guess {
    kind: &'static str,
    required: bool,
    default: Option<String>,
    note: Option<String>,
}

impl Found {
    fn read(dir: &Path, root: &Node) -> Self {
        let env = std::fs::read_to_string(dir.join(".env")).unwrap_or_default();
        let report = Report::default();
        let env: BTreeMap<_, _> = dotenv::parse(".env", &env, &Variables::default(), &report)
            .into_iter()
            .filter_map(|a| Some((a.name, a.value?.replace("$$", "$"))))
            .collect();
        let mut seen: BTreeMap<String, (Vec<String>, Vec<Use>)> = BTreeMap::new();
        for (name, key) in passed_through(root) {
            let (keys, _) = seen.entry(name).or_default();
            keys.push(key);
        }
        root.clone()
            .map_text("", &mut |key: &str, _: &Pos, text: &mut String| {
                if key.starts_with("x-") {
                    return;
                }
                for used in uses(text) {
                    let (keys, all) = seen.entry(used.name.clone()).or_default();
                    keys.push(key.to_owned());
                    all.push(used);
                }
            });
        let mut found = Self::default();
        for (name, (keys, all)) in seen {
            let default = all
                .iter()
                .find(|u| u.sign == Some('-'))
                .map(|u| u.argument.clone());
            let default = default.filter(|d| !d.contains('$'));
            let known = env.get(&name).cloned().or_else(|| default.clone());
            // A value with a colon is more than the port or path that a field can be there.
            let several = |k: &String| {
                (k.contains(".ports[") || k.contains(".volumes["))
                    && known.as_ref().is_some_and(|v| v.contains(':'))
            };
            let is_field = keys.iter().all(|k| may_be_field(k) && !several(k))
                && all.iter().all(|u| u.sign != Some('+'));
            if is_field {
                let guess = guess(&name, &keys, &all, env.get(&name), default);
                found.fields.insert(name, guess);
            } else if !env.contains_key(&name) {
                // What .env says is known already.
                found.variables.insert(name, known.unwrap_or_default());
            }
        }
        found
    }

    fn write(&self, out: &mut String) {
        if !self.variables.is_empty() {
            out.push_str("\n# Filled in when the release is built.\nvariables:\n");
            for (name, value) in &self.variables {
                let _ = writeln!(out, "  {name}: {}", quoted(value));
            }
        }
        if self.fields.is_empty() {
            out.push_str("\n# A form for the admin; ${NAME} in the Compose file.\n# config:\n#   - {name: EXTERNAL_URL, type: url, label: Public address, required: true}\n");
            return;
        }
        out.push_str("\n# A form for the admin, in this order: every ${NAME} of the Compose file. To decide: types, labels,\n# what is required. Types: string, text, url, host, port, int, bool, choice, secret, file.\nconfig:\n");
        for (name, guess) in &self.fields {
            if let Some(note) = &guess.note {
                let _ = writeln!(out, "  # {note}");
            }
            let label = name.to_lowercase().replace('_', " ");
            let _ = write!(
                out,
                "  - {{name: {name}, type: {}, label: {}",
                guess.kind,
                quoted(&label)
            );
            if guess.kind == "secret" && !guess.required {
                out.push_str(", generate: 32");
            }
            if let Some(default) = guess.default.as_ref().filter(|d| !d.is_empty()) {
                let _ = write!(out, ", default: {}", quoted(default));
            } else if guess.required {
                out.push_str(", required: true");
            }
            out.push_str("}\n");
        }
    }
}

/// Variables that `environment` takes from the shell.
fn passed_through(root: &Node) -> Vec<(String, String)> {
    let services = root.get("services").and_then(Node::as_map);
    let mut out = Vec::new();
    for service in services.map(|m| m.entries.as_slice()).unwrap_or_default() {
        let key = format!("services.{}.environment", service.key);
        match service.value.get("environment").map(|e| &e.kind) {
            Some(Kind::Map(map)) => {
                let nulls = map.entries.iter();
                let nulls = nulls.filter(|e| matches!(e.value.kind, Kind::Null));
                out.extend(nulls.map(|e| (e.key.clone(), key.clone())));
            }
            Some(Kind::Seq(items)) => {
                let names = items.iter().filter_map(Node::as_text);
                let names = names.filter(|t| !t.contains(['=', '$']));
                out.extend(names.map(|t| (t.to_owned(), key.clone())));
            }
            _ => {}
        }
    }
    out
}

fn may_be_field(key: &str) -> bool {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["services", _, "healthcheck", part] => part.starts_with("test"),
        ["services", _, part, ..] => {
            let part = part.split('[').next().unwrap_or_default();
            FIELD_PLACES.contains(&part)
        }
        ["configs", _, "content"] | ["volumes", _, "driver_opts", ..] => true,
        _ => false,
    }
}

fn guess(
    name: &str,
    keys: &[String],
    all: &[Use],
    env: Option<&String>,
    default: Option<String>,
) -> Guess {
    let upper = name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|w| upper.contains(w));
    let value = default.as_ref().or(env).map_or("", String::as_str);
    let secret = has(&[
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "_KEY",
        "APIKEY",
        "CREDENTIAL",
    ]);
    let port = value.is_empty() || value.parse::<u16>().is_ok();
    let kind = if secret {
        "secret"
    } else if port && (upper.ends_with("PORT") || keys.iter().any(|k| k.contains(".ports["))) {
        "port"
    } else if upper.ends_with("URL") && (value.is_empty() || value.starts_with("http")) {
        "url"
    } else if upper.ends_with("HOST") || upper.ends_with("DOMAIN") || upper.ends_with("HOSTNAME") {
        "host"
    } else if matches!(value, "true" | "false") {
        "bool"
    } else if value.parse::<i64>().is_ok() {
        "int"
    } else {
        "string"
    };
    let defaults: BTreeSet<&str> = all
        .iter()
        .filter(|u| u.sign == Some('-'))
        .map(|u| u.argument.as_str())
        .collect();
    let asked = all.iter().any(|u| u.sign == Some('?'));
    if secret {
        let note = (!defaults.is_empty()).then(|| {
            format!("To do: the Compose file gives {name} a default; write ${{{name}}} there, or customers share it.")
        });
        // Keys and tokens of others cannot be made up.
        let own = has(&["PASSWORD", "PASSWD", "SECRET"]);
        return Guess {
            kind,
            required: !own,
            default: None,
            note,
        };
    }
    if value.starts_with(['.', '~']) && keys.iter().any(|k| k.contains(".volumes[")) {
        let note = format!(
            "To decide: {name} is a path of the machine ({value} here); a named volume needs no field and no grant."
        );
        return Guess {
            kind,
            required: true,
            default: None,
            note: Some(note),
        };
    }
    let note = (defaults.len() > 1).then(|| {
        let all = defaults
            .iter()
            .map(|d| format!("{d:?}"))
            .collect::<Vec<_>>()
            .join(" and ");
        format!("To do: the Compose file has {all} as defaults of {name}; only one can hold.")
    });
    let default = default.or_else(|| env.filter(|_| !asked).cloned());
    Guess {
        kind,
        required: default.is_none(),
        default: default.filter(|_| !asked || env.is_none()),
        note,
    }
}

fn rest(out: &mut String, root: &Node, release: &Release) {
    grants(out, release);
    volumes(out, release);
    probes(out, release);
    migrations(out, root, release);
}

fn grants(out: &mut String, release: &Release) {
    if release.grants.is_empty() {
        return;
    }
    out.push_str("\n# Services get these beyond what a container has; the admin sees them before the install.\n# To decide: whether each is needed.\ngrants:\n");
    let mut by_service: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for grant in &release.grants {
        let all = by_service.entry(grant.service.as_str()).or_default();
        all.push(quoted(&grant_text(grant.kind, &grant.detail)));
    }
    for (service, all) in by_service {
        let _ = writeln!(out, "  {service}: [{}]", all.join(", "));
    }
    let mut paths = release
        .grants
        .iter()
        .filter(|g| g.kind == GrantKind::HostPath);
    if let Some(grant) = paths.next() {
        let _ = write!(
            out,
            "\n# Host paths that hold data of the product are copied by updates like volumes.\n# host_data: [{}]\n",
            quoted(&grant.detail)
        );
    }
}

fn volumes(out: &mut String, release: &Release) {
    if release.volumes.is_empty() {
        return;
    }
    out.push_str("\n# Updates copy volumes for their own rollback. To decide: what can be lost, such as caches.\n");
    let is_cache = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["cache", "tmp", "temp"].iter().any(|w| name.contains(w))
    };
    let (caches, data): (Vec<_>, Vec<_>) = release
        .volumes
        .keys()
        .map(berth_format::Name::as_str)
        .partition(|n| is_cache(n));
    out.push_str(if caches.is_empty() {
        "# volumes:\n"
    } else {
        "volumes:\n"
    });
    for name in caches {
        let _ = writeln!(out, "  {name}: {{snapshot: false}}");
    }
    for name in data {
        let _ = writeln!(out, "#  {name}: {{snapshot: true}}");
    }
}

fn probes(out: &mut String, release: &Release) {
    let fronts: Vec<_> = release
        .services
        .iter()
        .filter_map(|(name, s)| {
            let port = s.ports.iter().find(|p| p.protocol == Protocol::Tcp)?;
            Some((name, port.target))
        })
        .collect();
    if fronts.is_empty() {
        return;
    }
    out.push_str("\n# Asked by Berth itself before an update counts as good. To decide: a path that is good only when the\n# service works, as in {http: \"http://web:8080/healthz\", within: 5m}.\nprobes:\n");
    for (name, port) in fronts {
        let _ = writeln!(out, "  {name}: {{tcp: \"{name}:{port}\", within: 5m}}");
    }
}

fn migrations(out: &mut String, root: &Node, release: &Release) {
    let report = Report::default();
    let databases: Vec<_> = release
        .services
        .iter()
        .filter_map(|(name, s)| {
            let source = &release.images.get(&s.image)?.source;
            let known = [
                "postgres",
                "postgis",
                "mysql",
                "mariadb",
                "mongo",
                "clickhouse",
            ];
            known
                .iter()
                .any(|k| source.contains(k))
                .then_some((name, source))
        })
        .collect();
    out.push_str("\n# Run between the stop and the start of an update, in this order. A migration can inherit a service's\n# image, environment, volumes and networks.\n");
    for (name, source) in &databases {
        let _ = writeln!(
            out,
            "# {name} looks like a database ({source}); before its major version changes, dump it with `needs: [{name}@old]`."
        );
    }
    let once: BTreeSet<_> = release
        .services
        .values()
        .flat_map(|s| &s.depends_on)
        .filter(|(_, d)| d.condition == Condition::ServiceCompletedSuccessfully)
        .map(|(name, _)| name)
        .collect();
    for name in &once {
        let _ = writeln!(
            out,
            "# {name} runs once at each start; if it changes data, it belongs here."
        );
    }
    let needs = databases.first().map_or("db", |(name, _)| name.as_str());
    let service = At::new(root, "", &report);
    let service = service
        .get("services")
        .map(|s| s.entries())
        .unwrap_or_default();
    let service = service
        .iter()
        .map(|(name, _)| *name)
        .find(|n| *n != needs)
        .unwrap_or("web");
    let _ = write!(
        out,
        "# migrations:\n#   - {{name: schema-2, service: {service}, command: [migrate], needs: [{needs}], timeout: 30m, from: \"<0.2.0\", reversible: false}}\n"
    );
}

/// A double-quoted scalar: what JSON writes, YAML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn product(text: &str) -> String {
    let clean: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let clean = clean.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let clean: String = clean.chars().take(32).collect();
    let clean = clean.trim_end_matches('-');
    if clean.is_empty() {
        "product".to_owned()
    } else {
        clean.to_owned()
    }
}
