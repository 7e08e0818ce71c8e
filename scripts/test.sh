#!/usr/bin/env bash
# The whole test suite, on real Docker: engines of its own in network namespaces of their own.
#
#   test.sh [nextest's arguments]     `test.sh -E 'binary(update)'` runs one file
. "$(dirname "$0")/lib.sh"
become_root "$@"
need_build
need_docker
need_notify
cd "$root"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/berth-test.XXXXXX")
cleanup() {
  local status=$? engine
  set +e
  trap - EXIT
  trap '' INT TERM
  # Each berthd of a test dies with its test; engines are the tests' common ground.
  find "$work" -maxdepth 4 -name engine.env 2>/dev/null | while read -r engine; do
    "$root/scripts/engine.sh" stop "$(dirname "$engine")" --purge || true
  done
  grep -oE " $work/[^ ]+" /proc/self/mountinfo | sort -r | while read -r mount; do umount -l "$mount" || true; done
  rm -rf "$work"
  give_back
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

note "building"
cargo build --quiet --locked --workspace --all-features --all-targets
BERTH_TEST_PUBLISHED=$(BERTH_PUBLISH=$target/debug/berth-publish "$root/scripts/publish-lantern.sh")
export BERTH_TEST_PUBLISHED BERTH_TEST_DIR=$work BERTH_TEST_ROOT=1
# The engine's own verbs are tried from the machine's network, as berthd uses them.
BERTH_TEST_DOCKER=$("$root/scripts/engine.sh" start "$work/engines/host")
export BERTH_TEST_DOCKER
note "tests"
if nextest; then
  cargo nextest run --locked --workspace --all-features "$@"
else
  cargo test --locked --workspace --all-features "$@"
fi
