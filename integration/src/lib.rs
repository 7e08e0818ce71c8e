//! Fixtures for the tests on real Docker.
//!
//! A test takes a [`Machine`]: an engine that is its own while it runs, in a network namespace
//! with nothing but loopback, and a berthd that it may kill. `scripts/test.sh` publishes the
//! reference product once, and removes all that is left at the end, however it ends.

#![allow(
    clippy::expect_used,
    reason = "a fixture that cannot be made ends its test"
)]

mod berthd;
pub mod channel;
mod client;
pub mod cutter;
mod engine;
pub mod hostile;
mod machine;
mod published;
pub mod tamper;
pub mod vendor;
mod volumes;
mod world;

pub use berthd::{Answer, Berthd};
pub use client::{Client, Outage, Response, Watch};
pub use engine::Engine;
pub use machine::Machine;
pub use published::Published;
pub use volumes::{Tree, difference};
pub use world::World;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The product that the tests install.
pub const PRODUCT: &str = "lantern";

/// Where the tests of this run have their files.
pub fn test_dir() -> PathBuf {
    let dir = std::env::var_os("BERTH_TEST_DIR");
    dir.expect("BERTH_TEST_DIR is not set: run these tests through scripts/test.sh")
        .into()
}

/// The repository.
pub fn repository() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map(Into::into)
        .expect("a member of the workspace")
}

/// A program of this workspace that cargo built beside this one.
pub fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("this program has a path");
    me.ancestors()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not built"))
}

/// Runs a command and gives what it printed; what it said on stderr is in the error.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    said(command, &output)
}

fn said(command: &Command, output: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{text}{stderr}", output.status);
    }
    Ok(text)
}

/// Asks again and again until there is an answer.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > within {
            bail!("waited {within:?} in vain: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
