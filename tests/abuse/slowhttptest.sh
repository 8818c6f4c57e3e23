#!/usr/bin/env bash
# Slow clients by the thousand: slowhttptest (Debian package) sends heads and bodies that do not
# end, and reads answers as slowly as it can. Meanwhile a fresh connection is answered at any time.
#
#   tests/abuse/slowhttptest.sh [KV]     the binary; target/release/kv
#   SECONDS_EACH                         for each of the three modes; 15
set -Eeuo pipefail
cd "$(dirname "$0")/../.."

kv=${1:-target/release/kv}
seconds=${SECONDS_EACH:-15}
connections=1000
probe_seconds_max=1
scratch=$(mktemp -d)
pids=()

finish() {
    trap - EXIT
    if [ "${#pids[@]}" != 0 ]; then kill "${pids[@]}" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
    echo "$*" >&2
    exit 1
}

command -v slowhttptest >/dev/null || fail "slowhttptest is missing: apt-get install slowhttptest"

HOST=127.0.0.1 PORT=0 LOG_LEVEL=INFO "$kv" 2>"$scratch/kv.log" &
pids+=($!)
for _ in {1..100}; do
    address=$(sed -n 's/.* listening on \([^,]*\),.*/\1/p' "$scratch/kv.log")
    if [ -n "$address" ]; then break; fi
    sleep 0.1
done
if [ -z "$address" ]; then fail "kv does not start: $(cat "$scratch/kv.log")"; fi

body=$(head -c 500000 /dev/zero | tr '\0' x)
printf '{"key":"large","value":"%s"}' "$body" >"$scratch/large.json"
curl -fsS -o /dev/null -X PUT --data-binary "@$scratch/large.json" "http://$address/keys/large"

# under NAME ARGUMENTS…: slowhttptest with these, and a probe every 100 ms.
under() {
    local name=$1 probes=0 slowest=0 took
    shift
    slowhttptest "$@" -c $connections -r 500 -l "$seconds" -p $probe_seconds_max \
        >"$scratch/slow.log" 2>&1 &
    local slow=$!
    pids+=("$slow")
    while kill -0 "$slow" 2>/dev/null; do
        if ! took=$(curl -fsS -o /dev/null -m $probe_seconds_max -w '%{time_total}' \
            "http://$address/health"); then
            fail "$name: probe $probes is not answered within $probe_seconds_max s"
        fi
        took=$(awk -v t="$took" 'BEGIN { printf "%d", t * 1000000 }')
        if [ "$took" -gt "$slowest" ]; then slowest=$took; fi
        probes=$((probes + 1))
        sleep 0.1
    done
    wait "$slow" || fail "$name: slowhttptest ended with $?: $(tail -n 20 "$scratch/slow.log")"
    if sed 's/\x1b\[[0-9;]*m//g' "$scratch/slow.log" | grep -q 'service available: *NO'; then
        fail "$name: slowhttptest found the service unavailable"
    fi
    if [ "$probes" -lt 10 ]; then fail "$name: slowhttptest ended at once"; fi
    echo "$name: $probes probes answered, the slowest in $slowest us"
}

url=http://$address
under "heads" -H -u "$url/health" -i 1 -x 24
under "bodies" -B -u "$url/keys/a" -t PUT -i 1 -s 8192 -x 10
under "reads" -X -u "$url/keys/large" -k 3 -n 1 -z 5 -w 10 -y 20
