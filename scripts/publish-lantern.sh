#!/usr/bin/env bash
# Builds the reference product's images and publishes every version of it, as a vendor would.
#
#   publish-lantern.sh            prints the folder of the publication
#
# The folder is kept in the cache under a key of all that goes into it, so it is made once:
#   keys/, <version>/ (what `berth-publish build` wrote), lantern-<version>.berth (each alone, full),
#   lantern-all.berth (every good version), fingerprint, images.tar (what `docker load` reads)
. "$(dirname "$0")/lib.sh"
become_root "$@"
need_build
need_docker
cd "$root"

key=$(content_key images packaging/format packaging/publish Cargo.lock scripts/publish-lantern.sh)
out=$BERTH_CACHE/published/$key
mkdir -p "$BERTH_CACHE/published"
exec 8>"$BERTH_CACHE/published/.lock"
flock 8
if [ -e "$out/complete" ]; then touch "$out"; echo "$out"; exit; fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/berth-publish.XXXXXX")
cleanup() {
  trap '' INT TERM
  "$root/scripts/engine.sh" stop "$work/engine" --purge 8>&- || true
  rm -rf "$work" "$out.new"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

note "building the images of lantern"
# The tests have built one already.
publish=${BERTH_PUBLISH:-$target/release/berth-publish}
[ -n "${BERTH_PUBLISH:-}" ] || cargo build --quiet --locked --release -p berth-publish 8>&-
DOCKER_HOST=unix://$("$root/scripts/engine.sh" start "$work/engine" --netns 8>&-)
export DOCKER_HOST
bash images/build.sh 8>&-

note "publishing lantern"
rm -rf "$out.new"
mkdir -p "$out.new"
"$publish" keygen --product lantern --no-password --out "$out.new/keys" >&2
cp "$out.new/keys/fingerprint" "$out.new/fingerprint"
versions=$(find images/lantern/versions -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort -V)
for version in $versions; do
  "$publish" build "images/lantern/versions/$version" --out "$out.new/releases" --key "$out.new/keys" \
    --engine "${DOCKER_HOST#unix://}" >&2
done
for version in $versions; do
  "$publish" bundle --release "$version" --key "$out.new/keys" --out "$out.new/lantern-$version.berth" "$out.new/releases" >&2
done
# shellcheck disable=SC2046 # one argument a word
"$publish" bundle $(printf -- '--release %s ' $versions) --key "$out.new/keys" --out "$out.new/lantern-all.berth" "$out.new/releases" >&2
touch "$out.new/complete"
rm -rf "$out"
mv "$out.new" "$out"
keep_newest "$BERTH_CACHE/published" 4
echo "$out"
