#!/usr/bin/env -S python3 -B
"""Measures kv's durable store beside Redis with an append-only file: part of `make bench`.

    BENCH_ROUNDS=5      how often everything is measured
    BENCH_SECONDS=2     how long a sample takes
    BENCH_KEYS=1000000  keys that are there when reading is measured

The page goes to the standard output and to docs/benchmarks-durable.md.
"""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import ROOT, TARGET, builds, machine, say
from load import redis_outcome
from outcome import Outcome, outcome, percentile
from peers import Kv, Redis, Started

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
KEYS = int(os.environ.get("BENCH_KEYS", "1000000"))
SCRIPT = Path(__file__).with_name("wrk_keys.lua")
WRITTEN_KEYS = 100_000
VALUE = json.dumps("x" * 98)
OVERWRITES, OVERWRITTEN_KEYS = 1_000_000, 10_000
BATCH = 1_000


class Durable(Kv):
    """kv with a data directory, syncing before each answer."""

    def __init__(self, name: str, binary: Path, env: dict[str, str] | None = None) -> None:
        super().__init__(name, binary, {"DATA_DIR": "data", "MAX_BODY": "4MiB"} | (env or {}))

    def command(self, port: int, directory: Path) -> list[str]:
        (directory / "data").mkdir()
        return super().command(port, directory)


class RedisAof(Redis):
    """Redis that syncs its append-only file before each answer."""

    name = "Redis"

    def version(self) -> str:
        return super().version().replace("no persistence", "appendfsync always")

    def command(self, port: int, directory: Path) -> list[str]:
        redis = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        return redis + ["--appendonly", "yes", "--appendfsync", "always"]


def wrk(port: int, connections: int, method: str, keys: int) -> Outcome:
    """Keeps the connections busy with requests for random keys."""
    threads = str(min(2, connections))
    command = ["wrk", "-t", threads, "-c", str(connections), "-d", f"{SECONDS}s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}/", "--", method, str(keys)]
    command += [VALUE] if method == "PUT" else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = outcome(done.stdout, connections)
    if said.errors:
        raise RuntimeError(f"{said.errors} errors")
    return said


def redis_benchmark(port: int, connections: int, test: str, requests: int) -> tuple[float, float]:
    """Answers a second on random keys, and the 99th percentile in microseconds."""
    command = ["redis-benchmark", "-p", str(port), "--csv", "-c", str(connections), "-t", test]
    command += ["-n", str(requests), "-r", str(WRITTEN_KEYS), "-d", "100"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return redis_outcome(done.stdout)


def metrics(port: int) -> dict[str, float]:
    """What kv counts, without the metrics that have labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    plain = [line.split() for line in lines if line[0] != "#" and "{" not in line]
    return {name: float(number) for name, number in plain}


def write(port: int, count: int, keys: int) -> None:
    """So many writes to so many keys in turn, a batch and a sync for many of them."""
    for first in range(0, count, BATCH):
        numbers = ((first + index) % keys for index in range(BATCH))
        ops = [f'{{"op":"put","key":"key:{number:012}","value":{VALUE}}}' for number in numbers]
        body = f'{{"ops":[{",".join(ops)}]}}'.encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/batch", body)
        urllib.request.urlopen(request).read()


def written_bytes(started: Started) -> int:
    """What the process has had written to the disk."""
    text = Path(f"/proc/{started.server.process.pid}/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["write_bytes"])


class Run:
    """All that has been measured, by the row's name."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.values: dict[str, list[float]] = defaultdict(list)
        self.requests = {1: 4_000, 16: 30_000, 64: 60_000, 256: 60_000}

    def put(self) -> None:
        """Durable writes beside Redis's, at the same number of connections."""
        kv, redis = Durable("kv", self.binary), RedisAof()
        for connections in self.requests:
            with kv.started() as started:
                rate = wrk(started.port, connections, "PUT", WRITTEN_KEYS).rate
                synced = metrics(started.port)
            with redis.started() as started:
                requests = self.requests[connections]
                other, _ = redis_benchmark(started.port, connections, "set", requests)
            self.requests[connections] = int(other * SECONDS)
            self.values[f"PUT kv {connections}"].append(rate)
            self.values[f"PUT Redis {connections}"].append(other)
            self.values[f"PUT ratio {connections}"].append(rate / other)
            group = synced["kv_writes_total"] / synced["kv_syncs_total"]
            self.values[f"PUT group {connections}"].append(group)

    def get(self) -> None:
        """Reading at random from many keys: on the disk with two sizes of cache, and in memory."""
        stores = [
            ("memory", Kv("kv", self.binary)),
            ("32MiB", Durable("kv", self.binary)),
            ("512MiB", Durable("kv", self.binary, {"CACHE_SIZE": "512MiB"})),
        ]
        rates = {}
        for name, peer in stores:
            with peer.started() as started:
                write(started.port, KEYS, KEYS)
                wrk(started.port, 64, "GET", KEYS)
                rates[name] = wrk(started.port, 64, "GET", KEYS).rate
                self.values[f"GET {name}"].append(rates[name])
                kib = started.server.resident_kib()
                self.values[f"GET resident {name}"].append(kib / 1024)
                if name == "32MiB":
                    self.while_writing(started)
        for name in ("32MiB", "512MiB"):
            self.values[f"GET ratio {name}"].append(rates[name] / rates["memory"])

    def while_writing(self, started: Started) -> None:
        """How long reads take while 16 clients write."""
        idle = wrk(started.port, 4, "GET", KEYS)
        before = metrics(started.port)
        with ThreadPoolExecutor() as pool:
            writers = pool.submit(wrk, started.port, 16, "PUT", WRITTEN_KEYS)
            busy = wrk(started.port, 4, "GET", KEYS)
            writers.result()
        after = metrics(started.port)
        spent = after["kv_sync_seconds_total"] - before["kv_sync_seconds_total"]
        sync = spent / max(1, after["kv_syncs_total"] - before["kv_syncs_total"]) * 1e6
        self.values["GET busy"].append(busy.rate)
        self.values["sync"].append(sync)
        for name, idle_of, busy_of in (
            ("p99", idle.sent, busy.sent),
            ("corrected p99", idle.corrected, busy.corrected),
        ):
            idle_us, busy_us = percentile(idle_of, 99), percentile(busy_of, 99)
            self.values[f"{name} idle"].append(idle_us)
            self.values[f"{name} busy"].append(busy_us)
            self.values[f"{name} ratio"].append((busy_us - sync) / idle_us)

    def redis_while_writing(self) -> None:
        """The same of Redis, which reads nothing while it syncs."""
        with RedisAof().started() as started:
            sets, _ = redis_benchmark(started.port, 16, "set", WRITTEN_KEYS)
            gets, idle = redis_benchmark(started.port, 4, "get", WRITTEN_KEYS)
            with ThreadPoolExecutor() as pool:
                count = int(sets * SECONDS)
                writers = pool.submit(redis_benchmark, started.port, 16, "set", count)
                # A part of what it reads without writers, so that they do not end before.
                rate, busy = redis_benchmark(started.port, 4, "get", int(gets * SECONDS / 10))
                writers.result()
        self.values["p99 idle Redis"].append(idle)
        self.values["p99 busy Redis"].append(busy)
        self.values["GET busy Redis"].append(rate)

    def amplification(self) -> None:
        """What a million overwrites of 10,000 keys leave, and what was written for them."""
        with Durable("kv", self.binary).started() as started:
            write(started.port, OVERWRITES, OVERWRITTEN_KEYS)
            time.sleep(2)
            after = metrics(started.port)
            brought = OVERWRITES * (len(VALUE) + len("key:000000000000"))
            self.values["amplification"].append(written_bytes(started) / brought)
            self.values["overwritten MB"].append(after["kv_disk_bytes"] / 1e6)
            self.values["compactions"].append(after["kv_compactions_total"])

    def row(self, name: str, form: str = "{:,.0f}") -> str:
        """The median of what was measured, with half of its range."""
        values = self.values[name]
        median = statistics.median(values)
        spread = (max(values) - min(values)) / 2 / median if median else 0
        return f"{form.format(median)} ±{spread:.0%}"


def page(run: Run, facts: dict[str, str]) -> str:
    """The results as Markdown."""

    def verdict(name: str, least: float = 0, most: float = math.inf) -> str:
        return "met" if least <= statistics.median(run.values[name]) <= most else "**missed**"

    lines = [
        "# Benchmarks of the durable store",
        "",
        f"Written by `make bench`. Medians of {ROUNDS} alternating rounds of {SECONDS} s with half of",
        "their range. Writes are PUTs of 100 bytes to 100,000 random keys, each synced before its",
        "answer on both sides; wrk and redis-benchmark take their share of the same cores.",
        "",
        "| connections | kv, PUT/s | Redis `appendfsync always`, SET/s | ratio | goal | | steps a sync |",
        "|---|---|---|---|---|---|---|",
    ]
    for connections, goal in ((1, 0.7), (16, 1.0), (64, 1.0), (256, 1.2)):
        ratio = f"PUT ratio {connections}"
        lines.append(
            f"| {connections} | {run.row(f'PUT kv {connections}')} "
            f"| {run.row(f'PUT Redis {connections}')} | {run.row(ratio, '{:.2f}')} | ≥ {goal} "
            f"| {verdict(ratio, goal)} | {run.row(f'PUT group {connections}', '{:.1f}')} |"
        )
    lines += [
        "",
        f"GET at 64 connections of {KEYS:,} keys of 100 bytes, at random:",
        "",
        "| store | GET/s | of the store in memory | resident, MiB |",
        "|---|---|---|---|",
        f"| memory | {run.row('GET memory')} | 1 | {run.row('GET resident memory')} |",
    ]
    for name in ("32MiB", "512MiB"):
        lines.append(
            f"| durable, `CACHE_SIZE={name}` | {run.row(f'GET {name}')} "
            f"| {run.row(f'GET ratio {name}', '{:.2f}')} | {run.row(f'GET resident {name}')} |"
        )
    lines += [
        "",
        "The goal is 0.8 of the store in memory: "
        f"{verdict('GET ratio 512MiB', 0.8)} when the cache holds the keys, "
        f"{verdict('GET ratio 32MiB', 0.8)} when it holds a part of them.",
        "",
        "GET at 4 connections, 99th percentile in µs, while 16 clients write and without them. The goal "
        "is 3 times that without them, beside one sync.",
        "",
        "| | without | while they write | times, less a sync | GET/s then |",
        "|---|---|---|---|---|",
        f"| kv, of the requests that were sent | {run.row('p99 idle')} | {run.row('p99 busy')} "
        f"| {run.row('p99 ratio', '{:.1f}')}, {verdict('p99 ratio', most=3)} | {run.row('GET busy')} |",
        f"| the same, corrected | {run.row('corrected p99 idle')} | {run.row('corrected p99 busy')} "
        f"| {run.row('corrected p99 ratio', '{:.1f}')}, {verdict('corrected p99 ratio', most=3)} | |",
        f"| Redis, of the requests that were sent | {run.row('p99 idle Redis')} "
        f"| {run.row('p99 busy Redis')} | | {run.row('GET busy Redis')} |",
        "",
        f"A sync takes {run.row('sync')} µs. Corrected: with the requests that the 4 connections would have "
        "sent while they waited, so that a halt counts by its length (coordinated omission); "
        "[design.md](design.md#the-durable-store) says what halts them. Redis reads nothing while it "
        "syncs.",
        "",
        f"{OVERWRITES:,} overwrites of {OVERWRITTEN_KEYS:,} keys: "
        f"{run.row('amplification', '{:.1f}')} bytes written for each byte that came, "
        f"{run.row('overwritten MB')} MB on the disk at the end, the journal included, "
        f"{run.row('compactions')} merges of tables.",
        "",
        "## Machine",
        "",
        *(f"- {name}: {fact}" for name, fact in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """One run, from the build to the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if RedisAof().missing():
        raise SystemExit(f"bench: missing: {', '.join(RedisAof().missing())}")
    run = Run(builds()[0].binary)
    for round_ in range(ROUNDS):
        for case in (run.put, run.get, run.redis_while_writing, run.amplification):
            say(f"durable: round {round_ + 1} of {ROUNDS}: {case.__name__}")
            case()
    text = page(run, machine() | {"Redis": RedisAof().version()})
    print(text)
    for path in (TARGET / "bench" / "benchmarks-durable.md", ROOT / "docs" / "benchmarks-durable.md"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
