#!/bin/sh
# Feeds mutated streams of requests to the decoder and to the real kv, at once and in pieces, for
# FUZZ_SECONDS (60), half of them each. What comes out must not depend on the pieces.
set -eu
cd "$(dirname "$0")/../.."

half=$((${FUZZ_SECONDS:-60} / 2))
cases=20000

cargo test --profile load --locked -q -p common --lib --no-run
cargo build --profile load --locked -q -p kv -p checker -p tests --bins --examples

end=$(($(date +%s) + half))
rounds=0
while [ "$(date +%s)" -lt "$end" ]; do
    PROPTEST_CASES=$cases cargo test --profile load --locked -q -p common --lib \
        pieces_make_no_difference >/dev/null
    rounds=$((rounds + 1))
done
echo "$((rounds * cases)) streams decoded, the same at once, in pieces and byte by byte"
exec cargo run --profile load --locked -q -p tests --example fuzz -- "$half"
