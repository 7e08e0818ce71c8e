//! A vendor's folder, and what is told about it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of tests, not each for every one"
)]

use std::fs;

use berth_publish::compose::resolve;

/// A folder with berth.yaml, product and version filled in, and other files.
pub fn folder(berth: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let berth = format!("product: shop\nversion: 1.0.0\n{berth}");
    for (path, text) in [("berth.yaml", berth.as_str())].iter().chain(files) {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// Problems, or the warnings where there is none, a line each.
pub fn told(berth: &str, files: &[(&str, &str)]) -> String {
    let dir = folder(berth, files);
    let problems = match resolve(dir.path()) {
        Ok(resolved) => resolved.warnings,
        Err(refused) => refused.problems,
    };
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Whether a program is there that a test needs. Where all of them are to be, it must be.
pub fn has(program: &str, harmless: &str) -> bool {
    let found = std::process::Command::new(program).arg(harmless).output();
    let found = found.is_ok();
    assert!(
        found || std::env::var_os("BERTH_TEST_ROOT").is_none_or(|value| value != "1"),
        "{program} is missing"
    );
    if !found {
        eprintln!("skipped: no {program} here");
    }
    found
}
