#!/usr/bin/env -S python3 -B
"""Measures kv over etcd beside etcd's own JSON gateway, asked directly: `make bench-etcd`.

    BENCH_ROUNDS=5      how often everything is measured, one after the other
    BENCH_SECONDS=5     how long a sample takes
    BENCH_NODES=3       nodes of etcd, all on this machine
    BENCH_KV=path       a kv that has been built already

The same generator (wrk, 64 connections) sends both the same keys and values. The table goes to the
standard output and to target/bench/etcd.md: medians, their ratio, and the processor time that one
request takes in all processes of a side together, which a busy machine changes least.
Exits 1 when a ratio is below its goal.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from outcome import Outcome, outcome, percentile
from system import Server, ask, free_port

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SCRIPT = Path(__file__).with_name("etcd.lua")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
NODES = int(os.environ.get("BENCH_NODES", "3"))
CONNECTIONS = 64
KEYS = 1_000
KV, GATEWAY = "kv", "gateway"
# Method, keys, and the least that kv's rate is of the gateway's.
CASES = (("GET", KEYS, 0.8), ("PUT", KEYS, 2.0), ("PUT", 1, 2.0))
HEALTH = b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n"
READY = b"GET /ready HTTP/1.1\r\nHost: bench\r\n\r\n"


def start_etcd(stack: contextlib.ExitStack, directory: Path) -> tuple[list[Server], list[int]]:
    """The nodes, with their defaults: each write is synced to the disk by a majority."""
    clients, peers = ([free_port() for _ in range(NODES)] for _ in range(2))
    members = ",".join(f"n{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    servers = []
    for i, (client, peer) in enumerate(zip(clients, peers, strict=True)):
        url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        command = ["etcd", "--name", f"n{i}", "--data-dir", f"n{i}", "--logger", "zap"]
        command += ["--log-level", "error", "--initial-cluster", members]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        command += ["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]
        server = Server(command, directory, {}, f"n{i}.log")
        stack.callback(server.stop)
        servers.append(server)
    for server, port in zip(servers, clients, strict=True):
        server.wait_for_answer(port, HEALTH)
    while b'"true"' not in ask(clients[0], HEALTH):
        pass
    return servers, clients


def start_kv(
    stack: contextlib.ExitStack, directory: Path, binary: str, clients: list[int]
) -> tuple[Server, int]:
    """One kv in front of them."""
    port = free_port()
    nodes = ",".join(f"127.0.0.1:{client}" for client in clients)
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "WARNING"}
    server = Server([binary], directory, settings | {"STORE": f"etcd://{nodes}"}, "kv.log")
    stack.callback(server.stop)
    server.wait_for_answer(port, HEALTH)
    while b" 200 " not in ask(port, READY):
        pass
    return server, port


def sample(port: int, peer: str, method: str, keys: int) -> Outcome:
    """What wrk says of one load."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}", "--", peer, method, str(keys)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    said = outcome(output, CONNECTIONS)
    if said.errors:
        raise RuntimeError(f"{peer} {method}: {said.errors} errors")
    return said


def measure(binary: str) -> list[str]:
    """The rows of the table; a row that misses its goal ends with `MISSED`."""
    taken: dict[tuple[str, int, str], list[tuple[float, float, float, float]]] = {}
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes, clients = start_etcd(stack, directory)
        kv, kv_port = start_kv(stack, directory, binary, clients)
        ports = {KV: kv_port, GATEWAY: clients[0]}
        for peer in ports:
            sample(ports[peer], peer, "PUT", KEYS)
        for round_ in range(ROUNDS):
            for method, keys, _ in CASES:
                order = (KV, GATEWAY) if round_ % 2 else (GATEWAY, KV)
                for peer in order:
                    all_of = [*nodes, kv]
                    before = sum(server.cpu_seconds() for server in all_of)
                    said = sample(ports[peer], peer, method, keys)
                    cpu = sum(server.cpu_seconds() for server in all_of) - before
                    cpu_us = cpu / said.answers * 1e6
                    p50_us, p99_us = percentile(said.sent, 50), percentile(said.sent, 99)
                    row = (said.rate, p50_us, p99_us, cpu_us)
                    taken.setdefault((method, keys, peer), []).append(row)
                    print(f"{method} {keys} {peer}: {said.rate:,.0f}/s", file=sys.stderr, flush=True)
    rows = []
    for method, keys, goal in CASES:
        medians = {
            peer: [statistics.median(column) for column in zip(*taken[method, keys, peer], strict=True)]
            for peer in ports
        }
        ratio = medians[KV][0] / medians[GATEWAY][0]
        cells = [f"{method}, {keys:,} key{'s' if keys > 1 else ''}"]
        for place in range(4):
            cells += [f"{medians[peer][place]:,.0f}" for peer in (GATEWAY, KV)]
        cells += [f"{ratio:.2f}", f"{goal}" + ("" if ratio >= goal else " MISSED")]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def main() -> int:
    """Measures, and says whether the goals are met."""
    if missing := [tool for tool in ("etcd", "wrk") if not shutil.which(tool)]:
        print(f"left out, as there is no {' and no '.join(missing)} here", file=sys.stderr)
        return 0
    binary = os.environ.get("BENCH_KV")
    if not binary:
        command = ["cargo", "build", "--locked", "--release", "--bin", "kv"]
        subprocess.run(command, cwd=ROOT, check=True)
        binary = str(TARGET / "release" / "kv")
    version = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True)
    rows = measure(str(Path(binary).resolve()))
    text = "\n".join(
        [
            f"{version.stdout.splitlines()[0]}, {NODES} nodes, kv and wrk on one machine with "
            f"{os.cpu_count()} cores ({platform.machine()}); {CONNECTIONS} connections, values of "
            f"100 bytes, medians of {ROUNDS} samples of {SECONDS} s taken in turn. Latencies are of the "
            "requests that were sent, without wrk's correction.",
            "",
            "| 64 connections | gateway/s | kv/s | gateway p50 µs | kv p50 µs | gateway p99 µs | "
            "kv p99 µs | gateway CPU µs | kv CPU µs | ratio of rates | goal |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )
    page = TARGET / "bench" / "etcd.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text + "\n")
    print(text)
    return int(any("MISSED" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
