//! `berth.yaml`: what Compose cannot say. Strict: a key that it does not know is a problem.

mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use berth_format::config::Field;
use berth_format::image::Platform;
use berth_format::release::{DataPromise, GrantKind, Probe, Requires, Upgrade};
use berth_format::{Name, Product};
use semver::{Version, VersionReq};

use crate::compose::cursor::At;
use crate::problem::Report;
use crate::yaml::{self, Kind, Map, Node, Pos, join};

pub use parts::{grant_text, parse_grant};

/// The name of the file.
pub const FILE: &str = "berth.yaml";

/// Stands for a product without a name, so that the rest can be read and told too.
pub const UNNAMED: &str = "unnamed";

/// What Compose itself looks for, in its order, and what it lays over that.
const USUAL: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// What the file says.
#[derive(Debug)]
pub struct BerthYaml {
    pub product: Product,
    pub title: String,
    pub version: Version,
    /// Paths of the Compose files, lowest layer first, with their places.
    pub compose: Vec<(String, Pos)>,
    /// How far up the product's files may lie: `.`, `..` and so on.
    pub root: String,
    pub upgrade: Upgrade,
    /// Text of the notes.
    pub notes: String,
    pub requires: Requires,
    pub config: Vec<Field>,
    /// Literal values for interpolation.
    pub variables: BTreeMap<String, String>,
    /// The active profiles.
    pub profiles: Vec<(String, Pos)>,
    /// Keys of services that are left out on purpose.
    pub ignore: Vec<String>,
    pub data: DataPromise,
    pub volumes: BTreeMap<String, (VolumeSettings, Pos)>,
    pub probes: BTreeMap<String, (Probe, Pos)>,
    pub services: BTreeMap<String, (ServiceSettings, Pos)>,
    /// Host paths that hold data of the product.
    pub host_data: Vec<(String, Pos)>,
    pub grants: Vec<Declared>,
    pub platforms: Vec<Platform>,
    /// Where images come from, by service or migration.
    pub images: BTreeMap<String, (ImageSource, Pos)>,
    pub migrations: Vec<MigrationPart>,
}

/// What berth.yaml says of a volume.
#[derive(Debug, Clone, Copy)]
pub struct VolumeSettings {
    pub snapshot: bool,
}

/// What berth.yaml says of a service.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceSettings {
    pub settle_ms: Option<u64>,
    pub egress: bool,
}

/// A grant that the vendor has said aloud.
#[derive(Debug, Clone)]
pub struct Declared {
    pub service: String,
    pub kind: GrantKind,
    pub detail: String,
    pub pos: Pos,
}

/// Where the content of an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The local Docker engine.
    Engine,
    /// A tar as `docker save` writes it.
    Archive(PathBuf),
    /// A folder in OCI image layout.
    Oci(PathBuf),
}

/// A migration, its container not yet resolved.
#[derive(Debug)]
pub struct MigrationPart {
    pub name: Name,
    /// The whole entry.
    pub node: Node,
    pub key: String,
    /// Inherits everything that makes sense from this service.
    pub service: Option<(String, Pos)>,
    /// Inherits the environment of this service.
    pub env_from: Option<(String, Pos)>,
    pub needs: Vec<berth_format::release::Need>,
    pub timeout_ms: u64,
    pub from: Option<VersionReq>,
    pub reversible: bool,
    pub phase: berth_format::release::MigrationPhase,
}

const KEYS: &[&str] = &[
    "product",
    "title",
    "version",
    "compose",
    "root",
    "upgrade",
    "notes",
    "requires",
    "config",
    "variables",
    "profiles",
    "ignore",
    "data",
    "volumes",
    "probes",
    "services",
    "host_data",
    "grants",
    "platforms",
    "images",
    "migrations",
];

/// Reads `dir/berth.yaml`. `None`: what is missing was reported.
pub fn read(dir: &Path, report: &Report) -> Option<BerthYaml> {
    let text = match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) => {
            report.problem(crate::problem::Problem::new(
                &Pos::file(FILE),
                "",
                format!("cannot be read: {error}"),
                "`berth-publish init` writes one",
            ));
            return None;
        }
    };
    parse(dir, &text, report)
}

/// Reads the text of a `berth.yaml` that lies in `dir`.
pub fn parse(dir: &Path, text: &str, report: &Report) -> Option<BerthYaml> {
    let mut root = match yaml::parse(FILE, text) {
        Ok(root) => root,
        Err(problem) => {
            report.problem(problem);
            return None;
        }
    };
    if matches!(root.kind, Kind::Null) {
        root.kind = Kind::Map(Map::default());
    }
    // Nothing here is interpolated, but for the migrations, which look like services.
    let migrations = root.get("migrations").cloned();
    root.map_text("", &mut |_, _, text| *text = text.replace('$', "$$"));
    if let (Kind::Map(map), Some(migrations)) = (&mut root.kind, migrations) {
        map.set("migrations", migrations);
    }
    let at = At::new(&root, "", report);
    known(&at, KEYS);
    let product = at.need("product").and_then(|a| a.parse_or_explain());
    let product: Product = product.or_else(|| UNNAMED.parse().ok())?;
    let version = at.need("version").and_then(|a| a.parse_or_explain());
    let config = parts::config(&at);
    let top = parts::root(&at);
    Some(BerthYaml {
        title: at
            .get("title")
            .and_then(|a| a.text())
            .unwrap_or_else(|| capitalised(product.as_str())),
        compose: compose(dir, &at),
        upgrade: parts::upgrade(&at),
        notes: parts::notes(dir, &top, &at),
        root: top,
        requires: parts::requires(&at),
        variables: variables(&at, &config),
        config,
        profiles: placed(at.get("profiles")),
        ignore: parts::ignore(&at),
        data: parts::data(&at),
        volumes: parts::volumes(&at),
        probes: parts::probes(&at),
        services: parts::services(&at),
        host_data: placed(at.get("host_data")),
        grants: parts::grants(&at),
        platforms: parts::platforms(&at),
        images: parts::images(dir, &at),
        migrations: parts::migrations(&at),
        product,
        version: version.unwrap_or(Version::new(0, 0, 0)),
    })
}

/// Reports every key that is not in the list.
fn known(at: &At, keys: &'static [&'static str]) {
    let Some(map) = at.map() else { return };
    for entry in &map.entries {
        if !keys.contains(&entry.key.as_str()) && !entry.key.starts_with("x-") {
            at.report.problem(crate::problem::Problem::new(
                &entry.pos,
                &join(&at.key, &entry.key),
                "is no key that Berth knows here",
                crate::compose::keys::nearest(&entry.key, keys.iter().copied()),
            ));
        }
    }
}

fn compose(dir: &Path, at: &At) -> Vec<(String, Pos)> {
    let files = placed(at.get("compose"));
    if !files.is_empty() {
        return files;
    }
    let found = usual(dir).into_iter();
    found.map(|name| (name, Pos::file(FILE))).collect()
}

/// The files that Compose reads in a folder when nobody names one, lowest layer first.
pub fn usual(dir: &Path) -> Vec<String> {
    let first = |names: &[&str]| {
        let found = names.iter().find(|name| dir.join(name).is_file());
        found.map(|name| (*name).to_owned())
    };
    match first(&USUAL) {
        Some(base) => [Some(base), first(&OVERRIDES)]
            .into_iter()
            .flatten()
            .collect(),
        None => vec![USUAL[0].to_owned()],
    }
}

fn placed(at: Option<At>) -> Vec<(String, Pos)> {
    let all = at.map(|a| a.one_or_many()).unwrap_or_default();
    all.iter()
        .filter_map(|a| Some((a.text()?, a.node.pos.clone())))
        .collect()
}

fn list(at: &At) -> Vec<String> {
    at.one_or_many().iter().filter_map(At::text).collect()
}

fn variables(at: &At, config: &[Field]) -> BTreeMap<String, String> {
    let entries = at.get("variables").map(|a| a.entries());
    let entries = entries.unwrap_or_default().into_iter();
    entries
        .filter_map(|(name, value)| {
            if config.iter().any(|f| f.name.as_str() == name) {
                value.fail(
                    format!("{name} is a config field, whose value is the admin's"),
                    "remove it, or the field",
                );
            }
            let template = value.plain_text()?;
            Some((name.to_owned(), template.source().replace("$$", "$")))
        })
        .collect()
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
