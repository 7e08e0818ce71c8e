# shellcheck shell=bash
# Sourced by the other scripts: where things are, and how what is missing gets here.

set -euo pipefail
export LC_ALL=C.UTF-8 PATH="$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export BERTH_CACHE=${BERTH_CACHE:-$HOME/.cache/berth}
mkdir -p "$BERTH_CACHE"
target=${CARGO_TARGET_DIR:-$root/target}

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
note() { echo "==> $*" >&2; }

# Engines, mounts and network namespaces are root's.
become_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || die "needs root"
  local name keep=("PATH=$PATH" "HOME=$HOME" "BERTH_CACHE=$BERTH_CACHE")
  for name in CI CARGO_HOME RUSTUP_HOME CARGO_TARGET_DIR TMPDIR DEBIAN_MIRROR BERTH_DEMO BERTH_DEMO_PORT \
    BERTH_SEEDS BERTH_SEED; do
    [ -z "${!name:-}" ] || keep+=("$name=${!name}")
  done
  exec sudo env "${keep[@]}" bash "$0" "$@"
}

# What root built belongs to who asked for it: the next build is without root.
give_back() {
  [ -n "${SUDO_UID:-}" ] || return 0
  local path
  for path in "$target" "$BERTH_CACHE" "$root/Cargo.lock" "${CARGO_HOME:-$HOME/.cargo}"; do
    [ ! -e "$path" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$path"
  done
}

# Debian packages by the command that they bring: `need cc=gcc curl`. A machine that has them all
# is not touched.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}"
  note "installing ${missing[*]}"
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  # docker.io starts a service where there is systemd: the tests never use it.
  $sudo apt-get -qq update
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >&2
}

need_build() { need cc=gcc make git curl; command -v cargo >/dev/null || die "missing: a Rust toolchain (https://rustup.rs)"; }

# What notifications are tested against: a real SMTP server, and the documented way to verify a webhook.
need_notify() { need /usr/lib/python3/dist-packages/aiosmtpd=python3-aiosmtpd openssl; }

# What the engines and the images are made with.
need_docker() {
  need dockerd=docker.io docker=docker.io containerd=containerd iptables ip=iproute2 curl setpriv=util-linux \
    /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring \
    minisign skopeo nginx=nginx-light mkfs.xfs=xfsprogs mkfs.ext4=e2fsprogs setfacl=acl setfattr=attr git
  # Debian 13 ships the client beside the daemon.
  command -v docker >/dev/null || need docker=docker-cli
}

# The digest of the names and contents of files: a key for caches.
content_key() { # PATH...
  (cd "$root" && find "$@" -type f -not -path '*/target/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; rustc -V) |
    sha256sum | cut -c1-24
}

# Keeps the newest few entries of a cache folder.
keep_newest() { # FOLDER COUNT
  [ -d "$1" ] || return 0
  find "$1" -mindepth 1 -maxdepth 1 -not -name '*.lock' -printf '%T@ %p\n' | sort -rn | tail -n +$(($2 + 1)) |
    cut -d' ' -f2- | while read -r old; do rm -rf "$old"; done
}

nextest() { cargo nextest --version >/dev/null 2>&1; }
