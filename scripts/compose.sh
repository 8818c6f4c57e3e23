#!/bin/sh
# Runs Docker Compose, whichever is installed, on this project: scripts/compose.sh logs -f
set -eu
cd "$(dirname "$0")/.."

if docker compose version >/dev/null 2>&1; then
    exec docker compose "$@"
elif command -v docker-compose >/dev/null; then
    exec docker-compose "$@"
else
    echo "compose: install Docker with its compose plugin (https://docs.docker.com/engine/install/)," >&2
    echo "compose: or on Debian: apt-get install docker.io docker-compose" >&2
    exit 1
fi
