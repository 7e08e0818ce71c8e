//! Which services are in the release, and whose problems count.

use std::collections::{BTreeMap, BTreeSet};

use crate::berth_yaml::BerthYaml;
use crate::compose::cursor::At;
use crate::problem::{Problem, Report};

/// A service of a file.
type Place = (String, String);

/// Who extends whom. Names alone would not do: two files may have services of one name.
#[derive(Debug, Default)]
pub struct Extends {
    /// The files whose services are those of the project.
    files: BTreeSet<String>,
    edges: BTreeMap<Place, Place>,
    /// By an env file and a service that reads it: the Compose files that say so.
    env_files: BTreeMap<Place, BTreeSet<String>>,
}

impl Extends {
    /// Notes a file of the project.
    pub fn file(&mut self, file: &str) {
        self.files.insert(file.to_owned());
    }

    /// Notes that one service is made from another.
    pub fn edge(&mut self, from: Place, to: Place) {
        self.edges.insert(from, to);
    }

    /// Notes that a service of a Compose file reads an env file.
    pub fn env_file(&mut self, env_file: &str, service: &str, file: &str) {
        let place = (env_file.to_owned(), service.to_owned());
        let files = self.env_files.entry(place).or_default();
        files.insert(file.to_owned());
    }

    /// Whether the file is the place's own, or an env file that only unused services read.
    fn is_of(&self, file: &str, place: &Place, unused: &BTreeSet<Place>) -> bool {
        let (own, name) = place;
        let readers = self.env_files.get(&(file.to_owned(), name.clone()));
        let all = |files: &BTreeSet<String>| {
            let mut places = files.iter().map(|f| (f.clone(), name.clone()));
            places.all(|place| unused.contains(&place))
        };
        own == file || readers.is_some_and(all)
    }

    /// Everything that services of the project are made from, they included.
    fn reached(&self, used: &BTreeSet<String>) -> BTreeSet<&Place> {
        let is_used = |(file, name): &Place| self.files.contains(file) && used.contains(name);
        let mut open: Vec<&Place> = self.edges.keys().filter(|p| is_used(p)).collect();
        let mut reached = BTreeSet::new();
        while let Some(place) = open.pop() {
            if reached.insert(place) {
                open.extend(self.edges.get(place));
            }
        }
        reached
    }
}

/// Services of the release, and those whose profiles are not active.
pub fn choose(
    berth: &BerthYaml,
    services: &[(&str, At)],
    report: &Report,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut active, mut left_out) = (BTreeSet::new(), BTreeSet::new());
    let mut known = BTreeSet::new();
    for (name, at) in services {
        let wanted = at.get("profiles").map(|p| p.items()).unwrap_or_default();
        let wanted: Vec<String> = wanted.iter().filter_map(At::text).collect();
        let mut chosen = berth.profiles.iter();
        let is_active =
            wanted.is_empty() || chosen.any(|(p, _)| p == "*" || wanted.iter().any(|w| w == p));
        known.extend(wanted);
        let set = if is_active {
            &mut active
        } else {
            &mut left_out
        };
        set.insert((*name).to_owned());
    }
    for (profile, pos) in &berth.profiles {
        if profile != "*" && !known.contains(profile) {
            let all = known.iter().map(String::as_str).collect::<Vec<_>>();
            let instead = match all.as_slice() {
                [] => "remove it: no service has one".to_owned(),
                all => format!("correct the name; there are {}", all.join(", ")),
            };
            let what = format!("no service has the profile {profile}");
            report.problem(Problem::new(pos, "profiles", what, instead));
        }
    }
    (active, left_out)
}

/// Problems inside of services count, unless the service is left out and nobody uses it.
pub fn pass_on(
    inside: Report,
    extends: &Extends,
    left_out: &BTreeSet<String>,
    used: &BTreeSet<String>,
    report: &Report,
) {
    let reached = extends.reached(used);
    let unused: BTreeSet<Place> = extends
        .files
        .iter()
        .flat_map(|file| left_out.difference(used).map(|s| (file.clone(), s.clone())))
        .chain(extends.edges.values().cloned())
        .filter(|place| !reached.contains(place))
        .filter(|(file, name)| !(extends.files.contains(file) && used.contains(name)))
        .collect();
    let counts = |problem: &Problem| {
        let Some(rest) = problem.key.strip_prefix("services.") else {
            return true;
        };
        !unused.iter().any(|place| {
            let part = rest.strip_prefix(place.1.as_str()).unwrap_or("?");
            // What is wrong there may be why the service is left out.
            let decides = part.starts_with(".profiles");
            (part.is_empty() || part.starts_with(['.', '[']))
                && !decides
                && extends.is_of(&problem.file, place, &unused)
        })
    };
    let (problems, warnings) = inside.into_parts();
    let problems = problems.into_iter().filter(counts);
    problems.for_each(|p| report.problem(p));
    let warnings = warnings.into_iter().filter(counts);
    warnings.for_each(|w| report.warning(w));
}
