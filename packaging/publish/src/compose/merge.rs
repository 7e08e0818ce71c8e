//! Layering: maps merge, lists append, single values are replaced, and the exceptions to that.
//!
//! Rules: <https://github.com/compose-spec/compose-spec/blob/main/13-merge.md>.

use crate::problem::{Problem, Report};
use crate::yaml::{Entry, Kind, Map, Node, Tag, join};

/// Lays `over` over `base`. Both are in long form.
pub fn merge(base: Node, over: Node, report: &Report) -> Node {
    node(base, over, &mut Vec::new(), report)
}

/// Lays one service over another.
pub fn merge_service(base: Map, over: Map, name: &str, report: &Report) -> Map {
    let mut path = vec!["services".to_owned(), name.to_owned()];
    maps(base, over, &mut path, report)
}

/// Removes what `!reset` marks where there is nothing to reset.
pub fn settle(mut root: Node) -> Node {
    root.tag = Tag::None;
    match &mut root.kind {
        Kind::Map(map) => {
            map.entries.retain(|e| e.value.tag != Tag::Reset);
            for entry in &mut map.entries {
                let value = std::mem::replace(&mut entry.value, Node::at(&entry.pos, Kind::Null));
                entry.value = settle(value);
            }
        }
        Kind::Seq(items) => {
            let all = std::mem::take(items);
            items.extend(all.into_iter().filter(|i| i.tag != Tag::Reset).map(settle));
        }
        _ => {}
    }
    root
}

/// Refuses tags in and below items of lists: an item has no name by which Compose could find what
/// a tag takes away.
pub fn refuse_tags_in_lists(root: &Node, report: &Report) {
    tags(root, "", false, report);
}

fn tags(node: &Node, key: &str, in_list: bool, report: &Report) {
    if in_list && node.tag != Tag::None {
        report.problem(Problem::new(
            &node.pos,
            key,
            "a tag inside of a list has no effect that one could rely on",
            "put !reset or !override before the whole list",
        ));
    }
    match &node.kind {
        Kind::Map(map) => {
            for entry in &map.entries {
                tags(&entry.value, &join(key, &entry.key), in_list, report);
            }
        }
        Kind::Seq(items) => {
            for (n, item) in items.iter().enumerate() {
                tags(item, &format!("{key}[{n}]"), true, report);
            }
        }
        Kind::Null | Kind::Scalar { .. } => {}
    }
}

fn node(base: Node, over: Node, path: &mut Vec<String>, report: &Report) -> Node {
    if over.tag == Tag::Override || replaced(path) {
        return settle(over);
    }
    let pos = over.pos.clone();
    match (base.kind, over.kind) {
        (Kind::Map(mut lower), Kind::Map(upper)) => {
            // The options of one driver mean nothing to another.
            if is(path, &["services", "*", "logging"])
                && upper.get("driver").is_some()
                && upper.get("driver") != lower.get("driver")
            {
                lower.remove("options");
            }
            Node::at(&base.pos, Kind::Map(maps(lower, upper, path, report)))
        }
        (Kind::Seq(lower), Kind::Seq(upper)) => {
            Node::at(&base.pos, Kind::Seq(lists(lower, upper, path)))
        }
        // Nothing changes nothing, as in compose-go's `mergeYaml`.
        (lower, Kind::Null) if !is(path, &["services", "*", "environment", "*"]) => {
            Node::at(&base.pos, lower)
        }
        (Kind::Scalar { .. } | Kind::Null, upper @ (Kind::Scalar { .. } | Kind::Null))
        | (Kind::Null, upper) => settle(Node::at(&pos, upper)),
        (lower, upper) => {
            let (lower, upper) = (Node::at(&base.pos, lower), Node::at(&pos, upper));
            report.problem(Problem::new(
                &pos,
                &path.join("."),
                format!(
                    "{} cannot be laid over {} ({}:{})",
                    upper.noun(),
                    lower.noun(),
                    base.pos.file,
                    base.pos.line
                ),
                "use the same form, or !override",
            ));
            settle(upper)
        }
    }
}

fn maps(mut base: Map, over: Map, path: &mut Vec<String>, report: &Report) -> Map {
    for entry in over.entries {
        let Entry { key, pos, value } = entry;
        if value.tag == Tag::Reset {
            base.remove(&key);
            continue;
        }
        let at = base.entries.iter().position(|e| e.key == key);
        match at {
            Some(at) => {
                let lower =
                    std::mem::replace(&mut base.entries[at].value, Node::at(&pos, Kind::Null));
                path.push(key);
                base.entries[at].value = node(lower, value, path, report);
                path.pop();
            }
            None => base.entries.push(Entry {
                key,
                pos,
                value: settle(value),
            }),
        }
    }
    base
}

fn lists(base: Vec<Node>, over: Vec<Node>, path: &[String]) -> Vec<Node> {
    let name = path.last().map_or("", String::as_str);
    let mut out: Vec<Node> = Vec::new();
    for item in base.into_iter().chain(over.into_iter().map(settle)) {
        let id = identity(name, &item);
        match out
            .iter_mut()
            .find(|old| id.is_some() && identity(name, old) == id)
        {
            Some(old) => *old = item,
            None => out.push(item),
        }
    }
    out
}

/// What makes two items of a list the same: the later one then replaces the earlier.
fn identity(list: &str, item: &Node) -> Option<String> {
    let field = |name: &str| item.get(name).and_then(Node::as_text).unwrap_or_default();
    match (list, &item.kind) {
        ("ports", Kind::Map(_)) => Some(format!(
            "{}:{}:{}/{}",
            field("host_ip"),
            field("published"),
            field("target"),
            if field("protocol").is_empty() {
                "tcp"
            } else {
                field("protocol")
            }
        )),
        ("volumes", Kind::Map(_)) => Some(field("target").to_owned()),
        ("secrets" | "configs", Kind::Map(_)) => {
            let target = field("target");
            Some(
                if target.is_empty() {
                    field("source")
                } else {
                    target
                }
                .to_owned(),
            )
        }
        ("env_file", Kind::Map(_)) => Some(field("path").to_owned()),
        ("devices", Kind::Scalar { text, .. }) => {
            let source = text.split(':').next();
            text.split(':').nth(1).or(source).map(str::to_owned)
        }
        ("devices", Kind::Map(_)) => [field("target"), field("source")]
            .into_iter()
            .find(|path| !path.is_empty())
            .map(str::to_owned),
        ("tmpfs", Kind::Scalar { text, .. }) => text.split(':').next().map(str::to_owned),
        (_, Kind::Scalar { text, .. }) => Some(text.clone()),
        _ => None,
    }
}

fn replaced(path: &[String]) -> bool {
    is(path, &["services", "*", "command"])
        || is(path, &["services", "*", "entrypoint"])
        || is(path, &["services", "*", "healthcheck", "test"])
        || is(path, &["services", "*", "ulimits", "*"])
        || is(path, &["networks", "*", "ipam", "config"])
}

fn is(path: &[String], pattern: &[&str]) -> bool {
    path.len() == pattern.len() && path.iter().zip(pattern).all(|(a, b)| *b == "*" || a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::normalize::{self, Context};
    use crate::yaml;
    use proptest::prelude::*;

    fn service(text: &str, report: &Report) -> Node {
        let text = format!("services:\n  x: {{{text}}}\n");
        let mut root = yaml::parse("c", &text).unwrap();
        if let Kind::Map(map) = &mut root.kind {
            normalize::file(map, &Context { base: "", report });
        }
        root
    }

    fn layered(base: &str, over: &str) -> Node {
        let report = Report::default();
        let node = merge(service(base, &report), service(over, &report), &report);
        assert!(report.is_ok(), "{:?}", report.into_parts());
        node
    }

    #[test]
    fn each_rule_of_layering() {
        let report = Report::default();
        for (base, over, expected) in [
            ("image: a, user: b", "image: c", "image: c, user: b"),
            (
                "environment: [A=1, B=2]",
                "environment: {B: 3}",
                "environment: {A: '1', B: 3}",
            ),
            ("command: [a, b]", "command: [c]", "command: [c]"),
            ("entrypoint: a", "entrypoint: [c]", "entrypoint: [c]"),
            (
                "healthcheck: {test: [a], retries: 1}",
                "healthcheck: {test: [b]}",
                "healthcheck: {test: [b], retries: 1}",
            ),
            ("dns: 1.1.1.1", "dns: [2.2.2.2]", "dns: [1.1.1.1, 2.2.2.2]"),
            (
                "ports: ['80:80']",
                "ports: ['80:80', '81:80']",
                "ports: ['80:80', '81:80']",
            ),
            (
                "volumes: ['a:/x', 'b:/y']",
                "volumes: ['c:/x']",
                "volumes: ['c:/x', 'b:/y']",
            ),
            ("cap_add: [A]", "cap_add: [A, B]", "cap_add: [A, B]"),
            (
                "devices: [/dev/a, '/dev/b:/dev/c:r']",
                "devices: [{source: /dev/a, permissions: r}, {source: /dev/d, target: /dev/c}]",
                "devices: [{source: /dev/a, permissions: r}, {source: /dev/d, target: /dev/c}]",
            ),
            ("ports: ['80:80']", "ports: !reset []", ""),
            (
                "ports: ['80:80']",
                "ports: !override ['90:80']",
                "ports: ['90:80']",
            ),
            (
                "environment: {A: 1, B: 2}",
                "environment: {A: !reset null}",
                "environment: {B: 2}",
            ),
            (
                "depends_on: [a]",
                "depends_on: {b: {condition: service_healthy}}",
                "depends_on: {a: {condition: service_started}, b: {condition: service_healthy}}",
            ),
            (
                "logging: {driver: a, options: {x: y}}",
                "logging: {driver: b}",
                "logging: {driver: b}",
            ),
            (
                "logging: {driver: a, options: {x: y}}",
                "logging: {options: {z: y}}",
                "logging: {driver: a, options: {x: y, z: y}}",
            ),
            (
                "ulimits: {nofile: 1}",
                "ulimits: {nofile: {soft: 2, hard: 3}}",
                "ulimits: {nofile: {soft: 2, hard: 3}}",
            ),
            ("image: a", "image: ", "image: a"),
            ("image: a", "command: !reset x", "image: a"),
        ] {
            assert_eq!(
                layered(base, over),
                service(expected, &report),
                "{base} + {over}"
            );
        }
    }

    #[test]
    fn forms_that_do_not_fit_are_a_problem() {
        let report = Report::default();
        let base = service("labels: {a: b}", &report);
        merge(base, service("labels: x", &report), &report);
        let (problems, _) = report.into_parts();
        assert_eq!(problems[0].key, "services.x.labels");
    }

    proptest! {
        #[test]
        fn layering_over_nothing_and_over_itself_changes_nothing(
            text in proptest::sample::select(vec![
                "environment: [A=1]", "ports: ['80:80', '81-82:81-82/udp']", "volumes: ['a:/x']",
                "command: [a]", "depends_on: [b]", "dns: [1.1.1.1]", "secrets: [a]", "env_file: [a, b]",
            ])
        ) {
            let report = Report::default();
            let one = service(text, &report);
            prop_assert_eq!(layered(text, text), one.clone());
            prop_assert_eq!(layered("", text), one.clone());
            prop_assert_eq!(layered(text, ""), one);
        }
    }
}
