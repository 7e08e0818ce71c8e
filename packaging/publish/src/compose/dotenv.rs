//! `.env` and `env_file`: Compose's dialect, quotes, `export`, comments and all.

use crate::compose::interpolate::Variables;
use crate::problem::{Problem, Report};
use crate::yaml::Pos;

/// One line of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    /// Source of a template. `None`: only the name stands there, its value comes from outside.
    pub value: Option<String>,
    pub pos: Pos,
}

/// Reads a file. Values see the variables and what stands above them.
pub fn parse(file: &str, text: &str, variables: &Variables, report: &Report) -> Vec<Assignment> {
    let mut known = variables.clone();
    let mut out = Vec::new();
    let mut cursor = Cursor {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text),
        line: 1,
    };
    while let Some((line, head)) = cursor.line() {
        let pos = Pos {
            line,
            column: 1,
            ..Pos::file(file)
        };
        let head = head.trim_start();
        if head.is_empty() || head.starts_with('#') {
            continue;
        }
        let head = head
            .strip_prefix("export")
            .filter(|r| r.starts_with([' ', '\t']))
            .map_or(head, str::trim_start);
        let end = head.find(['=', ':']).unwrap_or(head.len());
        let name = head[..end].trim();
        let name_end = name.find(" #").map_or(name, |at| name[..at].trim());
        if !is_name(name_end) || (name_end != name && end < head.len()) {
            report.problem(Problem::new(
                &pos,
                "",
                format!("{name:?} is no name of a variable"),
                "write NAME=value",
            ));
            continue;
        }
        if end == head.len() {
            out.push(Assignment {
                name: name_end.to_owned(),
                value: None,
                pos,
            });
            continue;
        }
        let raw = head[end + 1..].trim_start();
        let value = match raw.chars().next() {
            Some(quote @ ('"' | '\'')) => match cursor.quoted(&raw[1..], quote) {
                Some(body) if quote == '\'' => Ok(body.replace('$', "$$")),
                Some(body) => known.interpolate(&unescape(&body)),
                None => {
                    report.problem(Problem::new(
                        &pos,
                        name,
                        format!("the value opens with {quote} and never closes"),
                        "close it",
                    ));
                    break;
                }
            },
            _ => known.interpolate(&uncomment(raw).replace("\\$", "$$")),
        };
        match value {
            Ok(value) => {
                known.set(name, value.clone());
                out.push(Assignment {
                    name: name.to_owned(),
                    value: Some(value),
                    pos,
                });
            }
            Err(w) => report.problem(Problem::new(&pos, name, w.what, w.instead)),
        }
    }
    out
}

/// Reads a file of `format: raw`: everything after the first `=` is the value.
pub fn parse_raw(file: &str, text: &str, report: &Report) -> Vec<Assignment> {
    let mut out = Vec::new();
    for (number, line) in (1_u32..).zip(text.lines()) {
        let pos = Pos {
            line: number,
            column: 1,
            ..Pos::file(file)
        };
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.replace('$', "$$"))),
            None => (line, None),
        };
        if is_name(name.trim()) {
            let name = name.trim().to_owned();
            out.push(Assignment { name, value, pos });
        } else {
            let what = format!("{name:?} is no name of a variable");
            report.problem(Problem::new(&pos, "", what, "write NAME=value"));
        }
    }
    out
}

struct Cursor<'a> {
    rest: &'a str,
    line: u32,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Option<(u32, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        let number = self.line;
        self.line += 1;
        Some((number, line.strip_suffix('\r').unwrap_or(line)))
    }

    /// The body of a quoted value that may go on over lines.
    fn quoted(&mut self, first: &str, quote: char) -> Option<String> {
        let mut body = String::new();
        let mut line = first;
        loop {
            let mut escaped = false;
            for (at, c) in line.char_indices() {
                if c == quote && !escaped {
                    body.push_str(&line[..at]);
                    return Some(body);
                }
                escaped = c == '\\' && !escaped && quote == '"';
            }
            body.push_str(line);
            body.push('\n');
            line = self.line()?.1;
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Without the comment that a `#` after a space begins.
fn uncomment(text: &str) -> &str {
    let end = if text.starts_with('#') {
        Some(0)
    } else {
        [" #", "\t#"].iter().filter_map(|m| text.find(m)).min()
    };
    text[..end.unwrap_or(text.len())].trim_end()
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            // Compose reads `\$` as its own `$$`.
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\' | '\'')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Option<String>)> {
        let report = Report::default();
        let mut variables = Variables::default();
        variables.set("HOST", "db".into());
        let all = parse(".env", text, &variables, &report);
        assert!(report.is_ok(), "{:?}", report.into_parts().0);
        all.into_iter().map(|a| (a.name, a.value)).collect()
    }

    #[test]
    fn the_dialect_of_compose() {
        for (text, name, value) in [
            ("A=b", "A", "b"),
            ("export A = b # c", "A", "b"),
            ("A=b#c", "A", "b#c"),
            ("A='$x # y'", "A", "$$x # y"),
            ("A=\"x\\n\\\"y\\\" \\$z\" # c", "A", "x\n\"y\" $$z"),
            ("A=\"two\nlines\"", "A", "two\nlines"),
            ("A=x\r\n", "A", "x"),
            ("A=", "A", ""),
            ("A: yaml", "A", "yaml"),
            ("A=postgres://${HOST}:${NO:-5}/x", "A", "postgres://db:5/x"),
            ("# c\n\nA=x", "A", "x"),
            ("A=#c", "A", ""),
        ] {
            let expected = (name.to_owned(), Some(value.to_owned()));
            assert_eq!(read(text), [expected], "{text:?}");
        }
        assert_eq!(read("A=1\nB=${A}2")[1].1.as_deref(), Some("12"));
        assert_eq!(read("A"), [("A".to_owned(), None)]);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let report = Report::default();
        parse(
            ".env",
            "A=1\n2B=1\nC=\"open\n",
            &Variables::default(),
            &report,
        );
        let (problems, _) = report.into_parts();
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn raw_takes_everything_as_it_is() {
        let report = Report::default();
        let all = parse_raw("f", "A=\"$x\" # y\n", &report);
        assert_eq!(all[0].value.as_deref(), Some("\"$$x\" # y"));
    }
}
