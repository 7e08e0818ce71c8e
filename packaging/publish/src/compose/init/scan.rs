//! Every file that Compose would read for a product.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::compose::cursor::At;
use crate::compose::dotenv;
use crate::compose::interpolate::Variables;
use crate::compose::normalize::from_root;
use crate::problem::{Problem, Report};
use crate::yaml::{self, Node, Pos};

/// The most files that are read.
const MAX_FILES: usize = 200;

/// What was read.
#[derive(Default)]
pub struct Scan {
    /// The files that were named, lowest layer first.
    pub own: Vec<Node>,
    /// Files that those include or extend.
    pub others: Vec<Node>,
    /// Texts of `env_file`.
    pub env_files: Vec<String>,
    /// How many folders up the highest of them lies.
    pub up: usize,
    /// What `.env` says, also those of included projects.
    pub known: BTreeMap<String, String>,
}

/// Files that another one names, each seen from the vendor's folder.
#[derive(Default)]
struct Named {
    /// With the folder that its paths are relative to.
    compose: Vec<(String, String)>,
    /// Of services.
    env: Vec<String>,
    /// Of projects: `.env`, or what `include` says instead.
    variables: Vec<String>,
    up: usize,
}

impl Scan {
    /// Reads the files of a folder, and what they name. Only the first must be good: what is
    /// wrong with the others is for `check` to say.
    pub fn read(dir: &Path, files: &[String]) -> Result<Self, Problem> {
        let mut scan = Self::default();
        scan.variables(dir, ".env");
        let mut named = Named::default();
        for file in files {
            let text = std::fs::read_to_string(dir.join(file)).map_err(|error| {
                let what = format!("cannot be read: {error}");
                Problem::new(&Pos::file(file), "", what, "name a Compose file")
            })?;
            let root = yaml::parse(file, &text)?;
            named.look(&root, "");
            scan.own.push(root);
        }
        let mut seen: BTreeSet<String> = files.iter().cloned().collect();
        while let Some((file, base)) = named.compose.pop() {
            if seen.len() > MAX_FILES || !seen.insert(file.clone()) {
                continue;
            }
            let text = std::fs::read_to_string(dir.join(&file)).unwrap_or_default();
            if let Ok(root) = yaml::parse(&file, &text) {
                named.look(&root, &base);
                scan.others.push(root);
            }
        }
        for file in &named.variables {
            scan.variables(dir, file);
        }
        named.env.sort();
        named.env.dedup();
        let texts = named
            .env
            .iter()
            .map(|f| std::fs::read_to_string(dir.join(f)));
        scan.env_files.extend(texts.filter_map(Result::ok));
        scan.up = named.up;
        Ok(scan)
    }

    fn variables(&mut self, dir: &Path, file: &str) {
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        let report = Report::default();
        for line in dotenv::parse(file, &text, &Variables::default(), &report) {
            if let Some(value) = line.value {
                let value = value.replace("$$", "$");
                self.known.entry(line.name).or_insert(value);
            }
        }
    }
}

impl Named {
    fn look(&mut self, root: &Node, base: &str) {
        // What is wrong is told by `check`.
        let report = Report::default();
        let top = At::new(root, "", &report);
        root.clone()
            .map_text("", &mut |key: &str, _: &Pos, text: &mut String| {
                let part = key.rsplit('.').next().unwrap_or_default();
                let path = match part.split('[').next().unwrap_or_default() {
                    "source" | "file" | "path" | "project_directory" | "include" | "env_file" => {
                        text.as_str()
                    }
                    "volumes" => text.split(':').next().unwrap_or_default(),
                    _ => return,
                };
                if path.starts_with('.') || !base.is_empty() {
                    let path = plain(base, path);
                    let up = path.split('/').take_while(|part| *part == "..").count();
                    self.up = self.up.max(up);
                }
            });
        let seen = |at: &At| {
            at.node
                .as_text()
                .map(|t| plain(base, t))
                .unwrap_or_default()
        };
        for item in top
            .get("include")
            .map(|i| i.one_or_many())
            .unwrap_or_default()
        {
            let paths = item.get("path").map(|p| p.one_or_many());
            let paths: Vec<_> = paths.unwrap_or_else(|| vec![item.clone()]);
            let Some(first) = paths.first().map(seen) else {
                continue;
            };
            let folder = match item.get("project_directory") {
                Some(folder) => seen(&folder),
                None => folder_of(&first),
            };
            let files = paths.iter().map(|p| (seen(p), folder.clone()));
            self.compose.extend(files);
            match item.get("env_file") {
                Some(env) => self.variables.extend(env.one_or_many().iter().map(seen)),
                None => self.variables.push(plain(&folder, ".env")),
            }
        }
        let services = top.get("services").map(|s| s.entries()).unwrap_or_default();
        for (_, service) in services {
            if let Some(file) = service.get("extends").and_then(|e| e.get("file")) {
                let file = seen(&file);
                self.compose.push((file.clone(), folder_of(&file)));
            }
            let env = service.get("env_file").map(|e| e.one_or_many());
            for item in env.unwrap_or_default() {
                let is_raw = item.get("format").is_some();
                let path = item.get("path").unwrap_or(item);
                self.env.extend((!is_raw).then(|| seen(&path)));
            }
        }
    }
}

fn plain(base: &str, path: &str) -> String {
    if path.starts_with(['/', '~']) || path.contains('$') {
        return String::new();
    }
    from_root(base, path).trim_start_matches("./").to_owned()
}

fn folder_of(file: &str) -> String {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder.to_owned()
}

/// The lines of an env file: names, and values that Compose interpolates.
pub fn assignments(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once(['=', ':']) {
            Some((name, value)) if value.trim_start().starts_with('\'') => (name.trim(), Some("")),
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (line, None),
        }
    })
}
