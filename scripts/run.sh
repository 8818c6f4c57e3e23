#!/bin/sh
# Builds both programs and runs them in the foreground until Ctrl-C: scripts/run.sh [release|debug]
#
#   HOST           127.0.0.1   where both listen
#   PORT           8000        kv
#   CHECKER_PORT   8001        checker
# Every other setting of the two programs is passed on.
set -eu
cd "$(dirname "$0")/.."

profile=${1:-release}
HOST=${HOST:-127.0.0.1}
kv_port=${PORT:-8000}
checker_port=${CHECKER_PORT:-8001}
export HOST

if ! command -v cargo >/dev/null; then
    echo "run: install Rust (https://rustup.rs), or use Docker: make up" >&2
    exit 1
fi
case $profile in
release) cargo build --locked --release --bin kv --bin checker ;;
debug) cargo build --locked --bin kv --bin checker ;;
*)
    echo "run: unknown profile '$profile'" >&2
    exit 64
    ;;
esac
programs=${CARGO_TARGET_DIR:-target}/$profile

alive() { kill -0 "$1" 2>/dev/null; }

stop() {
    trap '' INT TERM
    # shellcheck disable=SC2086 # none, one or two of them
    kill -TERM $pids 2>/dev/null || true
    wait
}

echo "kv http://$HOST:$kv_port, checker http://$HOST:$checker_port; Ctrl-C stops both"
pids=
trap 'stop; exit 0' INT TERM
PORT=$kv_port "$programs/kv" &
kv=$!
pids=$kv
PORT=$checker_port KV_SERVICE_URL=${KV_SERVICE_URL:-http://127.0.0.1:$kv_port} "$programs/checker" &
checker=$!
pids="$kv $checker"

while alive "$kv" && alive "$checker"; do
    sleep 1
done

# One has ended by itself, which is an error whatever its status: the other one goes too.
if alive "$kv"; then ended=checker; else ended=kv; fi
echo "run: $ended has ended" >&2
stop
exit 1
