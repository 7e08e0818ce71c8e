//! Copying, beside `cp`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::as_root;
use super::loopfs::{EXT4, LoopFs, XFS, run};
use crate::host::copy::copy_tree;
use crate::host::disk::syncfs;
use crate::host::tree::remove;

/// Prints a table; asserts nothing but that both did it.
#[test]
#[ignore = "a measurement: BERTH_TEST_ROOT=1 cargo test copy_speed -- --ignored --nocapture"]
fn copy_speed() {
    if !as_root() {
        return;
    }
    println!(
        "{:<28} {:>9} {:>9} {:>6}",
        "", "cp -a", "copy_tree", "ratio"
    );
    for (kind, name) in [(EXT4, "ext4"), (XFS, "xfs with reflinks")] {
        let disk = LoopFs::new(kind, 4096);
        small_files(&disk.join("small"));
        large_files(&disk.join("large"));
        for tree in ["small", "large"] {
            let from = disk.join(tree);
            let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
            for _ in 0..3 {
                theirs = theirs.min(timed(&disk, |to| {
                    let options = ["-a", "--reflink=auto", "--sparse=auto"];
                    run(Command::new("cp").args(options).arg(&from).arg(to));
                    syncfs(to).unwrap();
                }));
                ours = ours.min(timed(&disk, |to| {
                    copy_tree(&from, to).unwrap();
                }));
            }
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            let (theirs, ours) = (ms(theirs), ms(ours));
            println!("{name:<20} {tree:<7} {theirs:>9} {ours:>9} {ratio:>6.2}");
        }
    }
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn timed(disk: &LoopFs, copy: impl FnOnce(&Path)) -> Duration {
    syncfs(&disk.mount).unwrap();
    let to = disk.join("to");
    let start = Instant::now();
    copy(&to);
    let took = start.elapsed();
    remove(&to).unwrap();
    took
}

/// Twenty thousand files of 1 to 16 KiB, like an index or a mail folder.
fn small_files(top: &Path) {
    for dir in 0..200 {
        let dir = top.join(format!("{dir}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..100_usize {
            fs::write(dir.join(format!("{file}")), vec![7; 1024 + file * 150]).unwrap();
        }
    }
}

/// One GiB in files of 64 MiB, like a database.
fn large_files(top: &Path) {
    fs::create_dir_all(top).unwrap();
    for file in 0..16 {
        fs::write(top.join(format!("{file}")), vec![7; 64 << 20]).unwrap();
    }
}
