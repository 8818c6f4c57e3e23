#!/bin/sh
# Loads kv with clients of every kind, connections coming and going, for SOAK_SECONDS (600). Its
# memory, descriptors and threads at the end are those after the first minute. KV_BIN names a build
# other than the release.
set -eu
cd "$(dirname "$0")/../.."

if [ -z "${KV_BIN:-}" ]; then
    cargo build --release --locked -q -p kv
    KV_BIN=target/release/kv
fi
KV_BIN=$(realpath "$KV_BIN")
export KV_BIN
exec cargo run --profile load --locked -q -p tests --example soak -- "${SOAK_SECONDS:-600}"
