#!/usr/bin/env bash
# The fast loop: formatting, lints, unit tests. Needs no engine and no root.
. "$(dirname "$0")/lib.sh"
need_build
need_notify
cd "$root"

note "format"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/libfuzzer/Cargo.toml --check
# Its lock file is its own, and follows what the parsers depend on.
cargo metadata --quiet --locked --format-version 1 --manifest-path fuzz/libfuzzer/Cargo.toml >/dev/null
note "lints"
cargo clippy --quiet --locked --workspace --all-targets --all-features -- -D warnings
if command -v shellcheck >/dev/null; then shellcheck -S error scripts/*.sh images/*.sh .ci/run; fi
if command -v cargo-deny >/dev/null; then
  note "licenses and bans"
  cargo deny --all-features --offline check bans licenses sources
fi
note "unit tests"
if nextest; then
  # The same packages as in `make test`, so that nothing is built twice.
  cargo nextest run --locked --workspace --all-features -E 'not package(berth-integration)'
else
  cargo test --locked --workspace --all-features --exclude berth-integration
fi
