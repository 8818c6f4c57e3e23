#!/bin/sh
# Times the history checker beside porcupine on one thread, and writes docs/benchmarks-history.md.
#
#     HISTORIES=folder    where etcd's logs are (../shared/data/histories)
set -eu

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}/bench/history
histories=${HISTORIES:-../shared/data/histories}
[ -d "$histories" ] || { echo "no folder $histories: without etcd's logs" >&2; histories=; }

cargo build --locked --release --manifest-path tests/bench/history/Cargo.toml --target-dir "$target"
page=$target/benchmarks-history.md
{
    echo '# Benchmarks of the history checker'
    echo
    echo 'Processor time on one thread, medians, reading the files not included; `tests/bench/history.sh` makes this page.'
    echo "$(uname -m), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)."
    echo
    "$target/release/history-bench" ${histories:+"$histories"}
} | tee "$page"
[ -z "$histories" ] || cp "$page" docs/benchmarks-history.md
