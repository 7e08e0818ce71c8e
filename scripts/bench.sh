#!/usr/bin/env bash
# The measurements of the project, side by side in one run, on an engine of its own.
. "$(dirname "$0")/lib.sh"
become_root "$@"
need_build
need_docker
need gzip
cd "$root"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/berth-bench.XXXXXX")
cleanup() {
  local status=$? engine
  set +e
  trap - EXIT
  trap '' INT TERM
  find "$work" -maxdepth 4 -name engine.env 2>/dev/null | while read -r engine; do
    "$root/scripts/engine.sh" stop "$(dirname "$engine")" --purge || true
  done
  rm -rf "$work"
  give_back
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Where this machine gets Debian from.
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !found++'
}

# Compose v2 as Debian 13 has it, in a folder of its own.
compose_of_trixie() {
  local to=$BERTH_CACHE/compose-trixie a=$work/apt
  if [ ! -x "$to/docker-compose" ]; then
    note "fetching docker-compose of Debian 13"
    mkdir -p "$to" "$a/state/lists/partial" "$a/cache/archives/partial"
    : >"$a/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) trixie main" >"$a/sources.list"
    cat >"$a/apt.conf" <<CONF
Dir::State "$a/state"; Dir::State::status "$a/status"; Dir::Cache "$a/cache";
Dir::Etc::sourcelist "$a/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User ""; Acquire::Languages "none";
CONF
    export APT_CONFIG=$a/apt.conf
    apt-get -qq update >&2
    (cd "$work" && apt-get -qq download docker-compose >&2)
    unset APT_CONFIG
    dpkg-deb --fsys-tarfile "$work"/docker-compose_*.deb | tar -x -C "$work" --wildcards '*docker-compose'
    find "$work/usr" -type f -name docker-compose -size +1M -exec cp {} "$to/docker-compose.new" \;
    chmod +x "$to/docker-compose.new"
    mv "$to/docker-compose.new" "$to/docker-compose"
  fi
  echo "$to/docker-compose"
}

note "building"
cargo build --quiet --locked --release -p berth-daemon -p berth-publish -p berth-integration --features docker
BERTH_BENCH_COMPOSE=$(compose_of_trixie)
BERTH_TEST_PUBLISHED=$("$root/scripts/publish-lantern.sh")
export BERTH_BENCH_COMPOSE BERTH_TEST_PUBLISHED BERTH_TEST_DIR=$work BERTH_BENCH_IMAGES=$BERTH_CACHE/images
"$target/release/bench" "$@"
