//! `${VAR...}` in all of Compose's forms, and `.env` files.
//!
//! The result is always the source of a [`berth_format::Template`]: the vendor's own variables
//! are filled in, config fields of berth.yaml stay as `${NAME}`, `$$` stays `$$`. The
//! environment of the process is never looked at, so a build gives the same on every machine.
//!
//! Forms: <https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md>.

use std::collections::BTreeMap;

use berth_format::config::Field;

use crate::problem::{Problem, Report};
use crate::yaml::{Node, Pos};

/// The deepest nesting of `${A:-${B:-…}}`.
const MAX_DEPTH: usize = 16;

/// What `${NAME}` may stand for.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Sources of templates, by name.
    values: BTreeMap<String, String>,
    /// Fields of the config form: known only at the customer.
    fields: BTreeMap<String, Field>,
}

/// Why a text cannot be interpolated.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub instead: String,
}

fn wrong<T>(what: impl Into<String>, instead: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        what: what.into(),
        instead: instead.into(),
    })
}

impl Variables {
    /// With fields of the config form, and no values yet.
    pub fn new(fields: &[Field]) -> Self {
        let fields = fields.iter().map(|f| (f.name.to_string(), f.clone()));
        Self {
            values: BTreeMap::new(),
            fields: fields.collect(),
        }
    }

    /// Sets a value, given as the source of a template.
    pub fn set(&mut self, name: &str, source: String) {
        self.values.insert(name.to_owned(), source);
    }

    /// Sets a value unless it is there.
    pub fn set_default(&mut self, name: &str, source: String) {
        self.values.entry(name.to_owned()).or_insert(source);
    }

    /// Whether it is a field of the config form.
    pub fn is_field(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// What `${NAME}` gives, as the source of a template.
    pub fn get(&self, name: &str) -> Option<String> {
        if self.is_field(name) {
            return Some(format!("${{{name}}}"));
        }
        self.values.get(name).cloned()
    }

    /// Interpolates one text.
    pub fn interpolate(&self, text: &str) -> Result<String, Wrong> {
        self.expand(text, 0)
    }

    /// Interpolates every scalar of a tree.
    pub fn interpolate_tree(&self, root: &mut Node, key: &str, report: &Report) {
        root.map_text(key, &mut |key: &str, pos: &Pos, text: &mut String| {
            if !text.contains('$') {
                return;
            }
            match self.interpolate(text) {
                Ok(new) => *text = new,
                Err(w) => {
                    report.problem(Problem::new(pos, key, w.what, w.instead));
                    *text = text.replace('$', "$$");
                }
            }
        });
    }

    fn expand(&self, text: &str, depth: usize) -> Result<String, Wrong> {
        if depth > MAX_DEPTH {
            return wrong(format!("${{…}} nested more than {MAX_DEPTH} deep"), "");
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push_str("$$");
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let Some(end) = closing(after) else {
                    return wrong(
                        format!("${{ without }} in {text:?}"),
                        "close it, or write $$ for a dollar",
                    );
                };
                out.push_str(&self.braced(&after[..end], depth)?);
                rest = &after[end + 1..];
            } else {
                let (name, after) = split_name(rest);
                if name.is_empty() {
                    return wrong(format!("a lone $ in {text:?}"), "write $$ for a dollar");
                }
                out.push_str(&self.value(name)?);
                rest = after;
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, name: &str) -> Result<String, Wrong> {
        match self.get(name) {
            Some(value) => Ok(value),
            None => wrong(
                format!("${{{name}}} has no value"),
                format!(
                    "make {name} a field under `config:` in berth.yaml, give it a value under `variables:` or in .env, or write ${{{name}-}} for nothing"
                ),
            ),
        }
    }

    fn braced(&self, inner: &str, depth: usize) -> Result<String, Wrong> {
        let (name, rest) = split_name(inner);
        if name.is_empty() {
            return wrong(
                format!("${{{inner}}} names no variable"),
                "write $$ for a dollar",
            );
        }
        if rest.is_empty() {
            return self.value(name);
        }
        let (colon, form) = match rest.strip_prefix(':') {
            Some(form) => (true, form),
            None => (false, rest),
        };
        let Some(sign) = form.chars().next().filter(|c| "-?+".contains(*c)) else {
            return wrong(
                format!("${{{inner}}} is none of Compose's forms"),
                "they are ${A}, ${A:-x}, ${A-x}, ${A:?x}, ${A?x}, ${A:+x} and ${A+x}",
            );
        };
        let argument = &form[1..];
        if let Some(field) = self.fields.get(name) {
            return self.field(field, sign, argument, depth);
        }
        let value = self.values.get(name).filter(|v| !colon || !v.is_empty());
        match (sign, value) {
            ('-' | '?', Some(value)) => Ok(value.clone()),
            ('-', None) | ('+', Some(_)) => self.expand(argument, depth + 1),
            ('?', None) => wrong(
                format!("{name} has no value: {argument}"),
                format!(
                    "set it under `variables:` in berth.yaml or in .env, or make {name} a field under `config:`"
                ),
            ),
            _ => Ok(String::new()),
        }
    }

    /// Forms on a field are fine where berth.yaml says the same.
    fn field(
        &self,
        field: &Field,
        sign: char,
        argument: &str,
        depth: usize,
    ) -> Result<String, Wrong> {
        let name = &field.name;
        let place = format!("${{{name}}}");
        match sign {
            '-' => {
                let fallback = self.expand(argument, depth + 1)?;
                let said = field.default.as_deref().unwrap_or_default();
                if fallback == said.replace('$', "$$") && !field.required {
                    return Ok(place);
                }
                wrong(
                    format!(
                        "{name} is a config field, and its default here is not the one of berth.yaml"
                    ),
                    format!(
                        "write {place}, or give the field `default: {argument:?}` and no `required`"
                    ),
                )
            }
            '?' if field.required || field.generate.is_some() => Ok(place),
            '?' => wrong(
                format!("{name} is a config field that berth.yaml does not require"),
                format!("write {place}, or give the field `required: true`"),
            ),
            _ => wrong(
                format!(
                    "{name} is a config field: whether it has a value is not known when the release is built"
                ),
                format!("write {place}, and let the service decide"),
            ),
        }
    }
}

/// One `${NAME…}` of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub name: String,
    /// `-`, `?` or `+`, with or without a colon before it.
    pub sign: Option<char>,
    pub argument: String,
}

/// All variables of a text, those in defaults of others included.
pub fn uses(text: &str) -> Vec<Use> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{').and_then(|r| Some(&r[..closing(r)?]));
        let (name, form) = split_name(braced.unwrap_or(rest));
        if name.is_empty() {
            continue;
        }
        let form = if braced.is_some() {
            form.trim_start_matches(':')
        } else {
            ""
        };
        let sign = form.chars().next().filter(|c| "-?+".contains(*c));
        let argument = sign.map_or("", |_| &form[1..]).to_owned();
        let name = name.to_owned();
        out.push(Use {
            name,
            sign,
            argument,
        });
        // What is nested in the argument is found by going on behind the name.
    }
    out
}

/// Where the brace that was opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn split_name(text: &str) -> (&str, &str) {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    text.split_at(if starts { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_format::Template;
    use proptest::prelude::*;

    fn variables() -> Variables {
        let field = |json: &str| serde_json::from_str::<Field>(json).unwrap();
        let mut variables = Variables::new(&[
            field(r#"{"name":"URL","type":"url","label":"U","required":true}"#),
            field(r#"{"name":"PORT","type":"port","label":"P","default":"80"}"#),
        ]);
        for (name, value) in [("A", "a"), ("EMPTY", ""), ("MONEY", "$$5"), ("PORT", "1")] {
            variables.set(name, value.to_owned());
        }
        variables
    }

    #[test]
    fn every_form_of_compose() {
        for (text, expected) in [
            ("x", "x"),
            ("$A-${A}", "a-a"),
            ("$$A $${A}", "$$A $${A}"),
            (
                "${A:-b}${A-b}${EMPTY:-b}[${EMPTY-b}]${NO:-b}${NO-b}",
                "aab[]bb",
            ),
            (
                "${A:+b}${A+b}[${EMPTY:+b}]${EMPTY+b}[${NO:+b}${NO+b}]",
                "bb[]b[]",
            ),
            ("${A:?e}${A?e}[${EMPTY?e}]", "aa[]"),
            ("${NO:-${NADA-${A}}}", "a"),
            ("${NO:-{\"a\": 1}", "{\"a\": 1"),
            ("${MONEY}", "$$5"),
            ("$URL/${URL}", "${URL}/${URL}"),
            (
                "${URL:?needed}${PORT:-80}${PORT-80}",
                "${URL}${PORT}${PORT}",
            ),
            ("${NO:-}", ""),
        ] {
            assert_eq!(variables().interpolate(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_to_do() {
        for (text, what, instead) in [
            ("$NO", "has no value", "`config:`"),
            ("${NO:?set me}", "set me", "variables"),
            ("${EMPTY:?set me}", "set me", "variables"),
            ("a$", "lone $", "$$"),
            ("$1", "lone $", "$$"),
            ("${A", "without }", "close"),
            ("${}", "names no variable", "$$"),
            ("${A!x}", "none of", "${A:-x}"),
            ("${PORT:-8080}", "default", "${PORT}"),
            ("${PORT:?x}", "not require", "required: true"),
            ("${URL:-x}", "default", "${URL}"),
            ("${URL:+x}", "not known", "${URL}"),
        ] {
            let wrong = variables().interpolate(text).unwrap_err();
            assert!(wrong.what.contains(what), "{text}: {wrong:?}");
            assert!(wrong.instead.contains(instead), "{text}: {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_a_template(text in "[a-zA-Z${}:?+ -]{0,40}") {
            if let Ok(source) = variables().interpolate(&text) {
                prop_assert!(Template::parse(&source).is_ok(), "{source}");
            }
        }
    }
}
