//! `env_file` of services, and `.env` of projects.

use std::path::Path;

use crate::compose::cursor::At;
use crate::compose::dotenv;
use crate::compose::interpolate::Variables;
use crate::compose::keys::{self, Scope};
use crate::compose::load::Loader;
use crate::problem::{Problem, Report};
use crate::yaml::{Kind, Map, Node, join};

impl Loader<'_> {
    /// Reads the files of `env_file` while the variables of their project are at hand.
    pub fn env_files(&self, root: &mut Map, variables: &Variables) {
        let Some(Kind::Map(services)) = root.get_mut("services").map(|n| &mut n.kind) else {
            return;
        };
        for service in &mut services.entries {
            let key = join("services", &service.key);
            if let Kind::Map(map) = &mut service.value.kind {
                self.service_env_files(map, &key, variables, &self.inside);
            }
        }
    }

    /// Puts `x-values`, the variables of the file, into each entry of `env_file`.
    pub fn service_env_files(
        &self,
        service: &mut Map,
        key: &str,
        variables: &Variables,
        report: &Report,
    ) {
        let Some(Kind::Seq(items)) = service.get_mut("env_file").map(|n| &mut n.kind) else {
            return;
        };
        let key = join(key, "env_file");
        for item in items {
            let pos = item.pos.clone();
            let at = At::new(item, key.clone(), report);
            keys::check(&at, Scope::EnvFile);
            let Some(path) = at.need("path").and_then(|p| p.text()) else {
                continue;
            };
            let required = at.get("required").and_then(|r| r.bool()).unwrap_or(true);
            let raw = match at.get("format").and_then(|f| f.text()).as_deref() {
                None => false,
                Some("raw") => true,
                Some(_) => {
                    at.fail("has a format that is unknown", "the only one is `raw`");
                    continue;
                }
            };
            let file = path.trim_start_matches("./");
            if !required && self.root.find(file).is_ok_and(|path| !path.exists()) {
                continue;
            }
            let Some(text) = self.read(file, &pos, &key, report) else {
                continue;
            };
            if let Some(service) = key.strip_prefix("services.") {
                let service = service.trim_end_matches(".env_file");
                self.extends.borrow_mut().env_file(file, service, &pos.file);
            }
            let assignments = if raw {
                dotenv::parse_raw(file, &text, report)
            } else {
                dotenv::parse(file, &text, variables, report)
            };
            let mut values = Map::default();
            for a in assignments {
                let is_own_env = Path::new(file).file_name().is_some_and(|n| n == ".env");
                let own_value = a.value.is_some() && a.value != variables.get(&a.name);
                if own_value && !is_own_env && variables.is_field(&a.name) {
                    report.warning(Problem::new(
                        &a.pos,
                        &key,
                        format!(
                            "{} is a config field, and this file gives it a value of its own",
                            a.name
                        ),
                        format!("write {0}=${{{0}}} to pass on what the admin says", a.name),
                    ));
                }
                let value = match (variables.get(&a.name), a.value) {
                    // What .env says of a field is for developers.
                    (Some(place), Some(_)) if is_own_env && variables.is_field(&a.name) => place,
                    (_, Some(value)) | (Some(value), None) => value,
                    (None, None) => {
                        report.problem(Problem::new(
                            &a.pos,
                            &key,
                            format!("{} would come from the shell that runs Compose", a.name),
                            format!("give it a value, make {0} a field under `config:` in berth.yaml, or remove it", a.name),
                        ));
                        continue;
                    }
                };
                values.set(&a.name, Node::scalar(&a.pos, value));
            }
            if let Kind::Map(map) = &mut item.kind {
                map.set("x-values", Node::at(&pos, Kind::Map(values)));
            }
        }
    }

    /// Adds what the `.env` of a project's folder says, where nobody has said it before.
    pub fn dot_env(&self, folder: &str, variables: &mut Variables) {
        let file = join_path(folder, ".env");
        // Nobody names it: where it is not the product's, it is not there.
        let path = self.root.find(&file);
        if let Some(text) = path
            .ok()
            .and_then(|path| std::fs::read_to_string(path).ok())
        {
            self.set_defaults(&file, &text, variables);
        }
    }

    pub fn set_defaults(&self, file: &str, text: &str, variables: &mut Variables) {
        for a in dotenv::parse(file, text, variables, self.report) {
            if let Some(value) = a.value {
                variables.set_default(&a.name, value);
            }
        }
    }
}

fn join_path(folder: &str, file: &str) -> String {
    if folder.is_empty() {
        file.to_owned()
    } else {
        format!("{folder}/{file}")
    }
}
