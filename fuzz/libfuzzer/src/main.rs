//! libFuzzer around one check of `berth-fuzz`, which `BERTH_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use berth_fuzz::Check;
use libfuzzer_sys::fuzz_target;

static CHECK: LazyLock<Check> = LazyLock::new(|| {
    let name = std::env::var("BERTH_FUZZ_TARGET").unwrap_or_default();
    let Some(check) = berth_fuzz::find(&name) else {
        eprintln!("BERTH_FUZZ_TARGET={name:?} is no target");
        std::process::exit(2);
    };
    check
});

fuzz_target!(|data: &[u8]| CHECK(data));
