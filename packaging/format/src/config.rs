//! The fields of a release's config form: types, and what a value of each must look like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Variable;

/// A field of the form, and `${NAME}` in templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub name: Variable,
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// For people.
    pub label: String,
    /// A sentence of help.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Must have a value before an install.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// The value when the admin gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Of a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Of a secret: generated once with this many characters of A-Z, a-z and 0-9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<u32>,
    /// Of an int: the smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// Of an int: the largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// One line.
    String,
    /// Several lines.
    Text,
    /// `http://` or `https://` and a host.
    Url,
    /// A host name or an address.
    Host,
    /// 1 to 65535.
    Port,
    Int,
    /// `true` or `false`.
    Bool,
    Choice,
    /// Never printed, logged or returned.
    Secret,
    /// Content of a file, at most 1 MiB.
    File,
}

/// The most bytes of a value.
pub const MAX_VALUE: usize = 1 << 20;

/// Why a value does not fit its field. Never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: expected {expected}, found {found}")]
pub struct FieldError {
    pub name: String,
    pub kind: FieldKind,
    pub expected: String,
    pub found: String,
}

impl Field {
    /// Checks one value, and gives it in its normal form.
    pub fn check(&self, value: &str) -> Result<String, FieldError> {
        let trimmed = value.trim();
        let error = |expected: String| FieldError {
            name: self.name.to_string(),
            kind: self.kind,
            expected,
            found: if self.kind == FieldKind::Secret {
                format!("{} bytes", value.len())
            } else {
                format!("{:?}", value.chars().take(120).collect::<String>())
            },
        };
        if value.len() > MAX_VALUE || value.contains('\0') {
            return Err(error(format!("at most {MAX_VALUE} bytes without NUL")));
        }
        let one_line = |v: &str| !v.chars().any(char::is_control);
        match self.kind {
            FieldKind::String | FieldKind::Secret if !one_line(value) => {
                Err(error("one line".into()))
            }
            FieldKind::String | FieldKind::Secret | FieldKind::Text | FieldKind::File => {
                if self.required && value.is_empty() {
                    Err(error("a value".into()))
                } else {
                    Ok(value.to_owned())
                }
            }
            FieldKind::Url => {
                let rest = trimmed
                    .strip_prefix("https://")
                    .or_else(|| trimmed.strip_prefix("http://"));
                let host = rest.map(|r| r.split(['/', '?', '#']).next().unwrap_or_default());
                match host {
                    Some(host)
                        if authority(host) && one_line(trimmed) && !trimmed.contains(' ') =>
                    {
                        Ok(trimmed.to_owned())
                    }
                    _ => Err(error(
                        "http:// or https:// and a host, without user or password".into(),
                    )),
                }
            }
            FieldKind::Host => {
                if host_name(trimmed) || trimmed.parse::<std::net::IpAddr>().is_ok() {
                    Ok(trimmed.to_owned())
                } else {
                    Err(error("a host name or an address".into()))
                }
            }
            FieldKind::Port => match trimmed.parse::<u16>() {
                Ok(port) if port > 0 => Ok(port.to_string()),
                _ => Err(error("a port, 1 to 65535".into())),
            },
            FieldKind::Int => {
                let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
                match trimmed.parse::<i64>() {
                    Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
                    _ => Err(error(match (self.min, self.max) {
                        (None, None) => "a whole number".into(),
                        (Some(min), None) => format!("a whole number of at least {min}"),
                        (None, Some(max)) => format!("a whole number of at most {max}"),
                        (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
                    })),
                }
            }
            FieldKind::Bool => match trimmed {
                "true" | "false" => Ok(trimmed.to_owned()),
                _ => Err(error("true or false".into())),
            },
            FieldKind::Choice => {
                if self.choices.iter().any(|c| c == trimmed) {
                    Ok(trimmed.to_owned())
                } else {
                    Err(error(format!("one of {}", self.choices.join(", "))))
                }
            }
        }
    }

    /// The value that holds when the admin gave none: the default, else nothing for what is
    /// optional.
    pub fn fallback(&self) -> Option<String> {
        match (&self.default, self.required || self.generate.is_some()) {
            (Some(default), _) => Some(default.clone()),
            (None, false) => Some(String::new()),
            (None, true) => None,
        }
    }
}

/// What is found where nothing was given.
const NOTHING: &str = "none";

impl FieldError {
    /// Nothing was given; else something that does not fit.
    pub fn is_missing(&self) -> bool {
        self.found == NOTHING
    }
}

/// Every value of a form that fits, and everything that is wrong with the others.
pub fn resolve(
    fields: &[Field],
    given: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, Vec<FieldError>) {
    let mut values = BTreeMap::new();
    let mut errors = Vec::new();
    for field in fields {
        match given.get(field.name.as_str()) {
            Some(value) => match field.check(value) {
                Ok(value) => drop(values.insert(field.name.to_string(), value)),
                Err(error) => errors.push(error),
            },
            None => match field.fallback() {
                Some(value) => drop(values.insert(field.name.to_string(), value)),
                None => errors.push(FieldError {
                    name: field.name.to_string(),
                    kind: field.kind,
                    expected: "a value, it is required".into(),
                    found: NOTHING.into(),
                }),
            },
        }
    }
    (values, errors)
}

fn host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn authority(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else {
            return false;
        };
        return ip.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match text.split_once(':') {
        Some((host, port)) => host_name(host) && is_port(port),
        None => host_name(text),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FieldKind) -> Field {
        Field {
            name: "F".parse().unwrap(),
            kind,
            label: "F".into(),
            help: String::new(),
            required: true,
            default: None,
            choices: vec!["a".into(), "b".into()],
            generate: None,
            min: Some(1),
            max: Some(9),
        }
    }

    #[test]
    fn each_type_takes_its_values_and_no_others() {
        use FieldKind::{Bool, Choice, File, Host, Int, Port, Secret, String, Text, Url};
        for (kind, good, bad) in [
            (String, vec!["x", "a b"], vec!["", "a\nb", "a\0"]),
            (Text, vec!["a\nb"], vec![""]),
            (
                Url,
                vec!["https://a.b:8/x?y", "http://[::1]:80"],
                vec!["ftp://a", "a.b", "https://", "http://u:p@h", "http://a b"],
            ),
            (
                Host,
                vec!["a-b.c", "10.0.0.1", "::1"],
                vec!["", "-a", "a..b", "a/b"],
            ),
            (
                Port,
                vec!["1", "65535", " 80 "],
                vec!["0", "65536", "-1", "x"],
            ),
            (Int, vec!["1", "9"], vec!["0", "10", "1.5", ""]),
            (Bool, vec!["true", "false"], vec!["yes", "1", ""]),
            (Choice, vec!["a"], vec!["c", ""]),
            (Secret, vec!["s3cret"], vec!["", "a\nb"]),
            (File, vec!["a\nb"], vec!["a\0"]),
        ] {
            for value in good {
                assert!(field(kind).check(value).is_ok(), "{kind:?} {value:?}");
            }
            for value in bad {
                assert!(field(kind).check(value).is_err(), "{kind:?} {value:?}");
            }
        }
    }

    #[test]
    fn a_secret_is_never_in_the_error() {
        let error = field(FieldKind::Secret).check("hunter2\n").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn every_wrong_field_is_reported_at_once() {
        let mut fields = ["F", "G", "H"].map(|name| Field {
            name: name.parse().unwrap(),
            ..field(FieldKind::Port)
        });
        fields[1].kind = FieldKind::Int;
        let given = BTreeMap::from([
            ("G".to_owned(), "77".to_owned()),
            ("H".to_owned(), "80".to_owned()),
        ]);
        let (values, errors) = resolve(&fields, &given);
        let missing: Vec<bool> = errors.iter().map(FieldError::is_missing).collect();
        assert_eq!(missing, [true, false]);
        assert_eq!(values, BTreeMap::from([("H".to_owned(), "80".to_owned())]));
    }
}
