//! YAML as a tree that remembers where everything stood.
//!
//! Scalars stay text, so that `yes`, `0440` and `1.10` mean what the reader of the key wants.
//! Anchors, aliases and merge keys (`<<`) are resolved; a key that stands twice is an error; of
//! tags only Compose's `!reset` and `!override` and YAML's own core tags are known. Aliases
//! count as often as they are used, so a small file cannot become a large tree.

use std::collections::HashMap;
use std::sync::Arc;

use serde_saphyr::granit_parser::{self, Event, Options, Parser, ScalarStyle};

use crate::problem::Problem;

/// The most nodes of a document, aliases expanded.
const MAX_NODES: usize = 100_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// The most bytes of a file.
const MAX_BYTES: usize = 4 << 20;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pos {
    /// Path of the file, as seen from the vendor's folder.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl Pos {
    /// The file as a whole.
    pub fn file(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

/// Compose's tags for files that are layered over others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Merged as usual.
    None,
    /// `!reset`: takes away what lower files said.
    Reset,
    /// `!override`: replaces what lower files said.
    Override,
}

/// A value and where it stood.
#[derive(Debug, Clone)]
pub struct Node {
    pub pos: Pos,
    pub tag: Tag,
    pub kind: Kind,
}

/// The kinds of values.
#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Scalar {
        text: String,
        /// Neither quoted nor a block: YAML could take it for a number.
        plain: bool,
    },
    Seq(Vec<Node>),
    Map(Map),
}

/// Entries in the order of the file, each key once.
#[derive(Debug, Clone, Default)]
pub struct Map {
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub pos: Pos,
    pub value: Node,
}

impl PartialEq for Node {
    /// The same value, wherever it stood.
    fn eq(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Scalar { text: a, .. }, Kind::Scalar { text: b, .. }) => a == b,
            (Kind::Seq(a), Kind::Seq(b)) => a == b,
            (Kind::Map(a), Kind::Map(b)) => {
                a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|e| b.get(&e.key) == Some(&e.value))
            }
            _ => false,
        }
    }
}

impl Node {
    /// A node that stands where another stood.
    pub fn at(pos: &Pos, kind: Kind) -> Self {
        Self {
            pos: pos.clone(),
            tag: Tag::None,
            kind,
        }
    }

    /// A quoted scalar that stands where another node stood.
    pub fn scalar(pos: &Pos, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::at(pos, Kind::Scalar { text, plain: false })
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The map.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The value of a key, when this is a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map().and_then(|map| map.get(key))
    }

    /// What it is, for people.
    pub fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// Changes the text of every scalar value below; keys stay.
    pub fn map_text(&mut self, key: &str, change: &mut impl FnMut(&str, &Pos, &mut String)) {
        match &mut self.kind {
            Kind::Null => {}
            Kind::Scalar { text, plain } => {
                // What is filled in is a text, whatever it looks like.
                *plain &= !text.contains('$');
                change(key, &self.pos, text);
            }
            Kind::Seq(items) => {
                for (n, item) in items.iter_mut().enumerate() {
                    item.map_text(&format!("{key}[{n}]"), change);
                }
            }
            Kind::Map(map) => {
                for entry in &mut map.entries {
                    let key = join(key, &entry.key);
                    entry.value.map_text(&key, change);
                }
            }
        }
    }
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let entry = self.entries.iter_mut().find(|e| e.key == key);
        entry.map(|e| &mut e.value)
    }

    /// Sets a key, in its place if it is there.
    pub fn set(&mut self, key: &str, value: Node) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.entries.push(Entry {
                key: key.to_owned(),
                pos: value.pos.clone(),
                value,
            }),
        }
    }

    /// Takes a key away.
    pub fn remove(&mut self, key: &str) -> Option<Node> {
        let at = self.entries.iter().position(|e| e.key == key)?;
        Some(self.entries.remove(at).value)
    }
}

/// `a.b`, or `b` at the top.
pub fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() {
        key.to_owned()
    } else {
        format!("{parent}.{key}")
    }
}

/// Reads one document. An empty file is [`Kind::Null`].
pub fn parse(file: &str, text: &str) -> Result<Node, Problem> {
    let file: Arc<str> = file.into();
    if text.len() > MAX_BYTES {
        return Err(Problem::new(
            &Pos::file(&file),
            "",
            format!("has {} bytes, the most is {MAX_BYTES}", text.len()),
            "split it with `include`",
        ));
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(text, options),
        file,
        anchors: HashMap::new(),
        nodes: 0,
    };
    reader.document()
}

type Spanned<'a> = (Event<'a>, Pos);

struct Reader<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
    file: Arc<str>,
    /// The node and how many nodes it is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn pos(&self, marker: granit_parser::Marker) -> Pos {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos {
            file: self.file.clone(),
            line: number(marker.line()),
            column: number(marker.col()).saturating_add(1),
        }
    }

    fn next(&mut self) -> Result<Option<Spanned<'a>>, Problem> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, self.pos(span.start)))),
            Some(Err(error)) => Err(Problem::new(
                &self.pos(*error.marker()),
                "",
                format!("is not YAML: {}", error.info()),
                "",
            )),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        while let Some((event, pos)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Problem::new(
                        &pos,
                        "",
                        "a second document begins here",
                        "put it in a file of its own and list both under `compose:` in berth.yaml",
                    ));
                }
                Event::StreamStart
                | Event::DocumentStart(..)
                | Event::DocumentEnd
                | Event::StreamEnd => {}
                event => root = Some(self.node(event, pos, "", 0)?),
            }
        }
        Ok(root.unwrap_or_else(|| Node::at(&Pos::file(&self.file), Kind::Null)))
    }

    fn child(&mut self, key: &str, depth: usize) -> Result<Node, Problem> {
        match self.next()? {
            Some((event, pos)) => self.node(event, pos, key, depth),
            None => Ok(Node::at(&Pos::file(&self.file), Kind::Null)),
        }
    }

    fn count(&mut self, more: usize, pos: &Pos, key: &str) -> Result<(), Problem> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            let what = format!("more than {MAX_NODES} values, aliases counted each time");
            return Err(Problem::new(pos, key, what, "use fewer aliases"));
        }
        Ok(())
    }

    fn node(
        &mut self,
        event: Event<'a>,
        pos: Pos,
        key: &str,
        depth: usize,
    ) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            let what = format!("nested more than {MAX_DEPTH} deep");
            return Err(Problem::new(&pos, key, what, "flatten it"));
        }
        let before = self.nodes;
        self.count(1, &pos, key)?;
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (mark, is_str) = tag_of(tag.as_deref(), &pos, key)?;
                let plain = style == ScalarStyle::Plain && !is_str;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if null {
                    Kind::Null
                } else {
                    Kind::Scalar {
                        text: text.into_owned(),
                        plain,
                    }
                };
                (
                    anchor,
                    Node {
                        pos,
                        tag: mark,
                        kind,
                    },
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (mark, _) = tag_of(tag.as_deref(), &pos, key)?;
                let mut items = Vec::new();
                while let Some((event, at)) = self.next()? {
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let key = format!("{key}[{}]", items.len());
                    items.push(self.node(event, at, &key, depth + 1)?);
                }
                (
                    anchor,
                    Node {
                        pos,
                        tag: mark,
                        kind: Kind::Seq(items),
                    },
                )
            }
            Event::MappingStart(_, anchor, tag) => {
                let (mark, _) = tag_of(tag.as_deref(), &pos, key)?;
                let map = self.map(key, depth)?;
                (
                    anchor,
                    Node {
                        pos,
                        tag: mark,
                        kind: Kind::Map(map),
                    },
                )
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::new(
                        &pos,
                        key,
                        "an alias inside of its own anchor",
                        "name another anchor",
                    ));
                };
                self.count(size, &pos, key)?;
                return Ok(node);
            }
            _ => return Err(Problem::new(&pos, key, "is not YAML: expected a value", "")),
        };
        if anchor != 0 {
            self.anchors
                .insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn map(&mut self, parent: &str, depth: usize) -> Result<Map, Problem> {
        let mut map = Map::default();
        let mut merged = Vec::new();
        while let Some((event, pos)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let plain = matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let name = self.node(event, pos.clone(), parent, depth + 1)?;
            let name = match name.kind {
                Kind::Scalar { text, .. } => text,
                Kind::Null => "null".to_owned(),
                _ => {
                    return Err(Problem::new(
                        &pos,
                        parent,
                        "a key that is a list or a map",
                        "use a text",
                    ));
                }
            };
            let key = join(parent, &name);
            let value = self.child(&key, depth + 1)?;
            if plain && name == "<<" {
                merged.extend(merge_sources(value, &key)?);
            } else if map.get(&name).is_some() {
                return Err(Problem::new(
                    &pos,
                    &key,
                    "stands twice in the same map",
                    "keep one of them",
                ));
            } else {
                map.entries.push(Entry {
                    key: name,
                    pos,
                    value,
                });
            }
        }
        // What the map says itself wins, then the earlier of the merged.
        for source in merged {
            for entry in source.entries {
                if map.get(&entry.key).is_none() {
                    map.entries.push(entry);
                }
            }
        }
        Ok(map)
    }
}

fn merge_sources(value: Node, key: &str) -> Result<Vec<Map>, Problem> {
    let wrong = |pos: &Pos| {
        Problem::new(
            pos,
            key,
            "merges something that is no map",
            "merge a map or a list of maps",
        )
    };
    match value.kind {
        Kind::Map(map) => Ok(vec![map]),
        Kind::Seq(items) => items
            .into_iter()
            .map(|item| match item.kind {
                Kind::Map(map) => Ok(map),
                _ => Err(wrong(&item.pos)),
            })
            .collect(),
        _ => Err(wrong(&value.pos)),
    }
}

fn tag_of(tag: Option<&granit_parser::Tag>, pos: &Pos, key: &str) -> Result<(Tag, bool), Problem> {
    let Some(tag) = tag else {
        return Ok((Tag::None, false));
    };
    match (tag.handle(), tag.suffix()) {
        ("!", "reset") => Ok((Tag::Reset, false)),
        ("!", "override") => Ok((Tag::Override, false)),
        _ if tag.is_yaml_core_schema() => Ok((Tag::None, tag.is_yaml_core_schema_tag("str"))),
        // A lone `!` says that the scalar is a text.
        ("" | "!", "" | "!") => Ok((Tag::None, true)),
        (handle, suffix) => Err(Problem::new(
            pos,
            key,
            format!("the tag {handle}{suffix} is not supported"),
            "Compose knows !reset and !override",
        )),
    }
}

#[cfg(test)]
mod tests;
