//! Text with `${NAME}` for the admin's values; `$$` is one dollar. Nothing else begins with `$`.
//!
//! Compose's other forms (`${NAME:-x}` and so on) are resolved by the publisher.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::name::Variable;

/// A text with places for the admin's values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Template(String);

/// Why a text is not a template, or cannot be filled in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// `$` before something else than `{NAME}` or `$`.
    #[error("expected ${{NAME}} or $$ at byte {0}")]
    Syntax(usize),
    /// The values have no such name.
    #[error("no value for ${{{0}}}")]
    Missing(String),
}

enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        for part in (Parts { text, at: 0 }) {
            part?;
        }
        Ok(Self(text.to_owned()))
    }

    /// A template that gives exactly `text`.
    pub fn literal(text: &str) -> Self {
        Self(text.replace('$', "$$"))
    }

    /// The template as it is written.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// The names it asks for.
    pub fn variables(&self) -> BTreeSet<String> {
        Parts {
            text: &self.0,
            at: 0,
        }
        .filter_map(|part| match part {
            Ok(Part::Variable(name)) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
    }

    /// The text with every value filled in.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        let mut out = String::with_capacity(self.0.len());
        for part in (Parts {
            text: &self.0,
            at: 0,
        }) {
            match part? {
                Part::Text(text) => out.push_str(text),
                Part::Variable(name) => out.push_str(
                    values
                        .get(name)
                        .ok_or_else(|| TemplateError::Missing(name.to_owned()))?,
                ),
            }
        }
        Ok(out)
    }
}

struct Parts<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, TemplateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let Some(dollar) = rest.find('$') else {
            self.at = self.text.len();
            return Some(Ok(Part::Text(rest)));
        };
        if dollar > 0 {
            self.at += dollar;
            return Some(Ok(Part::Text(&rest[..dollar])));
        }
        if rest.starts_with("$$") {
            self.at += 2;
            return Some(Ok(Part::Text("$")));
        }
        let name = rest
            .strip_prefix("${")
            .and_then(|r| r.split_once('}'))
            .map(|(name, _)| name);
        match name {
            Some(name) if name.parse::<Variable>().is_ok() => {
                self.at += name.len() + 3;
                Some(Ok(Part::Variable(name)))
            }
            _ => {
                self.at = self.text.len();
                Some(Err(TemplateError::Syntax(start)))
            }
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fills_in_what_it_names() {
        let values = BTreeMap::from([("PORT".to_owned(), "80".to_owned())]);
        let render = |t| Template::parse(t).unwrap().render(&values);
        assert_eq!(render("a${PORT}b$${PORT}$$").unwrap(), "a80b${PORT}$");
        assert_eq!(
            render("${HOST}"),
            Err(TemplateError::Missing("HOST".into()))
        );
        for bad in ["$", "$PORT", "${", "${}", "${A-b}", "${A B}", "x$ "] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_gives_itself(text in ".*") {
            prop_assert_eq!(Template::literal(&text).render(&BTreeMap::new()).unwrap(), text);
        }
    }
}
