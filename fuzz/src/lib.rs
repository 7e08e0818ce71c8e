//! What must hold of every parser of bytes from outside, whatever the bytes are.
//!
//! Each target is a function that takes any bytes and panics when a promise is broken: not only
//! "no panic", but "what is accepted was signed", "what is accepted is sound", "what is written
//! is read as the same". libFuzzer calls them ([`find`], `fuzz/libfuzzer`), and so does a plain
//! test, with every input under `fuzz/corpus`.

#![expect(
    clippy::unwrap_used,
    reason = "a promise that is broken is a panic, here"
)]

pub mod bytes;
pub mod keys;
pub mod seeds;
pub mod targets;

/// Panics when a promise is broken.
pub type Check = fn(&[u8]);

/// The targets, each named like its module and its folder below `corpus/`.
pub const TARGETS: &[(&str, Check)] = &[
    ("bundle", targets::bundle::check),
    ("channel", targets::channel::check),
    ("compose", targets::compose::check),
    ("berth_yaml", targets::berth_yaml::check),
    ("daemon", targets::daemon::check),
    ("frame", targets::frame::check),
    ("image_config", targets::image_config::check),
    ("judge", targets::judge::check),
    ("release", targets::release::check),
    ("root", targets::root::check),
    ("rotation", targets::rotation::check),
    ("signature", targets::signature::check),
];

/// The target of this name.
pub fn find(name: &str) -> Option<Check> {
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.map(|(_, check)| *check)
}
