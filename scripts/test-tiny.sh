#!/bin/sh
# Tests the other engine: its own tests, and kv's API with it. Left out is what tiny_http cannot do
# (docs/tiny_http.md): close a connection, and take a target that is not ASCII.
set -eu
cd "$(dirname "$0")/.."

target=$PWD/target/tiny
cargo build --locked --package kv --features tiny_http --target-dir "$target"
cargo test --locked --package common --features tiny_http --target-dir "$target" tiny
KV_BIN=$target/debug/kv cargo test --locked --package tests --test golden --test kv_api -- \
    --skip a_body_may_be_as_large_as_the_limit \
    --skip a_key_is_what_its_escapes_stand_for
