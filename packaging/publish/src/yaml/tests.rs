//! Trees and what is refused.

use super::*;
use proptest::prelude::*;

fn text(node: &Node, path: &[&str]) -> String {
    let node = path.iter().fold(node, |n, key| n.get(key).unwrap());
    node.as_text().unwrap().to_owned()
}

#[test]
fn scalars_stay_text_and_know_their_place() {
    let root = parse("c.yaml", "a: yes\nb:\n  mode: 0440\n  s: \"1\"\n  n: ~\n").unwrap();
    assert_eq!(text(&root, &["a"]), "yes");
    let mode = root.get("b").unwrap().get("mode").unwrap();
    assert_eq!((mode.pos.line, mode.pos.column), (3, 9));
    assert!(matches!(&mode.kind, Kind::Scalar { plain: true, text } if text == "0440"));
    assert!(matches!(
        root.get("b").unwrap().get("s").unwrap().kind,
        Kind::Scalar { plain: false, .. }
    ));
    assert!(matches!(
        root.get("b").unwrap().get("n").unwrap().kind,
        Kind::Null
    ));
}

#[test]
fn merge_keys_fill_in_and_never_win() {
    let root = parse(
        "c",
        "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\none: {<<: *x, a: 9}\nmany:\n  <<: [*y, *x]\n  d: 4\n",
    )
    .unwrap();
    assert_eq!(text(&root, &["one", "a"]), "9");
    assert_eq!(text(&root, &["one", "b"]), "1");
    assert_eq!(text(&root, &["many", "b"]), "2");
    assert_eq!(text(&root, &["many", "a"]), "1");
    assert_eq!(text(&root, &["many", "c"]), "2");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    for (yaml, line, what) in [
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("a: !secret x\n", 1, "!secret"),
        ("a: [1\n", 0, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: &a [*a]\n", 1, "own anchor"),
        ("a: *b\n", 1, "not YAML"),
        ("<<: 3\n", 1, "no map"),
        ("? [a]\n: b\n", 1, "list or a map"),
    ] {
        let problem = parse("c", yaml).unwrap_err();
        assert!(problem.what.contains(what), "{yaml:?}: {problem}");
        assert!(line == 0 || problem.line == line, "{yaml:?}: {problem}");
    }
}

#[test]
fn a_small_file_cannot_become_a_large_tree() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let inner = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs += format!("a{n}: &a{n} [{inner}]\n").as_str();
    }
    assert!(parse("c", &laughs).unwrap_err().what.contains("more than"));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert!(parse("c", &deep).is_err());
}

#[test]
fn compose_tags_are_kept() {
    let root = parse("c", "a: !reset null\nb: !override [x]\nc: !!str 12\n").unwrap();
    assert_eq!(root.get("a").unwrap().tag, Tag::Reset);
    assert_eq!(root.get("b").unwrap().tag, Tag::Override);
    assert!(matches!(
        root.get("c").unwrap().kind,
        Kind::Scalar { plain: false, .. }
    ));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "[-a-z:{}\\[\\]&*!<>|#\"' \n0-9?,]{0,60}") {
        let _ = parse("c", &text);
    }
}
