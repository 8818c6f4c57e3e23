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

# Asks both to stop and waits; fails when one of them does not end well.
stop() {
    trap '' HUP INT TERM
    failed=0
    for program in $running; do
        kill -TERM "$program" 2>/dev/null || true
    done
    for program in $running; do
        wait "$program" || failed=1
    done
    return $failed
}

# In sessions of their own they get one signal, the script's, and not the terminal's too: a second
# one would cut their running requests short.
echo "kv http://$HOST:$kv_port, checker http://$HOST:$checker_port; Ctrl-C stops both"
running=
trap 'stop && exit 0; exit 1' HUP INT TERM
PORT=$kv_port setsid "$programs/kv" &
kv=$!
running=$kv
PORT=$checker_port KV_SERVICE_URL=${KV_SERVICE_URL:-http://127.0.0.1:$kv_port} \
    setsid "$programs/checker" &
checker=$!
running="$kv $checker"

while alive "$kv" && alive "$checker"; do
    sleep 1
done

# One has ended by itself, which is an error whatever its status: the other one goes too.
if alive "$kv"; then ended=checker; else ended=kv; fi
echo "run: $ended has ended" >&2
stop || true
exit 1
