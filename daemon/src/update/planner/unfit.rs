//! Why the releases of a plan cannot run here as they stand: all of it, not only the first thing.

use std::collections::{BTreeMap, BTreeSet};

use berth_format::config::{FieldError, FieldKind};
use berth_format::template::TemplateError;
use berth_format::{Code, Refusal, Release};

use super::Available;
use crate::update::resolve::{self, Place, ResolveError};

/// All of it, once each. `errors`: what the planner met in each hop.
pub(super) fn all(
    releases: &[Available],
    values: &[BTreeMap<String, String>],
    errors: Vec<Vec<ResolveError>>,
    form: &[FieldError],
    place: &Place,
) -> Vec<Refusal> {
    let mut all: Vec<Refusal> = releases
        .iter()
        .filter_map(|(release, _)| architecture(release, place))
        .chain(incomplete(form))
        .collect();
    for (((release, _), values), errors) in releases.iter().zip(values).zip(errors) {
        for refusal in parts(release, values, errors, form) {
            // Several hops, and several looks at one port, mostly say the same.
            if !all.contains(&refusal) {
                all.push(refusal);
            }
        }
    }
    all
}

/// What is wrong with the form: what is missing in one refusal, what does not fit in another.
fn incomplete(errors: &[FieldError]) -> Vec<Refusal> {
    let (missing, invalid): (Vec<_>, Vec<_>) = errors.iter().partition(|e| e.is_missing());
    let refusal = |code, summary: &str, errors: &[&FieldError]| {
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let words: Vec<String> = errors
            .iter()
            .map(|error| match error.kind {
                // Not for a command line: long, or secret.
                FieldKind::File | FieldKind::Text | FieldKind::Secret => {
                    format!("--from-file {}=PATH", error.name)
                }
                _ => format!("{}=VALUE", error.name),
            })
            .collect();
        let next = format!("Run `berth config set {}`.", words.join(" "));
        (!errors.is_empty()).then(|| {
            Refusal::new(code, summary)
                .found(found.join("; "))
                .next(next)
        })
    };
    let missing = refusal(
        Code::ConfigMissing,
        "the config form is not complete",
        &missing,
    );
    let invalid = refusal(
        Code::ConfigInvalid,
        "the config form has values that do not fit",
        &invalid,
    );
    missing.into_iter().chain(invalid).collect()
}

/// Images that are not made for this machine.
fn architecture(release: &Release, place: &Place) -> Option<Refusal> {
    let others: BTreeSet<String> = release
        .images
        .values()
        .filter(|image| !image.platforms.contains_key(&place.platform))
        .flat_map(|image| image.platforms.keys())
        .map(ToString::to_string)
        .collect();
    (!others.is_empty()).then(|| {
        let summary = format!("{} was not made for this machine", release.version);
        let others: Vec<String> = others.into_iter().collect();
        Refusal::new(Code::WrongArchitecture, summary)
            .because(place.platform.to_string(), others.join(", "))
    })
}

/// What keeps containers and volumes from being made, beyond what the form and the architecture
/// say already. `of_hop`: what the planner met, which goes no further in a service than the first.
fn parts(
    release: &Release,
    values: &BTreeMap<String, String>,
    errors: Vec<ResolveError>,
    form: &[FieldError],
) -> Vec<Refusal> {
    let volumes = resolve::volumes(release, values).filter_map(Result::err);
    let ports = release.services.iter().flat_map(|(name, service)| {
        let place = format!("service {name}");
        let errors = resolve::ports(service, values, &place).filter_map(Result::err);
        errors.collect::<Vec<_>>()
    });
    errors
        .into_iter()
        .chain(volumes)
        .chain(ports)
        .filter_map(|error| part(&error, form))
        .collect()
}

fn part(error: &ResolveError, form: &[FieldError]) -> Option<Refusal> {
    match error {
        ResolveError::Platform { .. } => None,
        ResolveError::Template {
            source: TemplateError::Missing(name),
            ..
        } if form.iter().any(|e| e.name == *name) => None,
        ResolveError::Value {
            place,
            expected,
            found,
        } => {
            let summary = format!("a config value does not fit into {place}");
            Some(Refusal::new(Code::ConfigInvalid, summary).because(*expected, found.clone()))
        }
        ResolveError::Template { .. } | ResolveError::Missing(_) => Some(
            Refusal::new(
                Code::ManifestInvalid,
                "the release cannot be made into containers",
            )
            .found(error.to_string()),
        ),
    }
}
