#!/bin/sh
# The crash tests of the durable store, in their long form and with an optimized kv.
# CRASH_ROUNDS kills and flips, CRASH_SECONDS of power cuts, CRASH_SEED for what is left to chance.
set -eu
cd "$(dirname "$0")/../.."

export CRASH_ROUNDS="${CRASH_ROUNDS:-200}" CRASH_SECONDS="${CRASH_SECONDS:-300}"
cargo build --locked --release --bin kv
KV_BIN=$PWD/target/release/kv exec cargo test --locked --package tests --test durable -- --nocapture --test-threads 1
