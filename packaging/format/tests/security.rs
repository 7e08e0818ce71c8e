//! Holds `docs/security.md` against the tree: a page that names tests must not outlive them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The client tests of tuf-conformance.
const CONFORMANCE: usize = 53;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/security.md")).unwrap()
}

/// Every source file that may hold a test.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders: Vec<_> = ["daemon", "packaging", "integration", "web-ui", "fuzz"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.to_str().unwrap().to_owned(), text));
            }
        }
    }
    sources
}

/// Whether a function of this name stands right below a line that makes it a test.
fn is_test(text: &str, name: &str) -> bool {
    let mut before = "";
    for line in text.lines().map(str::trim_start) {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        if rest
            .strip_prefix("fn ")
            .and_then(|rest| rest.split('(').next())
            == Some(name)
        {
            return before.starts_with("#[test]") || before.starts_with("#[tokio::test");
        }
        before = line;
    }
    false
}

#[test]
fn every_test_that_the_page_names_is_there() {
    let (page, sources) = (page(), sources());
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).collect();
    let named = named.iter().filter_map(|text| text.split_once(".rs::"));
    let mut count = 0;
    for (file, test) in named {
        let end = format!("/{file}.rs");
        let found = sources
            .iter()
            .filter(|(path, text)| path.ends_with(&end) && is_test(text, test))
            .count();
        assert_eq!(found, 1, "{file}.rs::{test}");
        count += 1;
    }
    assert!(count > 60, "only {count} tests are named");
}

#[test]
fn every_case_of_tuf_conformance_has_a_test_or_does_not_apply() {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| `test_"));
    let mut cases = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, case, here, test, _] = cells.as_slice() else {
            panic!("{row}");
        };
        assert!(cases.insert(*case), "{case} stands twice");
        assert_eq!(
            test.is_empty(),
            here.starts_with("does not apply: "),
            "{case}"
        );
    }
    assert_eq!(cases.len(), CONFORMANCE);
}

#[test]
fn the_checks_are_those_of_the_code() {
    let numbers = |line: &str| {
        line.split_whitespace()
            .filter_map(|word| word.strip_suffix('.')?.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    let page = page();
    let mut sections = 0;
    for section in page.split("\n### `").skip(1) {
        let (file, rest) = section.split_once('`').unwrap();
        let rest = rest.split("\n## ").next().unwrap();
        let said: Vec<u32> = rest.lines().flat_map(numbers).collect();
        let code = fs::read_to_string(root().join(file)).unwrap();
        let made: Vec<u32> = code
            .lines()
            .filter_map(|line| line.strip_prefix("//! ")?.split_once(". ")?.0.parse().ok())
            .collect();
        assert_eq!(said, made, "{file}");
        sections += 1;
    }
    assert_eq!(sections, 8);
}
