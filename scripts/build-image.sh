#!/bin/sh
# Prints the name of the image to build with; makes one where none can be had.
#
#   scripts/build-image.sh             what $BUILD_IMAGE says, else the official image when it is
#                                      here or can be pulled, else the stand-in
#   scripts/build-image.sh stand-in    the stand-in, whatever else is there
#
# The stand-in is a small Debian with its packaged Rust: all it needs is a Debian mirror, so images
# can be built where no image registry is reachable. It is made once, by root (debootstrap wants a
# chroot), and trusts the certificates this host trusts, so that cargo works behind the same proxy.
#
#   DEBIAN_MIRROR   http://deb.debian.org/debian
#   DEBIAN_SUITE    trixie; Rust comes from its backports
set -eu

official=rust:1-alpine
stand_in=kv-build:local
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
suite=${DEBIAN_SUITE:-trixie}

say() { echo "build-image: $*" >&2; }

here() { docker image inspect "$1" >/dev/null 2>&1; }

certificates() {
    for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt \
        /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        if [ -n "$file" ] && [ -r "$file" ]; then
            cat "$file"
            return
        fi
    done
}

make_stand_in() {
    if ! command -v debootstrap >/dev/null; then
        say "the stand-in needs debootstrap: apt-get install debootstrap"
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        say "the stand-in is made by root, once: sudo $0 stand-in"
        exit 1
    fi
    say "making $stand_in from $mirror $suite (once, about a minute)"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' INT TERM
    mkdir "$work/context"
    certificates >"$work/context/ca-certificates.crt"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" "$mirror" \
        >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    tar -C "$work/root" -c . | docker import - "$stand_in-base" >"$work/log"
    cat >"$work/context/Dockerfile" <<EOF
FROM $stand_in-base
ENV DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN echo "deb $mirror $suite-backports main" >/etc/apt/sources.list.d/backports.list \
 && apt-get update -q \
 && apt-get install -q -y --no-install-recommends -t $suite-backports cargo rustc gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
EOF
    docker build -t "$stand_in" "$work/context" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; exit 1; }
    docker rmi "$stand_in-base" >/dev/null
}

use_stand_in() {
    here "$stand_in" || make_stand_in
    echo "$stand_in"
}

if ! docker info >/dev/null 2>&1; then
    say "no Docker engine answers: is it running, and may you use it? (docker info)"
    exit 1
fi
case "${1:-}" in
stand-in) use_stand_in ;;
'')
    if [ -n "${BUILD_IMAGE:-}" ]; then
        echo "$BUILD_IMAGE"
    elif here "$official"; then
        echo "$official"
    elif here "$stand_in"; then
        echo "$stand_in"
    elif docker pull -q "$official" >/dev/null 2>&1; then
        echo "$official"
    else
        say "$official cannot be pulled"
        use_stand_in
    fi
    ;;
*)
    say "unknown argument '$1'"
    exit 64
    ;;
esac
