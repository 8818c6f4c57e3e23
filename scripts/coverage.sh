#!/bin/sh
# Measures which lines the tests reach, the programs they start included; the report is
# coverage/html/index.html.
set -eu
cd "$(dirname "$0")/.."

if ! cargo llvm-cov --version >/dev/null 2>&1; then
    echo "coverage: rustup component add llvm-tools && cargo install --locked cargo-llvm-cov" >&2
    exit 1
fi
settings=$(cargo llvm-cov show-env --sh)
eval "$settings"
cargo llvm-cov clean --workspace
scripts/test.sh
cargo llvm-cov report --html --output-dir coverage
cargo llvm-cov report --summary-only
