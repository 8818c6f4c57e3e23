#!/bin/sh
# Asks a running pair the few questions that say whether it works at all.
#
#   KV_URL        http://localhost:8000
#   CHECKER_URL   http://localhost:8001
set -eu

kv=${KV_URL:-http://localhost:8000}
checker=${CHECKER_URL:-http://localhost:8001}
key=smoke-$$
failed=0

# expect STATUS TEXT METHOD URL [BODY]: the status, and a text that the answer holds.
expect() {
    if ! answer=$(curl -sS -m 15 -X "$3" ${5:+-d "$5"} -w '\n%{http_code}' "$4" 2>&1); then
        verdict=FAILED
    else
        case $answer in
        *"$2"*"
$1") verdict=ok ;;
        *) verdict=FAILED ;;
        esac
    fi
    printf '%-6s %-6s %s\n' "$verdict" "$3" "$4"
    if [ "$verdict" = FAILED ]; then
        printf 'expected %s %s, got: %s\n' "$1" "$2" "$answer" >&2
        failed=1
    fi
}

expect 200 '{"status":"healthy"}' GET "$kv/health"
expect 200 '{"status":"healthy"}' GET "$checker/health"
expect 201 '"success":true' POST "$kv/keys/$key" "{\"key\":\"$key\",\"value\":1}"
expect 200 '"success":true' PUT "$kv/keys/$key" "{\"key\":\"$key\",\"value\":[2]}"
expect 200 '"value":[2]' GET "$kv/keys/$key"
expect 200 '"success":true' DELETE "$kv/keys/$key"
expect 404 "not found" GET "$kv/keys/$key"
expect 200 '"success":true' POST "$checker/test/deletion"
expect 200 '"success":true' POST "$checker/test/overwrite"
exit $failed
