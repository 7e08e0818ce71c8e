#!/usr/bin/env bash
# Fuzzes every parser of bytes from outside, with libFuzzer on stable Rust (fuzz/README.md).
#
#   fuzz.sh [TARGET...]     all targets when none is named; TIME=300 seconds each, JOBS=2 at a time
#   fuzz.sh --replay TARGET FILE
#
# New inputs are kept in the cache and used again. What breaks a promise is kept under fuzz/found/.
. "$(dirname "$0")/lib.sh"
need_build
need c++=g++
cd "$root"

replay=
if [ "${1:-}" = --replay ]; then
  [ $# = 3 ] || die "--replay TARGET FILE"
  replay=$3
  set -- "$2"
fi

# Coverage of edges and of what is compared: what cargo-fuzz passes too, without the sanitizers, which are
# nightly's alone. Only for this machine, so that build scripts and macros stay as they are.
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(-Cpasses=sancov-module)
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage-$flag")
done
key=$( (sha256sum <fuzz/libfuzzer/Cargo.lock; rustc -V) | sha256sum | cut -c1-16)
build=$BERTH_CACHE/fuzz/build/$key
mkdir -p "$build" "$BERTH_CACHE/fuzz/corpus"
touch "$build"
keep_newest "$BERTH_CACHE/fuzz/build" 1
note "building"
RUSTFLAGS=${flags[*]} CARGO_TARGET_DIR=$build CARGO_INCREMENTAL=0 \
  cargo build --quiet --locked --release --target "$host" --manifest-path fuzz/libfuzzer/Cargo.toml
program=$build/$host/release/berth-fuzz-libfuzzer

if [ -n "$replay" ]; then
  BERTH_FUZZ_TARGET=$1 exec "$program" "$replay"
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/berth-fuzz.XXXXXX")
cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  # Only what was started here.
  jobs -p | while read -r job; do kill "$job" 2>/dev/null || true; done
  rm -rf "$work"
  give_back
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fuzz() { # TARGET
  local target=$1 corpus=$BERTH_CACHE/fuzz/corpus/$1 found=$work/found/$1 dictionary=fuzz/dictionaries/$1.dict
  mkdir -p "$corpus" "$found" "$work/tmp/$target"
  local args=("-max_total_time=${TIME:-300}" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1
    "-artifact_prefix=$found/")
  [ ! -e "$dictionary" ] || args+=("-dict=$dictionary")
  if BERTH_FUZZ_TARGET=$target TMPDIR=$work/tmp/$target nice -n 10 "$program" "${args[@]}" "$corpus" "fuzz/corpus/$target" \
    >"$work/$target.log" 2>&1; then
    touch "$work/$target.good"
  fi
  local last executed
  last=$(grep -E '^#[0-9]+' "$work/$target.log" | tail -n 1 | grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' || true)
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
  printf '%-14s %10s runs  %s\n' "$target" "${executed:-?}" "$last"
}

targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cd fuzz/corpus && printf '%s\n' *)
note "fuzzing ${targets[*]}"
for target in "${targets[@]}"; do
  [ -d "fuzz/corpus/$target" ] || die "no target $target; there are: $(cd fuzz/corpus && echo *)"
  while [ "$(jobs -pr | wc -l)" -ge "${JOBS:-2}" ]; do wait -n || true; done
  fuzz "$target" &
done
wait

status=0
for target in "${targets[@]}"; do
  [ ! -e "$work/$target.good" ] || continue
  status=1
  grep -E 'panicked at|^(SUMMARY|==[0-9]+== ERROR)' -A 3 "$work/$target.log" | head -n 30 >&2 || tail -n 30 "$work/$target.log" >&2
  for input in "$work/found/$target"/*; do
    [ -e "$input" ] || continue
    mkdir -p "fuzz/found/$target"
    cp "$input" "fuzz/found/$target/"
    note "again: scripts/fuzz.sh --replay $target fuzz/found/$target/${input##*/}"
  done
done
[ "$status" = 0 ] || die "a promise is broken; mend it and keep the input below fuzz/corpus/"
