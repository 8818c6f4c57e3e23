#!/bin/sh
# Builds both programs as static release binaries without Docker and prints where they are.
#
# The target is musl, as in the published images, where rustup can fetch its standard library;
# it brings its own C library, so no musl package is needed. Elsewhere it is the host's own target.
set -eu
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
if ! rustup target add "$target" >&2; then
    target=$(rustc --print host-tuple)
    echo "build-static: no standard library for musl to be had, building for $target" >&2
fi
export RUSTFLAGS="-C target-feature=+crt-static"
cargo build --locked --release --bin kv --bin checker --target "$target"
echo "${CARGO_TARGET_DIR:-target}/$target/release/kv"
echo "${CARGO_TARGET_DIR:-target}/$target/release/checker"
