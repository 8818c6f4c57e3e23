#!/bin/sh
# Runs the examples in documents against a running pair and compares the answers with those they
# show: readme.sh [FILE…], the README without one.
#
# An example is a ```console block: a line that starts with `$ ` is a command, the lines after it
# are what it prints, compared whole; `…` stands for any text.
#
#   KV_URL        http://localhost:8000   takes the place of localhost:8000 in the examples
#   CHECKER_URL   http://localhost:8001   takes the place of localhost:8001
set -eu
cd "$(dirname "$0")/.."

kv=${KV_URL:-http://localhost:8000}
checker=${CHECKER_URL:-http://localhost:8001}
examples=0
failed=0
command=
expected=
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

run_example() {
    if [ -z "$command" ]; then return; fi
    examples=$((examples + 1))
    status=0
    actual=$(sh -c "$command" </dev/null 2>"$errors") || status=$?
    # As a pattern for `case`: everything literal but the ellipsis.
    pattern=$(printf '%s' "$expected" | sed 's/[][*?\\]/\\&/g; s/…/*/g')
    # shellcheck disable=SC2254
    case $status:$actual in
    0:$pattern) ;;
    *)
        failed=$((failed + 1))
        printf '$ %s\nexpected: %s\ngot:      %s (exit %s)\n' \
            "$command" "$expected" "$actual" "$status" >&2
        [ "$status" = 0 ] || cat "$errors" >&2
        ;;
    esac
    command=
    expected=
}

run_file() {
    in_block=no
    while IFS= read -r line; do
        case $in_block:$line in
        'no:```console') in_block=yes ;;
        no:*) ;;
        'yes:```')
            run_example
            in_block=no
            ;;
        'yes:$ '*)
            run_example
            command=$(printf '%s' "${line#??}" |
                sed "s#localhost:8000#${kv#http://}#g; s#localhost:8001#${checker#http://}#g")
            ;;
        yes:*)
            expected=$expected${expected:+"
"}$line
            ;;
        esac
    done <"$1"
}

[ $# -gt 0 ] || set -- README.md
for file; do run_file "$file"; done

if [ "$examples" = 0 ]; then
    echo "readme: no examples found" >&2
    exit 1
fi
echo "readme: $examples examples, $failed failed"
[ "$failed" = 0 ]
