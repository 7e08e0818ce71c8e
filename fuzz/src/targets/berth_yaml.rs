//! `berth.yaml`, in a folder with nothing beside it.
//!
//! - Either there is a problem, with a place in this file, or what was read.
//! - The tree of a YAML file knows where each value stood, and is read as the same again.

use std::path::PathBuf;
use std::sync::LazyLock;

use berth_publish::berth_yaml;
use berth_publish::problem::Report;
use berth_publish::yaml::{self, Kind, Node};

// Empty, and never written to.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join("berth-fuzz-empty");
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // YAML ends a line at a lone CR too.
    let lines = u32::try_from(text.matches(['\n', '\r']).count()).unwrap();
    let tree = yaml::parse("x.yaml", text);
    match &tree {
        Ok(tree) => {
            within(tree, lines + 1, 0);
            assert_eq!(*tree, yaml::parse("x.yaml", text).unwrap());
        }
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
    let report = Report::default();
    let read = berth_yaml::parse(&FOLDER, text, &report);
    assert!(
        read.is_some() || !report.is_ok(),
        "nothing read, nothing said"
    );
    assert!(
        read.is_none() || tree.is_ok(),
        "no YAML, and yet it was read"
    );
    let (problems, warnings) = report.into_parts();
    for problem in problems.iter().chain(&warnings) {
        assert_eq!(problem.file, berth_yaml::FILE);
        assert!(problem.line <= lines + 1 && !problem.what.is_empty());
    }
}

fn within(node: &Node, lines: u32, depth: u32) {
    assert!(node.pos.line <= lines && depth <= 130);
    match &node.kind {
        Kind::Null | Kind::Scalar { .. } => {}
        Kind::Seq(items) => items.iter().for_each(|item| within(item, lines, depth + 1)),
        Kind::Map(map) => {
            for (n, entry) in map.entries.iter().enumerate() {
                let is_first = map.entries[..n].iter().all(|e| e.key != entry.key);
                assert!(n > 100 || is_first, "{} stands twice", entry.key);
                within(&entry.value, lines, depth + 1);
            }
        }
    }
}
