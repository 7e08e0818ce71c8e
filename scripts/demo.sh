#!/usr/bin/env bash
# Installs the reference product the way a customer does, updates it, and leaves it running.
#
#   demo.sh start     everything is below ${BERTH_DEMO:-/var/tmp/berth-demo}, on an engine of its own
#   demo.sh stop      ends it and removes all of it
. "$(dirname "$0")/lib.sh"
become_root "$@"
demo=${BERTH_DEMO:-/var/tmp/berth-demo}
port=${BERTH_DEMO_PORT:-8080}
bin=$target/release

stop() {
  local pid
  if pid=$(cat "$demo/berthd.pid" 2>/dev/null) && grep -q berthd "/proc/$pid/comm" 2>/dev/null; then
    kill "$pid"
    for _ in $(seq 100); do [ -e "/proc/$pid" ] || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  if [ -d "$demo/engine" ]; then "$root/scripts/engine.sh" stop "$demo/engine" --purge; fi
  rm -rf "$demo"
}

failed() {
  local status=$?
  set +e
  trap - EXIT
  trap '' INT TERM
  [ ! -s "$demo/berthd.log" ] || { echo "--- the last lines of berthd:"; tail -20 "$demo/berthd.log"; } >&2
  stop
  give_back
  exit "$status"
}

start() {
  need_build
  need_docker
  cd "$root"
  if [ -e "$demo/berthd.pid" ]; then stop; fi
  # Asked before anything is built: someone else's port is not ours to take.
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is in use; say BERTH_DEMO_PORT=…"; fi
  trap failed EXIT
  trap 'exit 130' INT TERM
  mkdir -p "$demo"
  note "building berthd and berth"
  cargo build --quiet --locked --release -p berth-daemon
  published=$("$root/scripts/publish-lantern.sh")
  note "starting a private engine"
  engine=$("$root/scripts/engine.sh" start "$demo/engine")
  setsid "$bin/berthd" --state-dir "$demo/state" --socket "$demo/berth.sock" --docker "$engine" \
    >"$demo/berthd.log" 2>&1 </dev/null &
  echo $! >"$demo/berthd.pid"
  berth() { "$bin/berth" --socket "$demo/berth.sock" "$@"; }
  for _ in $(seq 100); do [ -S "$demo/berth.sock" ] && berth status >/dev/null 2>&1 && break; sleep 0.1; done

  note "berth trust"
  berth trust "$(cat "$published/fingerprint")"
  note "berth install lantern-1.0.0.berth"
  berth install "$published/lantern-1.0.0.berth" --set "HTTP_PORT=$port" \
    --set "EXTERNAL_URL=http://localhost:$port" --yes --accept-grants
  curl -fsS "http://127.0.0.1:$port/api/search?q=lighthouse"; echo
  note "berth update lantern-all.berth --to 1.2.0"
  berth update "$published/lantern-all.berth" --to 1.2.0 --yes
  berth status
  curl -fsS "http://127.0.0.1:$port/api/search?q=lighthouse"; echo
  trap - EXIT INT TERM
  give_back
  cat <<TEXT

Lantern runs:  http://localhost:$port
Berth:         $bin/berth --socket $demo/berth.sock status
Bundles:       $published   (1.3.0, 1.3.1 and 1.3.2 are broken: try one)
Remove it:     make demo-stop
TEXT
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  *) die "usage: demo.sh start|stop" ;;
esac
