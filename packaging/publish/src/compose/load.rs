//! Compose files to one model: read, interpolate, long forms, `extends`, `include`, layers.

use std::cell::RefCell;

use crate::compose::cursor::At;
use crate::compose::interpolate::Variables;
use crate::compose::keys::{self, Scope};
use crate::compose::merge;
use crate::compose::normalize::{self, Context};
use crate::compose::paths::{Root, seen};
use crate::compose::profiles::Extends;
use crate::problem::{Problem, Report};
use crate::yaml::{self, Kind, Map, Node, Pos, join};

/// The longest chain of `include` or `extends`.
const MAX_CHAIN: usize = 32;

/// Reads the files of a vendor's folder.
pub struct Loader<'a> {
    /// The vendor's folder.
    pub root: &'a Root,
    /// Problems of files that surely count.
    pub report: &'a Report,
    /// Problems inside of services that profiles may leave out.
    pub inside: Report,
    /// Which services are made from which: those count even when they are left out.
    pub extends: RefCell<Extends>,
}

/// A Compose file in long form, before `extends`.
struct Source<'a> {
    file: String,
    root: Map,
    variables: &'a Variables,
}

impl Loader<'_> {
    /// Loads a project: the files, lowest layer first, into one model.
    pub fn project(
        &self,
        files: &[(String, Pos)],
        base: &str,
        variables: &Variables,
        chain: &[String],
    ) -> Map {
        let mut model = Map::default();
        for (file, pos) in files {
            if chain.len() > MAX_CHAIN || chain.contains(file) {
                let what = format!("includes itself: {} -> {file}", chain.join(" -> "));
                let problem = Problem::new(pos, "include", what, "break the circle");
                self.report.problem(problem);
                continue;
            }
            let Some(source) = self.source(file, pos, base, variables) else {
                continue;
            };
            self.extends.borrow_mut().file(file);
            let top = Node::at(&Pos::file(file), Kind::Map(source.root.clone()));
            keys::check(&At::new(&top, "", self.report), Scope::File);
            let mut own = self.extend_all(&source);
            let mut deeper = chain.to_vec();
            deeper.push(file.clone());
            if let Some(include) = own.remove("include") {
                let at = At::new(&include, "include", self.report);
                for item in at.one_or_many() {
                    let included = self.include(&item, base, variables, &deeper);
                    self.import(&mut own, included);
                }
            }
            let lower = Node::at(&Pos::file(file), Kind::Map(model));
            let upper = Node::at(&Pos::file(file), Kind::Map(own));
            model = match merge::merge(lower, upper, self.report).kind {
                Kind::Map(map) => map,
                _ => Map::default(),
            };
        }
        model
    }

    /// The text of a file of the vendor's folder.
    pub fn read(&self, file: &str, pos: &Pos, key: &str, report: &Report) -> Option<String> {
        let path = match self.root.find(file) {
            Ok(path) => path,
            Err(outside) => {
                report.problem(Problem::new(pos, key, outside.what, outside.instead));
                return None;
            }
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                let what = format!("{file} cannot be read: {error}");
                report.problem(Problem::new(
                    pos,
                    key,
                    what,
                    "write it, or remove what names it",
                ));
                None
            }
        }
    }

    fn source<'v>(
        &self,
        file: &str,
        pos: &Pos,
        base: &str,
        variables: &'v Variables,
    ) -> Option<Source<'v>> {
        let text = self.read(file, pos, "compose", self.report)?;
        let mut root = match yaml::parse(file, &text) {
            Ok(root) => root,
            Err(problem) => {
                self.report.problem(problem);
                return None;
            }
        };
        let Kind::Map(map) = &mut root.kind else {
            At::new(&root, "", self.report).expected("a map with `services`");
            return None;
        };
        map.entries.retain(|e| !e.key.starts_with("x-"));
        merge::refuse_tags_in_lists(&root, self.report);
        variables.interpolate_tree(&mut root, "", &self.inside);
        let Kind::Map(mut root) = root.kind else {
            return None;
        };
        let report = &self.inside;
        normalize::file(&mut root, &Context { base, report });
        self.env_files(&mut root, variables);
        Some(Source {
            file: file.to_owned(),
            root,
            variables,
        })
    }

    fn extend_all(&self, source: &Source) -> Map {
        let mut root = source.root.clone();
        if let Some(Kind::Map(services)) = root.get_mut("services").map(|n| &mut n.kind) {
            for entry in &mut services.entries {
                if entry.value.get("extends").is_some()
                    && let Some(extended) = self.extend(source, &entry.key, &mut Vec::new())
                {
                    entry.value.kind = Kind::Map(extended);
                }
            }
        }
        root
    }

    /// A service of a file, with all that it extends below it.
    fn extend(
        &self,
        source: &Source,
        name: &str,
        chain: &mut Vec<(String, String)>,
    ) -> Option<Map> {
        let node = source.root.get("services").and_then(|s| s.get(name))?;
        let key = join("services", name);
        let at = At::new(node, key.clone(), &self.inside);
        let mut own = at.map()?.clone();
        let Some(extends) = own.remove("extends") else {
            return Some(own);
        };
        let at = At::new(&extends, join(&key, "extends"), &self.inside);
        let step = (source.file.clone(), name.to_owned());
        if chain.len() > MAX_CHAIN || chain.contains(&step) {
            at.fail(
                "extends itself, directly or through others",
                "break the circle",
            );
            return Some(own);
        }
        chain.push(step);
        keys::check(&at, Scope::Extends);
        let base_name = at.need("service")?.text()?;
        let note = |file: &str| {
            let from = (source.file.clone(), name.to_owned());
            let to = (file.to_owned(), base_name.clone());
            self.extends.borrow_mut().edge(from, to);
        };
        let base = match at.get("file").and_then(|f| f.text()) {
            None => {
                note(&source.file);
                self.extend(source, &base_name, chain)
            }
            Some(file) => {
                let file = file.trim_start_matches("./").to_owned();
                // Paths of the other file are relative to where it lies.
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                note(&file);
                let other = self.source(&file, &at.node.pos, folder, source.variables)?;
                self.extend(&other, &base_name, chain)
            }
        };
        chain.pop();
        let Some(base) = base else {
            at.fail(
                format!("extends {base_name}, which is no service there"),
                "correct the name",
            );
            return Some(own);
        };
        Some(merge::merge_service(base, own, name, &self.inside))
    }

    fn include(&self, at: &At, base: &str, variables: &Variables, chain: &[String]) -> Map {
        let (files, directory, env_files) = if at.node.as_map().is_some() {
            keys::check(at, Scope::Include);
            let placed = |key: &str| -> Vec<(String, Pos)> {
                let all = at.get(key).map(|a| a.one_or_many()).unwrap_or_default();
                all.iter()
                    .filter_map(|a| Some((a.text()?, a.node.pos.clone())))
                    .collect()
            };
            let directory = at.get("project_directory").and_then(|d| d.text());
            (placed("path"), directory, placed("env_file"))
        } else {
            let path = at.text().map(|t| (t, at.node.pos.clone()));
            (path.into_iter().collect(), None, Vec::new())
        };
        let files = files.iter().map(|(f, pos)| (seen(base, f), pos.clone()));
        let files: Vec<_> = files.collect();
        let Some((first, _)) = files.first() else {
            at.fail("names no file", "write the path of a Compose file");
            return Map::default();
        };
        let folder = match directory.map(|d| seen(base, &d)) {
            Some(folder) => {
                if let Err(outside) = self.root.find(&folder) {
                    at.fail(outside.what, outside.instead);
                    return Map::default();
                }
                folder
            }
            None => first.rsplit_once('/').map_or("", |(f, _)| f).to_owned(),
        };
        let mut variables = variables.clone();
        if env_files.is_empty() {
            self.dot_env(&folder, &mut variables);
        }
        for (file, pos) in &env_files {
            let file = seen(base, file);
            if let Some(text) = self.read(&file, pos, &at.key, self.report) {
                self.set_defaults(&file, &text, &mut variables);
            }
        }
        self.project(&files, &folder, &variables, chain)
    }

    /// Adds what an included file defines.
    fn import(&self, own: &mut Map, included: Map) {
        for section in included.entries {
            let at = At::new(&section.value, section.key.as_str(), self.report);
            if matches!(section.key.as_str(), "name" | "version") {
                if section.key == "name" {
                    at.warn("means nothing in a file that is included", "remove it");
                }
                continue;
            }
            if at.map().is_none() {
                continue;
            }
            let Kind::Map(theirs) = section.value.kind else {
                continue;
            };
            if own.get(&section.key).is_none() {
                let empty = Node::at(&section.pos, Kind::Map(Map::default()));
                own.set(&section.key, empty);
            }
            let Some(Kind::Map(ours)) = own.get_mut(&section.key).map(|n| &mut n.kind) else {
                continue;
            };
            for entry in theirs.entries {
                match ours.get(&entry.key) {
                    None => ours.entries.push(entry),
                    Some(same) if *same == entry.value => {}
                    Some(other) => self.report.problem(Problem::new(
                        &entry.pos,
                        &join(&section.key, &entry.key),
                        format!(
                            "is defined in another way at {}:{}",
                            other.pos.file, other.pos.line
                        ),
                        "rename one, or layer the files under `compose:` in berth.yaml",
                    )),
                }
            }
        }
    }
}

/// The folder of the project: that of the first file.
pub fn project_folder(files: &[(String, Pos)]) -> String {
    let first = files.first().map_or("", |(file, _)| file.as_str());
    let first = first.trim_start_matches("./");
    first.rsplit_once('/').map_or("", |(f, _)| f).to_owned()
}
