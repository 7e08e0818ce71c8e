//! Short forms to long forms, before files are layered, so that each rule of merging and each
//! reader knows one form only. Relative paths become relative to the vendor's folder.

use crate::compose::ports;
use crate::problem::{Problem, Report};
use crate::yaml::{Entry, Kind, Map, Node, Pos, join};

/// How Docker lets mounts below a bind mount be seen.
pub const PROPAGATION: &[&str] = &[
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// What relative paths are relative to, and where problems go.
pub struct Context<'a> {
    /// Folder of the Compose project, relative to the vendor's folder; empty for that itself.
    pub base: &'a str,
    pub report: &'a Report,
}

/// A whole Compose file.
pub fn file(root: &mut Map, cx: &Context) {
    each(root, "services", |name, node| {
        if let Kind::Map(map) = &mut node.kind {
            service(map, &join("services", name), cx);
        }
    });
    for section in ["networks", "volumes"] {
        each(root, section, |_, node| {
            if matches!(node.kind, Kind::Null) {
                node.kind = Kind::Map(Map::default());
            }
            if let Kind::Map(map) = &mut node.kind {
                pairs(map, "labels", "=");
            }
        });
    }
    for section in ["secrets", "configs"] {
        each(root, section, |_, node| {
            if let Kind::Map(map) = &mut node.kind {
                path(map.get_mut("file"), cx);
            }
        });
    }
}

/// One service.
pub fn service(map: &mut Map, key: &str, cx: &Context) {
    for name in ["environment", "labels", "sysctls"] {
        pairs(map, name, "=");
    }
    for name in ["dns", "dns_search", "dns_opt", "tmpfs"] {
        change(map, name, |node| {
            if matches!(node.kind, Kind::Scalar { .. }) {
                node.kind = Kind::Seq(vec![Node::at(&node.pos, node.kind.clone())]);
            }
        });
    }
    change(map, "extra_hosts", extra_hosts);
    change(map, "depends_on", |node| {
        keyed(node, |pos| {
            let started = Node::scalar(pos, "service_started");
            one(pos, "condition", started)
        });
    });
    change(map, "networks", |node| keyed(node, |_| Kind::Null));
    change(map, "ulimits", |node| {
        if let Kind::Map(limits) = &mut node.kind {
            for limit in &mut limits.entries {
                if matches!(limit.value.kind, Kind::Scalar { .. }) {
                    let value = Node::at(&limit.value.pos, limit.value.kind.clone());
                    let mut both = Map::default();
                    both.set("soft", value.clone());
                    both.set("hard", value);
                    limit.value.kind = Kind::Map(both);
                }
            }
        }
    });
    change(map, "extends", |node| {
        if matches!(node.kind, Kind::Scalar { .. }) {
            let name = Node::at(&node.pos, node.kind.clone());
            node.kind = one(&node.pos, "service", name);
        }
        if let Kind::Map(extends) = &mut node.kind {
            path(extends.get_mut("file"), cx);
        }
    });
    for name in ["secrets", "configs"] {
        items(map, name, |item| {
            if matches!(item.kind, Kind::Scalar { .. }) {
                let source = Node::at(&item.pos, item.kind.clone());
                item.kind = one(&item.pos, "source", source);
            }
        });
    }
    change(map, "env_file", |node| {
        if matches!(node.kind, Kind::Scalar { .. }) {
            node.kind = Kind::Seq(vec![Node::at(&node.pos, node.kind.clone())]);
        }
    });
    items(map, "env_file", |item| {
        if matches!(item.kind, Kind::Scalar { .. }) {
            let file = Node::at(&item.pos, item.kind.clone());
            item.kind = one(&item.pos, "path", file);
        }
        if let Kind::Map(entry) = &mut item.kind {
            path(entry.get_mut("path"), cx);
        }
    });
    expand_ports(map, key, cx);
    let key = join(key, "volumes");
    items(map, "volumes", |item| volume(item, &key, cx));
}

/// `[SOURCE:]TARGET[:MODE]`.
fn volume(item: &mut Node, key: &str, cx: &Context) {
    if let Some(text) = item.as_text().map(str::to_owned) {
        let pos = item.pos.clone();
        let parts = split_colons(&text);
        let (source, target, mode) = match parts.as_slice() {
            [target] => ("", *target, ""),
            [source, target] => (*source, *target, ""),
            [source, target, mode] => (*source, *target, *mode),
            _ => {
                let problem = Problem::new(
                    &pos,
                    key,
                    format!("expected [SOURCE:]TARGET[:MODE], found {text:?}"),
                    "use the long form",
                );
                cx.report.problem(problem);
                return;
            }
        };
        let bind = is_path(source);
        let mut map = Map::default();
        let set = |map: &mut Map, name: &str, value: &str| map.set(name, Node::scalar(&pos, value));
        set(&mut map, "type", if bind { "bind" } else { "volume" });
        if !source.is_empty() {
            set(&mut map, "source", source);
        }
        set(&mut map, "target", target);
        let mut inner = Map::default();
        for word in mode.split(',').filter(|w| !w.is_empty()) {
            match word {
                "ro" | "readonly" => set(&mut map, "read_only", "true"),
                "rw" => {}
                "z" | "Z" if bind && !source.starts_with('.') => {
                    set(&mut inner, "selinux", word);
                }
                "z" | "Z" => cx.report.warning(Problem::new(
                    &pos,
                    key,
                    format!("Berth labels what the product brings, without {word}"),
                    "it is left out",
                )),
                "nocopy" => set(&mut inner, "nocopy", "true"),
                "cached" | "delegated" | "consistent" => set(&mut map, "consistency", word),
                _ if bind && PROPAGATION.contains(&word) => set(&mut inner, "propagation", word),
                _ => cx.report.problem(Problem::new(
                    &pos,
                    key,
                    format!("{word:?} is no mode of a mount"),
                    "write ro or rw",
                )),
            }
        }
        if !inner.entries.is_empty() {
            let kind = if bind { "bind" } else { "volume" };
            map.set(kind, Node::at(&pos, Kind::Map(inner)));
        }
        item.kind = Kind::Map(map);
    }
    if let Kind::Map(map) = &mut item.kind
        && map.get("type").and_then(Node::as_text) == Some("bind")
    {
        path(map.get_mut("source"), cx);
    }
}

fn expand_ports(map: &mut Map, key: &str, cx: &Context) {
    let key = join(key, "ports");
    if let Some(Kind::Seq(list)) = map.get_mut("ports").map(|n| &mut n.kind) {
        let mut long = Vec::with_capacity(list.len());
        for item in std::mem::take(list) {
            match item.as_text() {
                Some(text) => match ports::short_form(text) {
                    Ok(all) => long.extend(all.into_iter().map(|p| p.node(&item.pos))),
                    Err(error) => cx.report.problem(Problem::new(
                        &item.pos,
                        &key,
                        error,
                        "write [ADDRESS:][PUBLISHED:]TARGET[/PROTOCOL]",
                    )),
                },
                None => long.push(item),
            }
        }
        *list = long;
    }
}

/// Whether Compose takes the source of a short form for a path. A config field there can only
/// be a path: a volume's name must be known to all.
pub fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~']) || source.starts_with("${")
}

/// Splits at colons outside of `${…}`.
pub fn split_colons(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_u32);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A relative path as seen from the vendor's folder, `./` first; others as they are.
pub fn from_root(base: &str, path: &str) -> String {
    if path.starts_with(['/', '~']) || path.starts_with("${") {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("./{}", parts.join("/"))
}

fn path(node: Option<&mut Node>, cx: &Context) {
    if let Some(Kind::Scalar { text, .. }) = node.map(|n| &mut n.kind) {
        *text = from_root(cx.base, text);
    }
}

fn each(root: &mut Map, section: &str, mut f: impl FnMut(&str, &mut Node)) {
    if let Some(Kind::Map(map)) = root.get_mut(section).map(|n| &mut n.kind) {
        for entry in &mut map.entries {
            f(&entry.key, &mut entry.value);
        }
    }
}

fn change(map: &mut Map, name: &str, f: impl FnOnce(&mut Node)) {
    if let Some(node) = map.get_mut(name) {
        f(node);
    }
}

fn items(map: &mut Map, name: &str, f: impl FnMut(&mut Node)) {
    if let Some(Kind::Seq(items)) = map.get_mut(name).map(|n| &mut n.kind) {
        items.iter_mut().for_each(f);
    }
}

fn one(pos: &Pos, key: &str, value: Node) -> Kind {
    let entry = Entry {
        key: key.to_owned(),
        pos: pos.clone(),
        value,
    };
    Kind::Map(Map {
        entries: vec![entry],
    })
}

/// `[A=1, B]` to `{A: 1, B: }`; of equal names the last holds, as in Compose.
fn pairs(map: &mut Map, name: &str, separator: &str) {
    change(map, name, |node| {
        let Kind::Seq(list) = &node.kind else { return };
        let mut out = Map::default();
        for item in list {
            let Some(text) = item.as_text() else { return };
            let (key, value) = match text.split_once(separator) {
                Some((key, value)) => (key, Node::scalar(&item.pos, value)),
                None => (text, Node::at(&item.pos, Kind::Null)),
            };
            out.set(&key.replace("$$", "$"), value);
        }
        node.kind = Kind::Map(out);
    });
}

/// `[a, b]` to `{a: …, b: …}`.
fn keyed(node: &mut Node, value: impl Fn(&Pos) -> Kind) {
    let Kind::Seq(list) = &node.kind else { return };
    let mut out = Map::default();
    for item in list {
        let Some(text) = item.as_text() else { return };
        out.set(text, Node::at(&item.pos, value(&item.pos)));
    }
    node.kind = Kind::Map(out);
}

/// `{host: address}`, `host=address` to `host:address`.
fn extra_hosts(node: &mut Node) {
    let mut out = Vec::new();
    match &node.kind {
        Kind::Map(map) => {
            for entry in &map.entries {
                let addresses = match &entry.value.kind {
                    Kind::Seq(items) => items.iter().collect(),
                    _ => vec![&entry.value],
                };
                for address in addresses {
                    let Some(text) = address.as_text() else {
                        return;
                    };
                    out.push(Node::scalar(&address.pos, format!("{}:{text}", entry.key)));
                }
            }
        }
        Kind::Seq(items) => {
            for item in items {
                let Some(text) = item.as_text() else { return };
                let equals = text.find('=').filter(|at| !text[..*at].contains(':'));
                let mut text = text.to_owned();
                if let Some(at) = equals {
                    text.replace_range(at..=at, ":");
                }
                out.push(Node::scalar(&item.pos, text));
            }
        }
        _ => return,
    }
    node.kind = Kind::Seq(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn normal(yaml: &str) -> Node {
        let report = Report::default();
        let mut node = yaml::parse("c", yaml).unwrap();
        let Kind::Map(map) = &mut node.kind else {
            panic!()
        };
        let cx = Context {
            base: "docker",
            report: &report,
        };
        service(map, "services.x", &cx);
        assert!(report.is_ok(), "{:?}", report.into_parts());
        node
    }

    #[test]
    fn short_and_long_forms_come_out_the_same() {
        for (short, long) in [
            (
                "environment: [A=1, B, 'C=x=y']",
                "environment: {A: '1', B: , C: x=y}",
            ),
            (
                "depends_on: [a]",
                "depends_on: {a: {condition: service_started}}",
            ),
            ("networks: [a, b]", "networks: {a: , b: }"),
            (
                "ulimits: {nofile: 5}",
                "ulimits: {nofile: {soft: 5, hard: 5}}",
            ),
            (
                "extra_hosts: {a: 1.2.3.4, b: ['::1']}",
                "extra_hosts: ['a:1.2.3.4', 'b=::1']",
            ),
            (
                "volumes: ['data:/d']",
                "volumes: [{type: volume, source: data, target: /d}]",
            ),
            (
                "volumes: ['./f:/d:ro']",
                "volumes: [{type: bind, source: ./f, target: /d, read_only: true}]",
            ),
            ("volumes: [/d]", "volumes: [{type: volume, target: /d}]"),
            (
                "volumes: ['/h:/d:rshared']",
                "volumes: [{type: bind, source: /h, target: /d, bind: {propagation: rshared}}]",
            ),
            ("secrets: [s]", "secrets: [{source: s}]"),
            ("env_file: a.env", "env_file: [{path: ./a.env}]"),
            ("extends: a", "extends: {service: a}"),
            ("dns: 1.1.1.1", "dns: [1.1.1.1]"),
        ] {
            assert_eq!(normal(short), normal(long), "{short}");
        }
    }

    #[test]
    fn paths_are_seen_from_the_vendors_folder() {
        for (base, path, expected) in [
            ("", "./a/../b", "./b"),
            ("docker", "../x", "./x"),
            ("docker", "../../x", "./../x"),
            ("docker", "x/", "./docker/x"),
            ("docker", "/abs", "/abs"),
            ("docker", "${DIR}", "${DIR}"),
            ("", ".", "./"),
        ] {
            assert_eq!(from_root(base, path), expected, "{base} {path}");
        }
    }
}
