#!/bin/sh
# Holds a running kv to its OpenAPI document: every phase of schemathesis, always with the same seed. No server
# error, no status and no content type that is not documented.
#
#   tests/contract/schemathesis.sh [KV]    the binary to test; a debug build unless given
#
# Needs Python and, once, PyPI. Where PyPI cannot be reached it says so and does nothing, but in CI
# that is a failure.
set -eu
cd "$(dirname "$0")/../.."
root=$PWD

version=4.32.5
seed=1
examples_max=50
token=contract-token
target=${CARGO_TARGET_DIR:-$root/target}
venv=$target/schemathesis-$version

if [ ! -x "$venv/bin/schemathesis" ]; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" || ! "$venv/bin/pip" install -q "schemathesis==$version"; then
        rm -rf "$venv"
        echo "schemathesis: not installed, for that Python and PyPI are needed; left out" >&2
        if [ -n "${CI:-}" ]; then exit 1; fi
        exit 0
    fi
fi

kv=${1:-}
if [ -z "$kv" ]; then
    cargo build --locked --quiet --bin kv
    kv=$target/debug/kv
fi

# Not in the tree: what schemathesis remembers of one run would be part of the next.
scratch=$(mktemp -d)
log=$scratch/kv.log
# Port 0 takes a free one; the first line of the log says which.
: >"$log"
HOST=127.0.0.1 PORT=0 LOG_LEVEL=INFO KV_TOKEN=$token "$kv" 2>"$log" &
pid=$!
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
tries=0
until address=$(sed -n 's/.* listening on \([^,]*\),.*/\1/p' "$log") && [ -n "$address" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        echo "schemathesis: kv does not start: $(cat "$log")" >&2
        exit 1
    fi
    sleep 0.1
done

cd "$scratch"
export PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS="$root/tests/contract/hooks.py"
"$venv/bin/schemathesis" --config-file "$root/tests/contract/schemathesis.toml" \
    run "http://$address/openapi.json" \
    --phases examples,coverage,fuzzing,stateful --checks all \
    --seed "$seed" --max-examples "$examples_max" \
    --header "Authorization: Bearer $token" --no-color
