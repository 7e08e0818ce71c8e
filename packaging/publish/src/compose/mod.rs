//! compose.yaml and berth.yaml to a release: everything but the images' content.
//!
//! The road: [`load`] reads files, fills variables in ([`interpolate`]), brings short forms to
//! long ones ([`normalize`]), runs `extends` and `include`, and layers ([`merge`]). What comes
//! out is one tree in which every value still knows its file and line. Then the readers
//! ([`service`], [`mounts`], [`container`], [`top`]) make the types of `berth-format` out of it,
//! and ask [`keys`] about every key that they meet. Problems are collected, not thrown: the
//! vendor sees all of them at once.

pub mod cursor;
pub mod keys;

mod container;
mod dotenv;
mod env_files;
mod files;
mod grants;
mod image_volumes;
mod init;
mod interpolate;
mod load;
mod merge;
mod migrations;
mod mounts;
mod network;
mod normalize;
mod paths;
mod ports;
mod profiles;
mod sense;
mod service;
mod top;
mod units;
mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use berth_format::image::{Image, Platform};
use berth_format::release::{FORMAT, GrantKind, Release};
use berth_format::service::{Network, Volume};
use berth_format::{Digest, Name, Template, validate};

use crate::berth_yaml::{self, BerthYaml, ImageSource};
use crate::problem::{Problem, Report};
use crate::yaml::{Kind, Node, Pos};
use cursor::At;
use interpolate::Variables;
use load::Loader;

pub use image_volumes::add_image_volumes;
pub use init::init;
pub(crate) use paths::Root;
pub use paths::is_root;

/// Everything but the images' content.
#[derive(Debug)]
pub struct Resolved {
    /// Images have their source and tag, and no platforms yet; layers are empty.
    pub release: Release,
    /// Where the bytes of shipped files are.
    pub blobs: BTreeMap<Digest, PathBuf>,
    /// What the release is for.
    pub platforms: Vec<Platform>,
    /// Where each image comes from, by its key in the release.
    pub image_sources: BTreeMap<String, ImageSource>,
    /// Migrations that inherit from a service: they share the volumes of its image.
    pub inherits: BTreeMap<Name, Name>,
    /// Services that are not in the release, since none of their profiles is.
    pub left_out: BTreeSet<String>,
    /// What the vendor should look at, though it keeps nothing from being built.
    pub warnings: Vec<Problem>,
}

/// Why a folder cannot be resolved.
#[derive(Debug)]
pub struct Refused {
    pub problems: Vec<Problem>,
    /// What the vendor should look at too.
    pub warnings: Vec<Problem>,
}

/// Resolves a vendor's folder, or says everything that is wrong with it.
pub fn resolve(dir: &Path) -> Result<Resolved, Refused> {
    let report = Report::default();
    let resolved = berth_yaml::read(dir, &report).map(|b| build(dir, &b, &report));
    let (problems, warnings) = report.into_parts();
    match resolved {
        Some(mut resolved) if problems.is_empty() => {
            resolved.warnings = warnings;
            Ok(resolved)
        }
        _ => Err(Refused { problems, warnings }),
    }
}

/// Makes the release from the model.
pub(crate) struct Builder<'a> {
    root: &'a Root,
    berth: &'a BerthYaml,
    report: &'a Report,
    variables: &'a Variables,
    /// The layered Compose files.
    model: &'a Node,
    /// Services of the release.
    active: BTreeSet<String>,
    /// Services whose profiles are not active.
    left_out: BTreeSet<String>,
    packer: files::Packer,
    needed: grants::Needed,
    /// Host paths that are declared as data, and whether something mounts them.
    host_data: BTreeMap<String, bool>,
    networks: BTreeMap<Name, Network>,
    volumes: BTreeMap<Name, Volume>,
    /// Secrets and configs that something mounts, by section and name.
    used_files: BTreeSet<(&'static str, String)>,
    images: BTreeMap<String, Image>,
}

impl Builder<'_> {
    fn grant(&mut self, service: &Name, kind: GrantKind, detail: &str, at: &At) {
        self.needed.add(service, kind, detail, at);
    }

    /// The key of an image in the release: the name of who uses it first.
    fn image(&mut self, user: &Name, reference: &str) -> String {
        if let Some((key, _)) = self.images.iter().find(|(_, i)| i.source == reference) {
            return key.clone();
        }
        let mut key = user.to_string();
        while self.images.contains_key(&key) {
            key = format!("migration-{key}");
        }
        let image = Image {
            tag: tag(self.berth, &key),
            source: reference.to_owned(),
            platforms: BTreeMap::new(),
        };
        self.images.insert(key.clone(), image);
        key
    }
}

/// `berth.local/<product>/<key>:<version>`, in the alphabet that Docker allows.
fn tag(berth: &BerthYaml, key: &str) -> String {
    let mut path = String::new();
    for c in key.to_ascii_lowercase().chars() {
        let separator = !c.is_ascii_alphanumeric();
        if !(separator && path.ends_with(['-', '.', '_'])) {
            path.push(c);
        }
    }
    let version = berth.version.to_string().replace('+', "_");
    let path = path.trim_end_matches(['-', '.', '_']);
    format!("berth.local/{}/{path}:{version}", berth.product)
}

fn build(dir: &Path, berth: &BerthYaml, report: &Report) -> Resolved {
    let folder = load::project_folder(&berth.compose);
    let mut variables = Variables::new(&berth.config);
    for (name, value) in &berth.variables {
        variables.set(name, value.replace('$', "$$"));
    }
    let root = Root::new(dir, &berth.root);
    let loader = Loader {
        root: &root,
        report,
        inside: Report::default(),
        extends: RefCell::default(),
    };
    loader.dot_env(&folder, &mut variables);
    let model = loader.project(&berth.compose, &folder, &variables, &[]);
    let first = berth.compose.first().map_or("", |(file, _)| file);
    let model = Node::at(&Pos::file(first), Kind::Map(model));
    let top = At::new(&model, "", report);
    let services = top.get("services").map(|s| s.entries()).unwrap_or_default();
    let (active, left_out) = profiles::choose(berth, &services, report);
    let mut builder = Builder {
        root: &root,
        berth,
        report,
        variables: &variables,
        model: &model,
        active,
        left_out,
        packer: files::Packer::default(),
        needed: grants::Needed::default(),
        host_data: berth
            .host_data
            .iter()
            .map(|(p, _)| (p.clone(), false))
            .collect(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        used_files: BTreeSet::new(),
        images: BTreeMap::new(),
    };
    builder.check_name(&top);
    let mut resolved = BTreeMap::new();
    let mut sorted = services.clone();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, at) in &sorted {
        let Ok(service_name) = name.parse::<Name>() else {
            at.fail(format!("{name:?} is no name of a service"), "");
            continue;
        };
        if builder.active.contains(*name)
            && let Some(service) = builder.service(&service_name, at)
        {
            resolved.insert(service_name, service);
        }
    }
    sense::check_together(&services, &resolved);
    let mut used = builder.active.clone();
    let (migrations, inherits) = builder.migrations(&loader, &resolved, &mut used);
    if resolved.is_empty() && report.is_ok() {
        top.fail("has no service", "add one under `services:`");
    }
    let extends = loader.extends.into_inner();
    profiles::pass_on(loader.inside, &extends, &builder.left_out, &used, report);
    builder.check_berth(&resolved);
    let image_sources = builder.image_sources(&resolved, &migrations);
    let grants = std::mem::take(&mut builder.needed).settle(&berth.grants, &inherits, report);
    builder.check_unused(&top);
    let release = Release {
        format: FORMAT,
        product: berth.product.clone(),
        title: berth.title.clone(),
        version: berth.version.clone(),
        upgrade: berth.upgrade.clone(),
        notes: berth.notes.clone(),
        requires: berth.requires.clone(),
        config: berth.config.clone(),
        grants,
        data: berth.data,
        services: resolved,
        networks: std::mem::take(&mut builder.networks),
        volumes: std::mem::take(&mut builder.volumes),
        migrations,
        images: std::mem::take(&mut builder.images),
        layers: BTreeMap::new(),
        files: std::mem::take(&mut builder.packer.files),
    };
    if report.is_ok() {
        builder.check_release(&release);
        for what in validate::check(&release) {
            report.problem(Problem::new(&Pos::file(first), "", what, ""));
        }
    }
    Resolved {
        release,
        blobs: builder.packer.blobs,
        platforms: berth.platforms.clone(),
        image_sources,
        inherits,
        left_out: builder.left_out,
        warnings: Vec::new(),
    }
}

/// Labels of a service, network or volume.
fn labels(at: &At) -> BTreeMap<String, Template> {
    let entries = at.get("labels").map(|l| l.entries()).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, value)| {
            if name.starts_with("com.docker.compose.") || name.starts_with("berth.") {
                value.fail("belongs to the tool that makes the container", "remove it");
            }
            let text = match value.node.kind {
                Kind::Null => Some(Template::literal("")),
                _ => value.plain_text(),
            };
            Some((name.to_owned(), text?))
        })
        .collect()
}
