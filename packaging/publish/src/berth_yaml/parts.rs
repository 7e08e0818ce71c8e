//! The sections of berth.yaml.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use berth_format::config::{Field, FieldKind};
use berth_format::image::Platform;
use berth_format::release::{
    DataPromise, GrantKind, MigrationPhase, Need, Probe, Requires, Upgrade,
};
use semver::VersionReq;

use super::{
    Declared, ImageSource, MigrationPart, ServiceSettings, VolumeSettings, capitalised, known, list,
};
use crate::compose::cursor::At;
use crate::compose::{Root, is_root};
use crate::yaml::Pos;

/// How long a probe waits, unless it says.
const WITHIN_MS: u64 = 5 * 60 * 1000;
/// How long a migration may take, unless it says.
const TIMEOUT_MS: u64 = 30 * 60 * 1000;

pub fn upgrade(at: &At) -> Upgrade {
    let at = at.get("upgrade");
    if let Some(at) = &at {
        known(at, &["from", "stop", "drained"]);
    }
    let get = |name| at.as_ref().and_then(|a| a.get(name));
    Upgrade {
        from: get("from")
            .and_then(|a| a.parse_or_explain())
            .unwrap_or(VersionReq::STAR),
        stop: get("stop").and_then(|a| a.bool()).unwrap_or(false),
        drained: get("drained").and_then(|a| probe(&a, None)),
    }
}

pub fn root(at: &At) -> String {
    let Some(at) = at.get("root") else {
        return ".".to_owned();
    };
    let text = at.text().filter(|t| is_root(t));
    if text.is_none() {
        at.expected("the folder that holds all files of the product, as in .. or ../..");
    }
    text.unwrap_or_else(|| ".".to_owned())
}

pub fn notes(dir: &Path, root: &str, at: &At) -> String {
    let Some(at) = at.get("notes") else {
        return String::new();
    };
    let Some(text) = at.text() else {
        return String::new();
    };
    let is_path = !text.contains('\n') && Path::new(&text).extension().is_some_and(|e| e == "md");
    if !is_path {
        return text;
    }
    let path = match Root::new(dir, root).find(&text) {
        Ok(path) => path,
        Err(outside) => {
            at.fail(outside.what, outside.instead);
            return String::new();
        }
    };
    match std::fs::read_to_string(path) {
        Ok(notes) => notes,
        Err(error) => {
            at.fail(
                format!("{text} cannot be read: {error}"),
                "write the file, or the notes themselves with `notes: |`",
            );
            String::new()
        }
    }
}

pub fn requires(at: &At) -> Requires {
    let at = at.get("requires");
    if let Some(at) = &at {
        known(at, &["cpus", "memory", "disk", "engine"]);
    }
    let get = |name| at.as_ref().and_then(|a| a.get(name));
    let bytes = |name| {
        let value = get(name).and_then(|a| a.bytes()).unwrap_or(0);
        u64::try_from(value).unwrap_or(0)
    };
    Requires {
        cpus: get("cpus")
            .and_then(|a| a.parse("a whole number"))
            .unwrap_or(0),
        memory: bytes("memory"),
        disk: bytes("disk"),
        engine: get("engine")
            .and_then(|a| a.parse_or_explain())
            .unwrap_or_else(oldest_engine),
    }
}

/// The oldest engine that Berth runs on.
fn oldest_engine() -> VersionReq {
    let comparator = semver::Comparator {
        op: semver::Op::GreaterEq,
        major: 20,
        minor: Some(10),
        patch: None,
        pre: semver::Prerelease::EMPTY,
    };
    VersionReq {
        comparators: vec![comparator],
    }
}

pub fn config(at: &At) -> Vec<Field> {
    let mut names = BTreeSet::new();
    let mut fields = Vec::new();
    let items = at.get("config").map(|a| a.items()).unwrap_or_default();
    for at in items {
        if let Some(field) = field(&at) {
            if names.insert(field.name.clone()) {
                fields.push(field);
            } else {
                at.fail(
                    format!("the field {} stands twice", field.name),
                    "keep one of them",
                );
            }
        }
    }
    fields
}

fn field(at: &At) -> Option<Field> {
    known(
        at,
        &[
            "name", "type", "label", "help", "required", "default", "choices", "generate", "min",
            "max",
        ],
    );
    let name = at.need("name")?;
    let name: berth_format::name::Variable = name.parse_or_explain()?;
    let kind = match at.get("type") {
        None => FieldKind::String,
        Some(kind) => match kind.text()?.as_str() {
            "string" => FieldKind::String,
            "text" => FieldKind::Text,
            "url" => FieldKind::Url,
            "host" => FieldKind::Host,
            "port" => FieldKind::Port,
            "int" => FieldKind::Int,
            "bool" => FieldKind::Bool,
            "choice" => FieldKind::Choice,
            "secret" => FieldKind::Secret,
            "file" => FieldKind::File,
            _ => {
                kind.expected("string, text, url, host, port, int, bool, choice, secret or file");
                return None;
            }
        },
    };
    let text = |key: &str| at.get(key).and_then(|a| a.text());
    let field = Field {
        label: text("label")
            .unwrap_or_else(|| capitalised(&name.as_str().to_ascii_lowercase().replace('_', " "))),
        help: text("help").unwrap_or_default(),
        required: at.get("required").and_then(|a| a.bool()).unwrap_or(false),
        default: text("default"),
        choices: at.get("choices").map(|a| list(&a)).unwrap_or_default(),
        generate: at
            .get("generate")
            .and_then(|a| a.parse("a number of characters")),
        min: at.get("min").and_then(|a| a.parse("a whole number")),
        max: at.get("max").and_then(|a| a.parse("a whole number")),
        name,
        kind,
    };
    if (field.kind == FieldKind::Choice) == field.choices.is_empty() {
        at.fail("`choices` and `type: choice` belong together", "give both");
    }
    if let Some(length) = field.generate {
        if field.kind != FieldKind::Secret {
            at.fail("only a secret can be generated", "write `type: secret`");
        }
        if !(8..=1024).contains(&length) {
            at.fail(
                format!("generates {length} characters"),
                "write a number from 8 to 1024",
            );
        }
        if field.default.is_some() {
            at.fail("has a default and is generated", "keep one of them");
        }
    }
    if (field.min.is_some() || field.max.is_some()) && field.kind != FieldKind::Int {
        at.fail("`min` and `max` belong to an int", "write `type: int`");
    }
    if let Some(default) = &field.default
        && (field.required || !default.is_empty())
        && let Err(error) = field.check(default)
    {
        at.fail(format!("its default does not fit: {error}"), "");
    }
    if field.kind == FieldKind::Secret && field.default.is_some() {
        at.warn(
            "a secret with a default is the same at every customer",
            "write `generate: 32` or `required: true`",
        );
    }
    Some(field)
}

pub fn ignore(at: &At) -> Vec<String> {
    let mut keys = Vec::new();
    for at in at.get("ignore").map(|a| a.items()).unwrap_or_default() {
        // Everything else that is refused would change what the product does.
        match at.text().as_deref() {
            Some("build") => keys.push("build".to_owned()),
            Some(_) => at.expected("build, the only key that can be left out"),
            None => {}
        }
    }
    keys
}

pub fn data(at: &At) -> DataPromise {
    match at.get("data") {
        None => DataPromise::MayChange,
        Some(at) => match at.text().as_deref() {
            Some("unchanged") => DataPromise::Unchanged,
            Some("may-change") | None => DataPromise::MayChange,
            Some(_) => {
                at.expected("may-change or unchanged");
                DataPromise::MayChange
            }
        },
    }
}

pub fn volumes(at: &At) -> BTreeMap<String, (VolumeSettings, Pos)> {
    let entries = at.get("volumes").map(|a| a.entries()).unwrap_or_default();
    entries
        .into_iter()
        .map(|(name, at)| {
            known(&at, &["snapshot"]);
            let snapshot = at.get("snapshot").and_then(|a| a.bool()).unwrap_or(true);
            let pos = at.node.pos.clone();
            (name.to_owned(), (VolumeSettings { snapshot }, pos))
        })
        .collect()
}

pub fn services(at: &At) -> BTreeMap<String, (ServiceSettings, Pos)> {
    let entries = at.get("services").map(|a| a.entries()).unwrap_or_default();
    entries
        .into_iter()
        .map(|(name, at)| {
            known(&at, &["settle", "egress"]);
            let settings = ServiceSettings {
                settle_ms: at.get("settle").and_then(|a| a.duration_ms()),
                egress: at.get("egress").and_then(|a| a.bool()).unwrap_or(false),
            };
            (name.to_owned(), (settings, at.node.pos.clone()))
        })
        .collect()
}

pub fn probes(at: &At) -> BTreeMap<String, (Probe, Pos)> {
    let entries = at.get("probes").map(|a| a.entries()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, at)| {
            let probe = probe(&at, Some(name))?;
            Some((name.to_owned(), (probe, at.node.pos.clone())))
        })
        .collect()
}

/// `{http: "http://SERVICE:PORT/PATH"}` or `{tcp: "SERVICE:PORT"}`, and `within`. Without a
/// service before the port, it is the service that the probe belongs to.
fn probe(at: &At, own: Option<&str>) -> Option<Probe> {
    known(at, &["http", "tcp", "within"]);
    let within_ms = match at.get("within") {
        Some(within) => within.duration_ms()?,
        None => WITHIN_MS,
    };
    let (at, address, path) = match (at.get("http"), at.get("tcp")) {
        (Some(http), None) => {
            let url = http.text()?;
            let Some(rest) = url.strip_prefix("http://") else {
                http.expected(
                    "http://SERVICE:PORT/PATH (Berth asks inside of the product's network)",
                );
                return None;
            };
            let (address, path) = match rest.find('/') {
                Some(slash) => (&rest[..slash], &rest[slash..]),
                None => (rest, "/"),
            };
            (http, address.to_owned(), Some(path.to_owned()))
        }
        (None, Some(tcp)) => {
            let address = tcp.text()?;
            (tcp, address, None)
        }
        _ => {
            at.fail(
                "needs `http` or `tcp`",
                "write {http: \"http://SERVICE:PORT/PATH\"} or {tcp: \"SERVICE:PORT\"}",
            );
            return None;
        }
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None if path.is_some() => (address.as_str(), "80"),
        None => (own.unwrap_or_default(), address.as_str()),
    };
    match (host.parse(), port.parse::<u16>()) {
        (Ok(service), Ok(port)) if port > 0 => Some(Probe {
            service,
            port,
            path,
            within_ms,
        }),
        _ => {
            at.expected("a service and a port inside its container, as in frontend:3080");
            None
        }
    }
}

pub fn grants(at: &At) -> Vec<Declared> {
    let mut out = Vec::new();
    for (service, at) in at.get("grants").map(|a| a.entries()).unwrap_or_default() {
        for at in at.one_or_many() {
            let Some(text) = at.text() else { continue };
            match parse_grant(&text) {
                Some((kind, detail)) => out.push(Declared {
                    service: service.to_owned(),
                    kind,
                    detail,
                    pos: at.node.pos.clone(),
                }),
                None => at.expected(
                    "privileged, host-pid, host-network, host-ipc, docker-socket, host-path:PATH, device:PATH, capability:NAME or unconfined:WHAT",
                ),
            }
        }
    }
    out
}

/// `host-path:/var/log` and so on.
pub fn parse_grant(text: &str) -> Option<(GrantKind, String)> {
    let (kind, detail) = text.split_once(':').unwrap_or((text, ""));
    let kind = match kind {
        "privileged" => GrantKind::Privileged,
        "host-pid" => GrantKind::HostPid,
        "host-network" => GrantKind::HostNetwork,
        "host-ipc" => GrantKind::HostIpc,
        "docker-socket" => GrantKind::DockerSocket,
        "host-path" => GrantKind::HostPath,
        "device" => GrantKind::Device,
        "capability" => GrantKind::Capability,
        "unconfined" => GrantKind::Unconfined,
        _ => return None,
    };
    (needs_detail(kind) != detail.is_empty()).then(|| (kind, detail.to_owned()))
}

/// A grant as berth.yaml writes it.
pub fn grant_text(kind: GrantKind, detail: &str) -> String {
    let kind = match kind {
        GrantKind::Privileged => "privileged",
        GrantKind::HostPid => "host-pid",
        GrantKind::HostNetwork => "host-network",
        GrantKind::HostIpc => "host-ipc",
        GrantKind::DockerSocket => "docker-socket",
        GrantKind::HostPath => "host-path",
        GrantKind::Device => "device",
        GrantKind::Capability => "capability",
        GrantKind::Unconfined => "unconfined",
    };
    if detail.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}:{detail}")
    }
}

fn needs_detail(kind: GrantKind) -> bool {
    matches!(
        kind,
        GrantKind::HostPath | GrantKind::Device | GrantKind::Capability | GrantKind::Unconfined
    )
}

pub fn platforms(at: &At) -> Vec<Platform> {
    let all: BTreeSet<Platform> = at
        .get("platforms")
        .map(|a| a.one_or_many())
        .unwrap_or_default()
        .iter()
        .filter_map(At::parse_or_explain)
        .collect();
    if all.is_empty() {
        vec![Platform::linux("amd64")]
    } else {
        all.into_iter().collect()
    }
}

pub fn images(dir: &Path, at: &At) -> BTreeMap<String, (ImageSource, Pos)> {
    let entries = at.get("images").map(|a| a.entries()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, at)| {
            known(&at, &["archive", "oci"]);
            let path = |key: &str| at.get(key).and_then(|a| a.text()).map(|p| dir.join(p));
            let source = match (path("archive"), path("oci")) {
                (Some(path), None) => ImageSource::Archive(path),
                (None, Some(path)) => ImageSource::Oci(path),
                _ => {
                    at.fail(
                        "needs `archive` or `oci`",
                        "write {archive: IMAGE.tar} or {oci: FOLDER}",
                    );
                    return None;
                }
            };
            Some((name.to_owned(), (source, at.node.pos.clone())))
        })
        .collect()
}

pub fn migrations(at: &At) -> Vec<MigrationPart> {
    let items = at.get("migrations").map(|a| a.items()).unwrap_or_default();
    items.iter().filter_map(migration).collect()
}

fn migration(at: &At) -> Option<MigrationPart> {
    known(
        at,
        &[
            "name",
            "service",
            "env_from",
            "needs",
            "timeout",
            "from",
            "reversible",
            "phase",
            "image",
            "command",
            "entrypoint",
            "environment",
            "env_file",
            "volumes",
            "secrets",
            "configs",
            "networks",
            "user",
            "working_dir",
            "tmpfs",
        ],
    );
    let name = at.need("name")?.parse_or_explain()?;
    let placed = |key: &str| {
        let at = at.get(key)?;
        Some((at.text()?, at.node.pos.clone()))
    };
    let needs = at.get("needs").map(|a| a.one_or_many()).unwrap_or_default();
    Some(MigrationPart {
        name,
        key: at.key.clone(),
        node: at.node.clone(),
        service: placed("service"),
        env_from: placed("env_from"),
        needs: needs.iter().filter_map(need).collect(),
        timeout_ms: at
            .get("timeout")
            .and_then(|a| a.duration_ms())
            .unwrap_or(TIMEOUT_MS),
        from: at.get("from").and_then(|a| a.parse_or_explain()),
        reversible: at.get("reversible").and_then(|a| a.bool()).unwrap_or(false),
        phase: match at.get("phase") {
            None => MigrationPhase::Stopped,
            Some(at) => match at.text()?.as_str() {
                "before" => MigrationPhase::Before,
                "stopped" => MigrationPhase::Stopped,
                _ => {
                    at.expected("before or stopped");
                    return None;
                }
            },
        },
    })
}

fn need(at: &At) -> Option<Need> {
    let text = at.text()?;
    let (service, old) = match text.strip_suffix("@old") {
        Some(service) => (service, true),
        None => (text.as_str(), false),
    };
    let service = service.parse().ok();
    if service.is_none() {
        at.expected("a service, or SERVICE@old");
    }
    service.map(|service| Need { service, old })
}
