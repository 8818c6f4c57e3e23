#!/bin/sh
# Starts both services in the background, waits until they are healthy and says where they are.
set -eu
cd "$(dirname "$0")/.."

healthy_timeout_s=60

address() { scripts/compose.sh port "$1" "$2" | sed 's/^0\.0\.0\.0:/localhost:/'; }

wait_until_healthy() {
    id=$(scripts/compose.sh ps -q "$1")
    waited_s=0
    until [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]; do
        if [ "$waited_s" -ge "$healthy_timeout_s" ]; then
            echo "up: $1 is not healthy after $healthy_timeout_s s; its last lines:" >&2
            scripts/compose.sh logs --tail=20 "$1" >&2
            exit 1
        fi
        sleep 1
        waited_s=$((waited_s + 1))
    done
}

scripts/compose.sh up --detach
wait_until_healthy kv-service
wait_until_healthy test-client

kv=$(address kv-service 8000)
checker=$(address test-client 8001)
cat <<EOF

kv        http://$kv        API pages at /docs
checker   http://$checker        API pages at /docs

Try:  curl -X POST $kv/keys/greeting -d '{"key":"greeting","value":"hello"}'
      curl $kv/keys/greeting
      curl -X POST $checker/test/deletion
EOF
