#!/usr/bin/env bash
# A private Docker engine: its own containerd, data root, socket, bridge and subnets.
#
#   engine.sh start DIR [--netns] [-- DOCKERD-ARGUMENT...]   prints the socket's path
#   engine.sh stop DIR [--purge]                             --purge: and removes DIR
#   engine.sh address DIR                                    how to enter its network: "host" or a path for nsenter
#
# Several run side by side, beside a Docker that the machine already has. With --netns the engine
# lives in a network namespace with nothing but loopback: what it publishes is reached with
# `nsenter --net=DIR/netns`, nothing gets out, and no rule of the machine's firewall is touched.
#
# `start` on a DIR whose engine died starts it again on the same data. dockerd would quietly use a
# containerd that the machine runs already, so containerd is always started here.
set -euo pipefail

die() { echo "engine.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || die "usage: engine.sh start|stop|address DIR [--netns|--purge] [-- DOCKERD-ARGUMENT...]"
[ "$(id -u)" = 0 ] || die "needs root"
export PATH="$PATH:/usr/sbin:/sbin"
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd -P)
shift 2
netns=false purge=false
while [ $# -gt 0 ]; do
  case $1 in
    --netns) netns=true ;;
    --purge) purge=true ;;
    --) shift; break ;;
    *) die "unknown argument $1" ;;
  esac
  shift
done

# What the engines on this machine must agree on: who has which slot (and so which subnets), and
# how the firewall was before the first of them.
shared=/run/berth-engines
dockerd=${DOCKERD:-dockerd}
containerd=${CONTAINERD:-containerd}

# The process of a pid file, if it still is the one that was started for this DIR.
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  tr "\0" " " 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$dir/" && echo "$pid"
}

end() { # PIDFILE SECONDS
  local pid i
  pid=$(alive "$1") || return 0
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < $2 * 10; i++)); do
    alive "$1" >/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
  sleep 0.2
}

inside() { if $netns; then nsenter --net="$dir/netns" "$@"; else "$@"; fi; }
# In the background, as a session of its own; `$!` is the program itself, not a shell around it.
become() { if $netns; then exec nsenter --net="$dir/netns" setsid "$@"; else exec setsid "$@"; fi; }

nobody() { ! compgen -G "$shared/[0-9]*" >/dev/null; }

slot=
take_slot() {
  local n
  mkdir -p "$shared"
  for ((n = 0; n < 40; n++)); do
    [ ! -e "$shared/$n" ] && [ -z "$(ip -4 route list root "10.$((200 + n)).0.0/16")" ] || continue
    if nobody && ! iptables -t nat -S DOCKER >/dev/null 2>&1; then
      # Nobody's Docker is here: remember what dockerd is going to change for the whole machine.
      { cat /proc/sys/net/ipv4/ip_forward; iptables -S FORWARD | sed -n 's/^-P FORWARD //p'; } >"$shared/original"
    fi
    echo "$dir" >"$shared/$n"
    echo "slot=$n netns=$netns" >"$dir/engine.env"
    return
  done
  die "no free subnet: 40 engines are running ($shared)"
}

# dockerd empties the chains that all engines of a network namespace share when it starts. What
# others had in them is put back in front, in order.
docker_rules() { iptables-save 2>/dev/null | awk '/^\*/ {t = substr($0, 2)} /^-A DOCKER/ {print t, $0}' | sort -u; }
put_back() {
  local table rule own
  own="10\.$((200 + slot))\.|$(bridges | paste -sd'|')"
  comm -23 "$1" <(docker_rules) | { grep -vE -- "$own" || true; } | while read -r table rule; do
    eval "iptables -t $table ${rule/#-A/-I}" 2>/dev/null || true
  done
}

start() {
  local pid i before
  if alive "$dir/docker.pid" >/dev/null; then echo "$dir/docker.sock"; return; fi
  command -v "$dockerd" >/dev/null || die "no dockerd: apt-get install docker.io"
  exec 9>/run/berth-engines.lock
  flock 9
  if [ -e "$dir/engine.env" ]; then
    # shellcheck disable=SC1091
    . "$dir/engine.env"
  else
    take_slot
    # shellcheck disable=SC1091
    . "$dir/engine.env"
  fi
  local net=10.$((200 + slot)) bridge=berth$slot
  if $netns && ! mountpoint -q "$dir/netns" 2>/dev/null; then
    touch "$dir/netns"
    unshare --net="$dir/netns" ip link set lo up
  fi
  if ! inside ip link show "$bridge" >/dev/null 2>&1; then
    inside ip link add "$bridge" type bridge
    inside ip addr add "$net.0.1/24" dev "$bridge"
    inside ip link set "$bridge" up
  fi
  cat >"$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd/root"
state = "$dir/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$dir/containerd.sock"
TOML
  if ! alive "$dir/containerd.pid" >/dev/null; then
    become "$containerd" --config "$dir/containerd.toml" >>"$dir/containerd.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/containerd.pid"
  fi
  for ((i = 0; i < 100; i++)); do [ -S "$dir/containerd.sock" ] && break; sleep 0.1; done
  before=$(mktemp)
  $netns || docker_rules >"$before"
  rm -f "$dir/docker.pid"
  become "$dockerd" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
    --host "unix://$dir/docker.sock" --containerd "$dir/containerd.sock" --bridge "$bridge" \
    --default-address-pool "base=$net.128.0/17,size=24" "$@" >>"$dir/docker.log" 2>&1 </dev/null 9>&- &
  pid=$!
  for ((i = 0; i < 600; i++)); do
    if curl -fs --max-time 5 --unix-socket "$dir/docker.sock" http://d/_ping >/dev/null 2>&1; then
      $netns || put_back "$before"
      rm -f "$before"
      echo "$dir/docker.sock"
      return
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  tail -20 "$dir/docker.log" >&2
  flock -u 9
  stop
  die "dockerd did not come up; its log is above"
}

# Bridges of this engine: the default one, those in its pool, and those that its networks name.
bridges() {
  echo "berth$slot"
  ip -4 -o addr show | awk -v p="10.$((200 + slot))." '$2 ~ /^br-/ && index($4, p) == 1 {print $2}'
}

stop() {
  local pid i link table rule networks=
  [ -e "$dir/engine.env" ] || return 0
  # shellcheck disable=SC1091
  . "$dir/engine.env"
  if alive "$dir/docker.pid" >/dev/null; then
    export DOCKER_HOST=unix://$dir/docker.sock
    networks=$(timeout 10 docker network ls -q --filter driver=bridge 2>/dev/null | sed 's/^/br-/') || true
    # Nothing in a private engine deserves a grace period. No restart policy may bring it back.
    timeout 60 sh -c 'ids=$(docker ps -aq); [ -z "$ids" ] || { docker update --restart no $ids; docker kill $(docker ps -q); }' >/dev/null 2>&1 || true
  fi
  end "$dir/docker.pid" 20
  for pid in /proc/[0-9]*; do # shims that outlived a killed dockerd, each with its container
    if tr "\0" "\n" 2>/dev/null <"$pid/cmdline" | grep -qxF -- "$dir/containerd.sock"; then
      for i in $(pgrep -P "${pid#/proc/}" || true); do kill -9 "$i" 2>/dev/null || true; done
      kill -9 "${pid#/proc/}" 2>/dev/null || true
    fi
  done
  end "$dir/containerd.pid" 10
  for pid in /proc/[0-9]*; do # one that was started again while it still ran
    if tr "\0" "\n" 2>/dev/null <"$pid/cmdline" | grep -qxF -- "$dir/containerd.toml"; then
      kill -9 "${pid#/proc/}" 2>/dev/null || true
    fi
  done
  exec 9>/run/berth-engines.lock
  flock 9
  if ! $netns; then
    for link in $(bridges) $networks; do
      iptables-save | awk -v b="$link" '/^\*/ {t = substr($0, 2)}
        /^-A/ {for (i = 2; i <= NF; i++) if ($i == b) {print t, $0; break}}' |
        while read -r table rule; do eval "iptables -t $table ${rule/#-A/-D}" || true; done
      ip link show "$link" >/dev/null 2>&1 && ip link delete "$link"
    done
    # Rules for published ports name the container's address only.
    iptables-save | awk -v p="10.$((200 + slot))." '/^\*/ {t = substr($0, 2)}
      /^-A/ {for (i = 2; i <= NF; i++) if (index($i, p) == 1) {print t, $0; break}}' |
      while read -r table rule; do eval "iptables -t $table ${rule/#-A/-D}" || true; done
  fi
  awk -v d="$dir/" 'index($5, d) == 1 {print $5}' /proc/self/mountinfo | sort -r |
    while read -r i; do umount -l "$(printf '%b' "$i")" 2>/dev/null || true; done
  rm -f "$shared/$slot" "$dir/engine.env" "$dir/docker.sock" "$dir/containerd.sock" "$dir/netns"
  if nobody && [ -e "$shared/original" ]; then forget; fi
  flock -u 9
  if $purge; then rm -rf "$dir"; fi
}

# The last engine leaves the firewall as the first one found it, unless another Docker came since.
forget() {
  local chain forward policy
  if iptables -S FORWARD | grep -q -- '-j DOCKER$'; then rm "$shared/original"; return; fi
  if iptables -t nat -S DOCKER >/dev/null 2>&1; then
    iptables -D FORWARD -j DOCKER-USER || true
    iptables -D FORWARD -j DOCKER-ISOLATION-STAGE-1 || true
    for chain in $(iptables -S | sed -n 's/^-N \(DOCKER[A-Z0-9-]*\)$/\1/p'); do iptables -F "$chain"; done
    for chain in $(iptables -S | sed -n 's/^-N \(DOCKER[A-Z0-9-]*\)$/\1/p'); do iptables -X "$chain" || true; done
    iptables -t nat -S | sed -n 's/^-A \(.*-j DOCKER\)$/-D \1/p' |
      while read -r rule; do eval "iptables -t nat $rule" || true; done
    iptables -t nat -F DOCKER && iptables -t nat -X DOCKER || true
  fi
  { read -r forward; read -r policy; } <"$shared/original"
  iptables -P FORWARD "$policy"
  echo "$forward" >/proc/sys/net/ipv4/ip_forward
  rm "$shared/original"
}

case $verb in
  start) start "$@" ;;
  stop) stop ;;
  address) if [ -e "$dir/netns" ]; then echo "$dir/netns"; else echo host; fi ;;
  *) die "unknown verb $verb" ;;
esac
