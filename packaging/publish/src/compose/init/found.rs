//! Which variables the Compose files have, and what each of them could be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::quoted;
use super::scan::{self, Scan};
use crate::compose::interpolate::{Use, uses};
use crate::yaml::{Kind, Node, Pos};

/// Where the variables of an env file end up.
const PASSED_ON: &str = "services.*.environment";

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

/// `${NAME}` in the Compose files.
#[derive(Default)]
pub struct Found {
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
    /// Looks into every file that Compose would read.
    pub fn read(scan: &Scan) -> Self {
        let env = &scan.known;
        let mut seen: BTreeMap<String, (Vec<String>, Vec<Use>)> = BTreeMap::new();
        for root in scan.own.iter().chain(&scan.others) {
            for (name, key) in passed_through(root) {
                seen.entry(name).or_default().0.push(key);
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
        }
        for text in &scan.env_files {
            let mut said = BTreeSet::new();
            for (name, value) in scan::assignments(text) {
                let inside = value.map(uses).unwrap_or_default();
                for used in inside.into_iter().filter(|u| !said.contains(&u.name)) {
                    let (keys, all) = seen.entry(used.name.clone()).or_default();
                    keys.push(PASSED_ON.to_owned());
                    all.push(used);
                }
                if value.is_none() {
                    let (keys, _) = seen.entry(name.to_owned()).or_default();
                    keys.push(PASSED_ON.to_owned());
                }
                said.insert(name.to_owned());
            }
        }
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

    /// Writes `variables:` and `config:`.
    pub fn write(&self, out: &mut String) {
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

/// Variables that `environment` takes from the shell, and those whose values become files.
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
    for section in ["secrets", "configs"] {
        let all = root.get(section).and_then(Node::as_map);
        for entry in all.map(|m| m.entries.as_slice()).unwrap_or_default() {
            let name = entry.value.get("environment").and_then(Node::as_text);
            let name = name.filter(|n| !n.contains('$'));
            let key = format!("{section}.{}.environment", entry.key);
            out.extend(name.map(|n| (n.to_owned(), key)));
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
        ["secrets" | "configs", _, "environment"]
        | ["configs", _, "content"]
        | ["volumes", _, "driver_opts", ..] => true,
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
    ]) || keys.iter().any(|k| k.starts_with("secrets."));
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
