//! Replays every committed input, without libFuzzer: what fuzzing once found stays found.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use berth_fuzz::{TARGETS, find, seeds};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_committed_input_passes_its_check() {
    for (target, check) in TARGETS {
        let corpus = folder().join("corpus").join(target);
        for name in names(&corpus) {
            println!("{target}/{name}");
            check(&fs::read(corpus.join(name)).unwrap());
        }
        // What is always among what a fuzzer tries.
        check(b"");
        check(&[0; 600]);
        check(&[0xff; 600]);
    }
}

#[test]
fn every_target_has_a_corpus_a_file_and_a_dictionary_or_needs_none() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder().join("corpus")), targets);
    let files = names(&folder().join("src/targets")).into_iter();
    let files: BTreeSet<String> = files
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "mod")
        .collect();
    assert_eq!(files, targets);
    for name in names(&folder().join("dictionaries")) {
        assert!(
            find(name.strip_suffix(".dict").unwrap()).is_some(),
            "{name}"
        );
    }
}

#[test]
fn the_seeds_are_those_that_are_committed() {
    let made = seeds::all();
    let mut size = 0;
    for (target, name, bytes) in &made {
        let committed = fs::read(folder().join("corpus").join(target).join(name));
        assert!(
            committed.is_ok_and(|committed| committed == *bytes),
            "{target}/{name}: `cargo run -p berth-fuzz --example seeds` writes it"
        );
        size += bytes.len();
    }
    assert!(size < 400 << 10, "the seeds are small: {size} bytes");
}
