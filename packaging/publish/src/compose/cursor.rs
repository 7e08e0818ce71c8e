//! Reading a tree by key: each value knows its name for the report, and reports itself.

use std::fmt::Display;
use std::str::FromStr;

use berth_format::Template;
use berth_format::config::Field;

use crate::compose::units;
use crate::problem::{Problem, Report};
use crate::yaml::{Kind, Map, Node, join};

/// A value, its key path, and where problems go. Scalars are sources of templates.
#[derive(Clone)]
pub struct At<'a> {
    pub node: &'a Node,
    pub key: String,
    pub report: &'a Report,
}

impl<'a> At<'a> {
    /// A value by its key path.
    pub fn new(node: &'a Node, key: impl Into<String>, report: &'a Report) -> Self {
        Self {
            node,
            key: key.into(),
            report,
        }
    }

    /// Reports a problem here.
    pub fn fail(&self, what: impl Into<String>, instead: impl Into<String>) {
        self.report
            .problem(Problem::new(&self.node.pos, &self.key, what, instead));
    }

    /// Reports a warning here.
    pub fn warn(&self, what: impl Into<String>, instead: impl Into<String>) {
        self.report
            .warning(Problem::new(&self.node.pos, &self.key, what, instead));
    }

    /// Reports that something else was expected.
    pub fn expected(&self, expected: impl Display) {
        let found = match &self.node.kind {
            Kind::Scalar { text, .. } => {
                format!("{:?}", text.chars().take(80).collect::<String>())
            }
            _ => self.node.noun().to_owned(),
        };
        self.fail(format!("expected {expected}, found {found}"), "");
    }

    /// The value of a key that is there and not null.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.node.get(key)?;
        let at = At::new(value, join(&self.key, key), self.report);
        (!matches!(value.kind, Kind::Null)).then_some(at)
    }

    /// The value of a key; its absence is a problem.
    pub fn need(&self, key: &str) -> Option<At<'a>> {
        let value = self.get(key);
        if value.is_none() && matches!(self.node.kind, Kind::Map(_)) {
            self.fail(format!("has no `{key}`"), format!("add `{key}:`"));
        }
        value
    }

    /// The map, or nothing for null.
    pub fn map(&self) -> Option<&'a Map> {
        match &self.node.kind {
            Kind::Map(map) => Some(map),
            Kind::Null => None,
            _ => {
                self.expected("a map");
                None
            }
        }
    }

    /// Entries of a map, nulls among the values included.
    pub fn entries(&self) -> Vec<(&'a str, At<'a>)> {
        self.map().map_or_else(Vec::new, |map| {
            let entries = map.entries.iter();
            entries
                .map(|e| {
                    let at = At::new(&e.value, join(&self.key, &e.key), self.report);
                    (e.key.as_str(), at)
                })
                .collect()
        })
    }

    /// Items of a list.
    pub fn items(&self) -> Vec<At<'a>> {
        match &self.node.kind {
            Kind::Seq(items) => items
                .iter()
                .enumerate()
                .map(|(n, node)| At::new(node, format!("{}[{n}]", self.key), self.report))
                .collect(),
            Kind::Null => Vec::new(),
            _ => {
                self.expected("a list");
                Vec::new()
            }
        }
    }

    /// Items of a list, or the one value that stands instead of it.
    pub fn one_or_many(&self) -> Vec<At<'a>> {
        match &self.node.kind {
            Kind::Scalar { .. } => vec![self.clone()],
            _ => self.items(),
        }
    }

    /// A text that may hold places for the admin's values.
    pub fn template(&self) -> Option<Template> {
        let Some(text) = self.node.as_text() else {
            self.expected("a text");
            return None;
        };
        match Template::parse(text) {
            Ok(template) => Some(template),
            Err(error) => {
                self.fail(error.to_string(), "");
                None
            }
        }
    }

    /// Whether it is just this word. Says nothing where it is not.
    pub fn is(&self, word: &str) -> bool {
        self.node.as_text() == Some(word)
    }

    /// A text whose value must be known now.
    pub fn text(&self) -> Option<String> {
        let template = self.template()?;
        if let Some(name) = template.variables().into_iter().next() {
            self.fail(
                format!("depends on the config field {name}, but must be known when the release is built"),
                "give it a fixed value; fields may stand in environment, command, entrypoint, healthcheck.test, labels, hostname, extra_hosts, published ports, host paths, driver options and the content of configs",
            );
            return None;
        }
        Some(template.source().replace("$$", "$"))
    }

    /// A text that the reader does not take by accident for a number.
    pub fn plain_text(&self) -> Option<Template> {
        if let Kind::Scalar { text, plain: true } = &self.node.kind
            && changes_in_yaml(text)
        {
            self.fail(
                format!("{text} without quotes is a number, which Compose writes in another way"),
                format!("write \"{text}\""),
            );
            return None;
        }
        self.template()
    }

    /// Something that is made from a text.
    pub fn parse<T: FromStr>(&self, expected: &str) -> Option<T> {
        let value = self.text()?.trim().parse().ok();
        if value.is_none() {
            self.expected(expected);
        }
        value
    }

    /// Something that an error explains.
    pub fn parse_or_explain<T: FromStr<Err: Display>>(&self) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(error.to_string(), "");
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn bool(&self) -> Option<bool> {
        match self.text()?.as_str() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => {
                self.expected("true or false");
                None
            }
        }
    }

    /// Bytes.
    pub fn bytes(&self) -> Option<i64> {
        let value = units::bytes(&self.text()?);
        if value.is_none() {
            self.expected("a size such as 512m or 1.5gb");
        }
        value
    }

    /// Milliseconds.
    pub fn duration_ms(&self) -> Option<u64> {
        let value = units::duration_ms(&self.text()?);
        if value.is_none() {
            self.expected("a duration such as 30s or 1m30s");
        }
        value
    }
}

/// Numbers that YAML gives back in another form than they were written in.
fn changes_in_yaml(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let all = |set: &str| {
        digits
            .chars()
            .all(|c| c.is_ascii_digit() || set.contains(c))
    };
    let lower = digits.to_ascii_lowercase();
    let number = |t: &str| t.parse::<f64>().is_ok();
    if let Some(rest) = lower.strip_prefix("0x") {
        return rest.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(rest) = lower.strip_prefix("0o").or(lower.strip_prefix("0b")) {
        return rest.bytes().all(|b| b.is_ascii_digit());
    }
    if all("") {
        // Octal, a sign that is lost, or more than 64 bits.
        return (digits.len() > 1 && digits.starts_with('0'))
            || text.starts_with('+')
            || digits.len() > 18;
    }
    if all("_") {
        return digits.bytes().any(|b| b.is_ascii_digit());
    }
    all(".eE+-")
        && number(digits)
        && (!all(".")
            || digits.ends_with('0')
            || digits.starts_with('.')
            || digits.ends_with('.')
            || digits.len() > 16)
}

/// The names of fields, for sentences.
pub fn field_names(fields: &[Field]) -> String {
    let names: Vec<_> = fields.iter().map(|f| f.name.as_str()).collect();
    if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_would_change_are_refused() {
        for changes in [
            "0440", "1.10", "1e3", "0x1F", "0o17", "1_000", "+5", ".5", "1.",
        ] {
            assert!(changes_in_yaml(changes), "{changes}");
        }
        for stays in [
            "0",
            "1",
            "-5",
            "1.5",
            "10",
            "1.2.3",
            "1.20.0",
            "8080:80",
            "x",
            "",
            "-",
            "1s",
            "5432",
            "2024-01-10",
        ] {
            assert!(!changes_in_yaml(stays), "{stays}");
        }
    }
}
