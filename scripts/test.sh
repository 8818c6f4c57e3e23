#!/bin/sh
# Runs every test that needs no Docker engine: with cargo, or else in a container.
set -eu
cd "$(dirname "$0")/.."

if command -v cargo >/dev/null; then
    # The integration tests start the real programs, so those come first.
    cargo build --locked --bins
    cargo test --workspace --locked
elif docker info >/dev/null 2>&1; then
    image=$(scripts/build-image.sh)
    docker build --target test --tag kv-test --build-arg "BUILD_IMAGE=$image" -f Dockerfile.kv .
    docker run --rm kv-test
else
    echo "test: install Rust (https://rustup.rs) or Docker (https://docs.docker.com/engine/install/)" >&2
    exit 1
fi
