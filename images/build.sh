#!/usr/bin/env bash
# Makes the images of the reference product from Debian packages, without any registry, and loads
# them into the engine of DOCKER_HOST.
#
#   build.sh                 load what the engine does not have yet
#   build.sh --tar FILE      write all of them into one archive instead (`docker load` reads it)
#   build.sh --refresh       first look for newer Debian packages
#
# Layers are made once and kept in ${BERTH_CACHE:-~/.cache/berth}/images under a key of everything
# that goes into them. The same input gives the same digests: what did not change between two
# versions of Lantern is one image, and all images share the layers below.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
lantern=$here/lantern
cache=${BERTH_CACHE:-$HOME/.cache/berth}/images
suite=bookworm
# Where this machine gets Debian from, unless it is told another one.
configured=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  awk 'sub("/debian/?$", "") && !found++')
mirror=${DEBIAN_MIRROR:-$configured}
arch=$(dpkg --print-architecture)
created=2026-01-01T00:00:00Z
epoch=1767225600

refresh=false archive=
while [ $# -gt 0 ]; do
  case $1 in
    --refresh) refresh=true ;;
    --tar) archive=$2; shift ;;
    *) echo "usage: build.sh [--refresh] [--tar FILE]" >&2; exit 64 ;;
  esac
  shift
done

mkdir -p "$cache/layers" "$cache/blobs"
exec 9>"$cache/lock"
flock 9
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
find "$cache" -maxdepth 1 -name 'work.*' ! -path "$work" -exec rm -rf {} + # of a build that was killed
find "$cache/layers" "$cache/blobs" -type f -mtime +30 -delete             # of sources that changed since

digest() { sha256sum | cut -d' ' -f1; }
note() { printf '%-34s %s\n' "$1" "$2" >&2; }

# A folder's names, modes that matter and bytes, as one digest.
tree_key() { (cd "$1" && find . \( -type f -o -type l \) -printf '%P %l ' -a \( -perm -u+x -printf 'x\n' -o -printf '\n' \) | sort
              find . -type f -print0 | sort -z | xargs -0r sha256sum) | digest; }

pack() { # FOLDER FILE [tar-argument...]: the same bytes for the same files, whoever packs them
  local folder=$1 file=$2
  shift 2
  tar --create --file "$file" --format=gnu --sort=name --mtime="@$epoch" --numeric-owner "$@" -C "$folder" .
}

# Runs `make FOLDER` once for each key; prints the digest of the layer that it filled.
layer() { # NAME KEY MAKE-FUNCTION [argument...]
  local name=$1 key=$2 make=$3 folder=$work/$1 id
  shift 3
  if [ ! -s "$cache/layers/$key" ] || [ ! -s "$cache/blobs/$(cat "$cache/layers/$key")" ]; then
    mkdir -p "$folder"
    "$make" "$folder" "$work/$name.tar" "$@"
    id=$(digest <"$work/$name.tar")
    mv "$work/$name.tar" "$cache/blobs/$id"
    echo "$id" >"$work/key" && mv "$work/key" "$cache/layers/$key"
    chmod -R u+w "$folder" && rm -rf "$folder"
    note "layer $name" "$(($(stat -c %s "$cache/blobs/$id") / 1024)) KiB"
  fi
  touch "$cache/layers/$key" "$cache/blobs/$(cat "$cache/layers/$key")"
  cat "$cache/layers/$key"
}

# An apt of our own: nothing of the machine's sources, lists or packages.
apt_get() {
  local a=$work/apt
  if [ ! -d "$a" ]; then
    mkdir -p "$a/state/lists/partial" "$a/cache/archives/partial"
    : >"$a/status"
    local key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] || { echo "build.sh: apt-get install debian-archive-keyring" >&2; return 1; }
    cat >"$a/sources.list" <<LIST
deb [signed-by=$key] $mirror/debian $suite main
deb [signed-by=$key] $mirror/debian-security $suite-security main
LIST
    cat >"$a/apt.conf" <<CONF
Dir::State "$a/state";
Dir::State::status "$a/status";
Dir::Cache "$a/cache";
Dir::Etc::sourcelist "$a/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "$arch";
APT::Architectures {"$arch";};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    APT_CONFIG=$a/apt.conf apt-get -qq update >&2
  fi
  APT_CONFIG=$a/apt.conf apt-get -qq "$@" >&2
}

# The packages' files without running any of their scripts, in the layout of a merged /usr.
debian() { # FOLDER TAR PART
  local folder=$1 file=$2 part=$3 deb
  mkdir -p "$work/debs/$part"
  apt_get update
  # shellcheck disable=SC2046 # one word a package
  (cd "$work/debs/$part" && apt_get download $(grep -v '^#' "$lantern/parts/$part/packages"))
  if [ "$part" = base ]; then
    mkdir -p "$folder"/usr/{bin,sbin,lib,lib64}
    for deb in bin sbin lib lib64; do ln -s "usr/$deb" "$folder/$deb"; done
  fi
  for deb in "$work/debs/$part"/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --no-same-owner --anchored \
      --transform='s,^\./\(bin\|sbin\|lib\|lib64\)\(/\|$\),./usr/\1\2,S' \
      --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/info' \
      --exclude='./usr/share/locale' --exclude='./usr/share/lintian' --exclude='./usr/share/bug' \
      --exclude='./usr/lib/*/gconv' --exclude='./usr/share/postgresql/*/man' --exclude='./usr/share/zoneinfo/right' \
      --exclude='./usr/lib/postgresql/*/lib/bitcode' --exclude='./usr/lib/postgresql/*/lib/llvmjit*' \
      --exclude='./etc/init.d' --exclude='./etc/default' --exclude='./etc/cron*' --exclude='./lib/systemd' \
      --exclude='./usr/lib/systemd'
  done
  chmod -R u+w "$folder"
  if [ "$part" = base ]; then # what a script of base-files does
    rmdir "$folder/var/run" "$folder/var/lock"
    ln -s /run "$folder/var/run"
    ln -s /run/lock "$folder/var/lock"
  fi
  lay "$lantern/parts/$part/rootfs" "$folder"
  pack "$folder" "$file" --owner=0 --group=0
  own "$folder" "$file" "$part"
}

# Copies files of the repository, whatever umask they were checked out with.
lay() { # SOURCE FOLDER
  rm -rf "$work/lay"
  cp -R "$1" "$work/lay"
  chmod -R u=rwX,go=rX "$work/lay"
  cp -R --preserve=mode "$work/lay/." "$2/"
}

# Folders that belong to somebody: Docker gives a fresh volume the owner of what it covers.
own() { # FOLDER TAR PART
  local path uid
  [ -e "$lantern/parts/$3/folders" ] || return 0
  while read -r path uid; do
    mkdir -p "$1/$path"
    tar --append --file "$2" --format=gnu --mtime="@$epoch" --numeric-owner --owner="$uid" --group="$uid" \
      --mode=0755 --no-recursion -C "$1" "./$path"
  done <"$lantern/parts/$3/folders"
}

files() { # FOLDER TAR SOURCE
  cp -R "$3/." "$1/"
  pack "$1" "$2" --owner=0 --group=0 --mode=u=rwX,go=rX
}

blob() { # TEXT: stores it, prints its digest
  local id
  id=$(printf %s "$1" | digest)
  printf %s "$1" >"$cache/blobs/$id"
  echo "$id"
}

size() { stat -c %s "$cache/blobs/$1"; }

# --- layers ---------------------------------------------------------------------------------

recipe=$(declare -f debian lay own pack | digest)
declare -A os
for part in base db cache; do
  key=$(printf '%s\n' "$suite $arch $recipe" "$(cat "$lantern/parts/$part/packages" "$lantern/parts/$part/folders" 2>/dev/null || true)" \
    "$(tree_key "$lantern/parts/$part/rootfs")" | digest)
  if $refresh; then rm -f "$cache/layers/$key"; fi
  os[$part]=$(layer "$part" "$key" debian "$part")
done

# Not incremental, and no other package beside it: both would change the program's bytes.
program() { # FOLDER TAR
  (cd "$here/.." && CARGO_INCREMENTAL=0 cargo build --quiet --locked --release -p lantern) 9>&-
  mkdir -p "$1/usr/bin"
  cp "${CARGO_TARGET_DIR:-$here/../target}/release/lantern" "$1/usr/bin/lantern"
  pack "$1" "$2" --owner=0 --group=0 --mode=u=rwX,go=rX
  own "$1" "$2" app
}
recipe=$(declare -f program files own pack | digest)
key=$(cd "$here/.." && printf '%s\n' "$recipe" "$(cat "$lantern/parts/app/folders")" "$(rustc -vV)" \
  "${RUSTFLAGS:-}" "$(cat Cargo.toml Cargo.lock | digest)" "$(tree_key "$lantern/app")" | digest)
program=$(layer lantern "$key" program)

# --- images ---------------------------------------------------------------------------------

declare -A tags manifest layers_of # by the image's config digest
order=()
image() { # TAG CONFIG-JSON LAYER...
  local tag=$1 settings=$2 diff='' history='' list='' media l id
  shift 2
  for l in "$@"; do
    diff+=${diff:+,}"\"sha256:$l\""
    history+=${history:+,}"{\"created\":\"$created\",\"created_by\":\"images/build.sh\"}"
    list+=${list:+,}"{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$l\",\"size\":$(size "$l")}"
  done
  id=$(blob "{\"architecture\":\"$arch\",\"os\":\"linux\",\"created\":\"$created\",\"config\":$settings,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[$diff]},\"history\":[$history]}")
  media=application/vnd.oci.image
  [ -n "${tags[$id]:-}" ] || order+=("$id")
  tags[$id]+="${tags[$id]:+ }$tag"
  layers_of[$id]=$*
  manifest[$id]=$(blob "{\"schemaVersion\":2,\"mediaType\":\"$media.manifest.v1+json\",\"config\":{\"mediaType\":\"$media.config.v1+json\",\"digest\":\"sha256:$id\",\"size\":$(size "$id")},\"layers\":[$list]}")
}

settings() { tr -d '\n' <"$lantern/parts/$1/image.json" | sed "s/@SERVICE@/${2:-}/; s/  */ /g"; }

image lantern/base:12 "$(settings base)" "${os[base]}"
image lantern/db:15 "$(settings db)" "${os[base]}" "${os[db]}"
image lantern/cache:7 "$(settings cache)" "${os[base]}" "${os[cache]}"

while read -r version service folders; do
  over=()
  for folder in ${folders#-}; do
    case $folder in */*) ;; *) folder=$folder/$service ;; esac
    source=$lantern/versions/${folder%/*}/rootfs/${folder#*/}
    key=$(printf '%s\n' "$recipe" "$(tree_key "$source")" | digest)
    over+=("$(layer "${folder//\//-}" "$key" files "$source")")
  done
  image "lantern/$service:$version" "$(settings app "$service")" "${os[base]}" "$program" "${over[@]}"
done < <(grep -v -e '^#' -e '^$' "$lantern/versions/images")

# --- hand over ------------------------------------------------------------------------------

# One archive in both forms that engines read: Docker's manifest.json and an OCI layout.
compose_archive() { # FOLDER CONFIG-DIGEST...
  local folder=$1 docker='' index='' id tag l names files
  shift
  mkdir -p "$folder/blobs/sha256"
  for id in "$@"; do
    names='' files=''
    for l in ${layers_of[$id]}; do
      files+=${files:+,}"\"blobs/sha256/$l\""
      ln -f "$cache/blobs/$l" "$folder/blobs/sha256/$l"
    done
    ln -f "$cache/blobs/$id" "$cache/blobs/${manifest[$id]}" "$folder/blobs/sha256/"
    for tag in ${tags[$id]}; do
      names+=${names:+,}"\"$tag\""
      index+=${index:+,}"{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:${manifest[$id]}\",\"size\":$(size "${manifest[$id]}"),\"annotations\":{\"io.containerd.image.name\":\"docker.io/$tag\",\"org.opencontainers.image.ref.name\":\"${tag#*:}\"},\"platform\":{\"architecture\":\"$arch\",\"os\":\"linux\"}}"
    done
    docker+=${docker:+,}"{\"Config\":\"blobs/sha256/$id\",\"RepoTags\":[$names],\"Layers\":[$files]}"
  done
  printf '{"imageLayoutVersion":"1.0.0"}' >"$folder/oci-layout"
  printf '[%s]' "$docker" >"$folder/manifest.json"
  printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' "$index" >"$folder/index.json"
}

if [ -n "$archive" ]; then
  compose_archive "$work/out" "${order[@]}"
  # Blobs first: an archive that was cut short has no list of images.
  tar --create --file "$archive" --format=gnu --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
    --mode=u=rw,go=r --hard-dereference -C "$work/out" oci-layout blobs manifest.json index.json
  note "$archive" "$(($(stat -c %s "$archive") >> 20)) MiB"
  exit
fi

missing=()
for id in "${order[@]}"; do
  for tag in ${tags[$id]}; do
    case $(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true) in
      "sha256:$id" | "sha256:${manifest[$id]}") ;;
      *) missing+=("$id"); break ;;
    esac
  done
done
if [ ${#missing[@]} -gt 0 ]; then
  compose_archive "$work/out" "${missing[@]}"
  tar --create --hard-dereference -C "$work/out" oci-layout blobs manifest.json index.json | docker load --quiet >"$work/load.log" 2>&1 || { cat "$work/load.log" >&2; exit 1; }
fi
note "images" "${#order[@]}, of which ${#missing[@]} were loaded"
