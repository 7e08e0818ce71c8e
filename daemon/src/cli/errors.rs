//! Holds docs/errors.md against the codes. `BERTH_BLESS=1` writes it anew.

use std::fmt::Write;
use std::path::Path;

use berth_format::Code;
use berth_format::code::Kind;

const HEAD: &str = "\
# Refusals, codes and exit codes

Whatever Berth refuses, it says in the same shape on the command line, in the API and in the journal:
what went wrong, a stable code, what was expected, what was found, what it left behind, and what to do next.

```
port 3080 is in use [port-in-use]
  expected: a free port
  found:    nginx (pid 812)
  nothing was changed
  next:     Stop the program that holds it, or choose another port with `berth config set`.
```

Match on the code or on the exit code, never on the sentences: they get better. With `--json` the same
comes as one document on stderr, and the API answers with it as its body.
This page is generated: `BERTH_BLESS=1 cargo test -p berth-daemon errors` writes it.

## Exit codes

| exit code | HTTP status | it means |
|--:|--:|---|
| 0 | 2xx | done; of an update: the new version runs |
";

const KINDS: [(Kind, &str); 10] = [
    (Kind::Internal, "a fault of Berth itself"),
    (Kind::Usage, "wrong use of a command or of the API"),
    (
        Kind::Input,
        "what was given is damaged, or not what it says it is",
    ),
    (Kind::Missing, "nothing of that name is here"),
    (Kind::Trust, "it is not signed by whom this machine trusts"),
    (
        Kind::Preflight,
        "the machine is not ready, or something is not agreed to; nothing was changed",
    ),
    (
        Kind::Conflict,
        "the world has moved, or something else is under way; nothing was changed",
    ),
    (
        Kind::RolledBack,
        "the update failed and was undone: the old version runs",
    ),
    (Kind::Engine, "Docker, or berthd, does not answer"),
    (
        Kind::Halted,
        "a rollback could not finish: Berth stands still until a human mends it",
    ),
];

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (kind, means) in KINDS {
        writeln!(
            page,
            "| {} | {} | {means} |",
            kind.exit_code(),
            kind.http_status()
        )
        .unwrap();
    }
    page.push_str(
        "| 130 | | Ctrl-C: the command was left, what it began goes on (`berth events -f`) |\n\n\
         `berth plan` exits with the code of the check that failed, so that a script can ask before it acts.\n\n\
         ## Codes\n\n\
         | code | exit code | HTTP status | it means | next |\n|---|--:|--:|---|---|\n",
    );
    for code in Code::ALL {
        let kind = code.kind();
        writeln!(
            page,
            "| `{code}` | {} | {} | {} | {} |",
            kind.exit_code(),
            kind.http_status(),
            code.means(),
            code.next()
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_lists_every_code_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = page();
    if std::env::var_os("BERTH_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        found, page,
        "docs/errors.md is old: run this test with BERTH_BLESS=1"
    );
}

#[test]
fn codes_are_told_apart_and_fit_the_table() {
    let mut seen = std::collections::BTreeSet::new();
    for code in Code::ALL {
        assert!(seen.insert(code.as_str()), "{code} twice");
        assert!(
            !code.means().contains('|') && !code.next().contains('|'),
            "{code}"
        );
        assert!(KINDS.iter().any(|(kind, _)| *kind == code.kind()), "{code}");
    }
    let exits: std::collections::BTreeSet<u8> = KINDS.iter().map(|(k, _)| k.exit_code()).collect();
    assert_eq!(exits, (1..=9).collect());
}
