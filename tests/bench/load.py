"""Load on a server: by wrk, by redis-benchmark, by connections that idle, and by a million keys."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from outcome import outcome, percentile
from system import Server, busy_seconds

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
CORES = len(os.sched_getaffinity(0))
# Connections from one source address, far below the number of ephemeral ports.
SOURCE_CONNECTIONS_MAX = 5_000
# Requests that are under way at once when keys are stored.
POUR_BATCH = 500


@dataclass(frozen=True)
class Operation:
    """What a request does."""

    verb: str
    """`GET` or `PUT`."""
    value_bytes: int = 100
    depth: int = 1
    """Requests that are sent in a row before their answers are read."""


@dataclass(frozen=True)
class Load:
    """How hard a server is asked to do it."""

    operation: Operation
    connections: int
    threads: int
    """Of the generator."""
    seconds: int


@dataclass(frozen=True)
class HttpRequest:
    """A request as a peer wants it."""

    method: str
    path: str
    content_type: str = ""
    body: str = ""

    def raw(self) -> bytes:
        """The bytes to send."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: localhost\r\n"
        if self.body:
            head += f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        return f"{head}\r\n{self.body}".encode()


@dataclass(frozen=True)
class Sample:
    """What one run of a load generator has shown."""

    rate: float
    """Answers a second."""
    p99_us: float
    """Of the requests that were sent."""
    errors: int
    server_us: float
    """CPU time that the server spent for an answer."""
    generator_share: float
    """CPU time that the generator spent, of what its threads could have."""
    others_share: float
    """CPU time that neither of the two spent, of what the machine has."""
    resident_kib: int
    """The server's memory when all was answered."""
    log_lines: int
    """Lines that the server had logged then."""


class Said(NamedTuple):
    """What a load generator says itself."""

    answers: int
    rate: float
    p99_us: float
    errors: int


def wrk(server: Server, port: int, request: HttpRequest, load: Load) -> Sample:
    """Keeps the connections busy with the request."""
    command = ["wrk", f"-t{load.threads}", f"-c{load.connections}", f"-d{load.seconds}s"]
    command += ["-s", str(WRK_SCRIPT), f"http://127.0.0.1:{port}{request.path}", "--"]
    command += [request.method, str(load.operation.depth)]
    if request.body:
        command += [request.content_type, request.body]

    def read(output: str) -> Said:
        said = outcome(output, load.connections, load.operation.depth)
        return Said(said.answers, said.rate, percentile(said.sent, 99), said.errors)

    return _measure(server, command, load.threads, read)


def redis_benchmark(
    server: Server, port: int, words: list[str], load: Load, requests: int
) -> Sample:
    """Sends so many requests, each being the command of these words."""
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "--csv"]
    command += ["-c", str(load.connections), "-P", str(load.operation.depth), "-n", str(requests)]
    command += ["--threads", str(load.threads), *words]

    def read(output: str) -> Said:
        rate, p99_us = redis_outcome(output)
        return Said(requests, rate, p99_us, 0)

    return _measure(server, command, load.threads, read)


def redis_outcome(output: str) -> tuple[float, float]:
    """Answers a second, and the 99th percentile in microseconds, of what `--csv` says last."""
    said = list(csv.DictReader(output.splitlines()))[-1]
    return float(said["rps"]), float(said["p99_latency_ms"]) * 1000


def _measure(
    server: Server,
    command: list[str],
    threads: int,
    read: Callable[[str], Said],
) -> Sample:
    server_before, all_before = server.cpu_seconds(), busy_seconds()
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        output = generator.stdout.read()
        _, status, usage = os.wait4(generator.pid, 0)
        generator.returncode = os.waitstatus_to_exitcode(status)
    elapsed = time.perf_counter() - started
    if generator.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    generator_cpu = usage.ru_utime + usage.ru_stime
    server_cpu = server.cpu_seconds() - server_before
    others_cpu = busy_seconds() - all_before - server_cpu - generator_cpu
    said = read(output)
    return Sample(
        rate=said.rate,
        p99_us=said.p99_us,
        errors=said.errors,
        server_us=server_cpu / said.answers * 1e6,
        generator_share=generator_cpu / elapsed / min(threads, CORES),
        others_share=max(0.0, others_cpu / elapsed / CORES),
        resident_kib=server.resident_kib(),
        log_lines=server.log_lines(),
    )


@contextlib.contextmanager
def idle_connections(port: int, count: int, request: bytes) -> Iterator[None]:
    """Keeps `count` connections open, each after one answer; fails if the server ends any."""
    with contextlib.ExitStack() as stack:
        watch = select.poll()
        for index in range(count):
            connection = stack.enter_context(socket.socket())
            # A source of its own for each few thousand, or the ephemeral ports run short.
            connection.bind((f"127.0.0.{2 + index // SOURCE_CONNECTIONS_MAX}", 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            if not connection.recv(65536):
                raise RuntimeError(f"idle connection {index} of {count} was not answered")
            watch.register(connection, select.POLLIN)
        yield
        if lost := len(watch.poll(0)):
            raise RuntimeError(f"{lost} of {count} idle connections were closed by the server")


def pour(port: int, requests: Iterator[bytes], mark: bytes) -> None:
    """Sends all requests, many in a row, until each has its answer, which holds `mark` once."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        while batch := list(itertools.islice(requests, POUR_BATCH)):
            connection.sendall(b"".join(batch))
            answers = bytearray()
            while answers.count(mark) < len(batch):
                received = connection.recv(1 << 20)
                if not received:
                    raise RuntimeError(f"closed after {bytes(answers[-200:])!r}")
                answers += received
