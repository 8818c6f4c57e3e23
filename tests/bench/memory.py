#!/usr/bin/env python3
"""Compares what kv counts (kv_store_bytes) with what it takes (VmRSS), and with Redis.

    tests/bench/memory.py KV [KV...]      binaries to measure, e.g. of glibc and of musl
    tests/bench/memory.py --redis KV...   a million keys of 100 bytes in Redis too

Exits with 1 when kv counts more than 15 % beside what it takes, or takes more than Redis. Needs
/proc and, with --redis, redis-server in the path.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

SLACK = 0.15
BATCH = 500
DEADLINE_S = 60
# Keys, bytes of a value, and what is asked with the write.
LOADS = [
    (300_000, 10, ""),
    (300_000, 10, "?ttl=1h"),
    (300_000, 100, ""),
    (300_000, 100, "?ttl=1h"),
    (10_000, 10 << 10, ""),
    (10_000, 10 << 10, "?ttl=1h"),
    (100, 1 << 20, ""),
    (100, 1 << 20, "?ttl=1h"),
]
COMPARED = (1_000_000, 100)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Running:
    """A server on a port of its own, ended with the block."""

    def __init__(self, command, **env):
        self.command = command
        self.env = env

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            self.command, env={**os.environ, **self.env}, cwd=self.scratch.name,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        self.scratch.cleanup()

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) << 10


def key(index):
    # Spread over the order of keys, as keys are that come from hashes or people.
    return f"key:{(index * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 16:012x}"


def load(stream, count, request, end):
    """Pipelines `count` requests; each answer ends with `end`."""
    # Few in a batch when they are large: nobody reads while this writes.
    batch = max(1, min(BATCH, (1 << 20) // len(request(0))))
    for first in range(0, count, batch):
        last = min(first + batch, count)
        stream.sendall(b"".join(request(index) for index in range(first, last)))
        answered = 0
        tail = b""
        while answered < last - first:
            received = stream.recv(1 << 16)
            assert received, "the server has closed"
            tail += received
            answered += tail.count(end)
            tail = tail[tail.rfind(end) + len(end):] if end in tail else tail


def kv_request(value_bytes, query):
    value = json.dumps("x" * (value_bytes - 2))

    def request(index):
        name = key(index)
        body = f'{{"key":"{name}","value":{value}}}'
        head = f"PUT /keys/{name}{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()

    return request


def measure_kv(binary, count, value_bytes, query=""):
    """Bytes that the resident memory has grown by, and bytes that kv counts."""
    port = free_port()
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "ERROR", "MAX_BODY": "2MiB"}
    with Running([os.path.abspath(binary)], **settings) as server, connect(port) as stream:
        load(stream, 1, kv_request(10, ""), b"successfully\"}")
        before = server.rss()
        load(stream, count, kv_request(value_bytes, query), b"successfully\"}")
        grown = server.rss() - before
        stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with stream.makefile("rb") as answer:
            counted = re.search(rb"\nkv_store_bytes (\d+)\n", answer.read())
        return server.rss(), grown, int(counted.group(1))


def measure_redis(count, value_bytes):
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    value = "x" * value_bytes

    def request(index):
        name = key(index)
        return f"*3\r\n$3\r\nSET\r\n${len(name)}\r\n{name}\r\n${value_bytes}\r\n{value}\r\n".encode()

    with Running(command) as server, connect(port) as stream:
        load(stream, count, request, b"+OK\r\n")
        return server.rss()


def main(arguments):
    binaries = [argument for argument in arguments if not argument.startswith("--")]
    if not binaries:
        sys.exit(__doc__)
    holds = True
    redis = measure_redis(*COMPARED) if "--redis" in arguments else None
    for binary in binaries:
        print(binary)
        for count, value_bytes, query in LOADS:
            _, grown, counted = measure_kv(binary, count, value_bytes, query)
            off = counted / grown - 1
            holds &= abs(off) <= SLACK
            print(f"  {count:>9,} x {value_bytes:>9,} B {query or '':8}"
                  f" taken {grown:>12,}, counted {counted:>12,}: {off:+.1%}")
        if redis:
            resident, _, _ = measure_kv(binary, *COMPARED)
            holds &= resident <= redis
            print(f"  {COMPARED[0]:>9,} x {COMPARED[1]:>9,} B resident {resident:>12,},"
                  f" Redis {redis:>12,}: {resident / redis - 1:+.1%}")
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
