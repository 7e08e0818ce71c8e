//! The first berth.yaml for a Compose file: what can be guessed, and what is to be decided.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use berth_format::release::{GrantKind, Release};
use berth_format::service::{Condition, Protocol};

use crate::berth_yaml::{self, grant_text};
use crate::compose::cursor::At;
use crate::problem::{Problem, Report};
use crate::yaml::Node;

mod found;
mod scan;

use found::Found;
use scan::Scan;

/// Writes the berth.yaml of Compose files, lowest layer first. It lies beside them.
pub fn init(files: &[PathBuf]) -> Result<String, Problem> {
    let names: Vec<String> = files
        .iter()
        .filter_map(|f| Some(f.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let dir = files.first().and_then(|f| f.parent());
    let dir = dir.filter(|p| !p.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new("."));
    let scan = Scan::read(dir, &names)?;
    let mut out = head(dir, &names, &scan);
    Found::read(&scan).write(&mut out);
    // The rest is seen only once everything is resolved; what is wrong is for `check` to say.
    let report = Report::default();
    if let Some(berth) = berth_yaml::parse(dir, &out, &report) {
        let resolved = super::build(dir, &berth, &Report::default());
        rest(&mut out, &scan.own, &resolved.release);
    }
    Ok(out)
}

fn head(dir: &Path, files: &[String], scan: &Scan) -> String {
    let roots = scan.own.as_slice();
    let folder = dir.canonicalize().ok();
    let folder = folder
        .as_deref()
        .and_then(Path::file_name)
        .map(|n| n.to_string_lossy());
    let name = roots.iter().rev().find_map(|r| r.get("name")?.as_text());
    let name = name.map(str::to_owned);
    let compose = match files {
        [file] => file.clone(),
        files => format!("[{}]", files.join(", ")),
    };
    let product = product(&name.unwrap_or_else(|| folder.unwrap_or_default().into_owned()));
    let mut out = format!(
        "# What Compose cannot say about this product. `berth-publish check` tells what is missing.

# Guessed from the Compose file or the folder; it never changes after the first release.
product: {product}
version: 0.1.0
compose: {compose}

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
    if scan.up > 0 {
        let root = vec![".."; scan.up].join("/");
        let _ = write!(
            out,
            "\n# The folder that holds all files of the product; nothing outside of it is read.\nroot: {root}\n"
        );
    }
    let services = roots.iter().filter_map(|r| r.get("services")?.as_map());
    let services: Vec<_> = services.flat_map(|m| &m.entries).collect();
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

fn rest(out: &mut String, roots: &[Node], release: &Release) {
    grants(out, release);
    volumes(out, release);
    probes(out, release);
    migrations(out, roots, release);
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

fn migrations(out: &mut String, roots: &[Node], release: &Release) {
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
    let tops: Vec<_> = roots.iter().map(|r| At::new(r, "", &report)).collect();
    let services = tops.iter().filter_map(|t| t.get("services"));
    let services: Vec<_> = services.flat_map(|s| s.entries()).collect();
    let mut names = services.iter().map(|(name, _)| *name);
    let service = names.find(|n| *n != needs).unwrap_or("web");
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
