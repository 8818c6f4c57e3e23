"""What is measured. A case measures its peers one after the other, once a round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from load import CORES, HttpRequest, Load, Operation, Sample, idle_connections, pour
from peers import Kv, Peer, Redis, redis_command, value
from results import CPU_US, KIB, LINES, P99_US, RATE, START_MS, Results
from system import ask

# A load generator that takes this much of what its threads can have is the limit itself.
GENERATOR_SHARE_MAX = 0.95
# A sample beside which others took more of the machine than this is taken again.
OTHERS_SHARE_MAX = 0.10
# Slow starters start less often.
START_BUDGET_S = 0.2
IDLE_MEMORY_DELAY_S = 0.3
# Memory for keys hardly differs from round to round.
MEMORY_ROUNDS_MAX = 3
SAMPLED_KEYS = 1_000

KV, MUSL, TINY_HTTP = "kv", "kv musl", "kv tiny_http"
FAST = (KV, MUSL, "nginx", "Redis")
ALL = (*FAST, TINY_HTTP, "Webdis", "etcd v2", "etcd v3", "FastAPI ×1", "FastAPI ×2")


@dataclass
class Bench:
    """One run: who takes part, for how long, and what has come out."""

    peers: dict[str, Peer]
    cases: list[Case]
    seconds: int
    rounds: int
    retries_left: int
    """Samples that may be taken once more because something else was busy meanwhile."""
    results: Results = field(default_factory=Results)
    threads: dict[tuple[str, str], int] = field(default_factory=dict)
    """By case and peer: with how many threads its load generator does best."""
    samples: int = 0
    disturbed: int = 0
    """Samples during which something else was busy all the same."""

    def present(self, names: Iterable[str], round_: int) -> list[Peer]:
        """Those that take part, each round with another one first."""
        here = [self.peers[name] for name in names if name in self.peers]
        first = round_ % len(here) if here else 0
        return here[first:] + here[:first]

    def sample(self, take: Callable[[], Sample]) -> Sample:
        """Takes a sample, again when others were busy meanwhile."""
        sample = take()
        if sample.others_share > OTHERS_SHARE_MAX and self.retries_left > 0:
            self.retries_left -= 1
            sample = min(sample, take(), key=lambda sample: sample.others_share)
        self.samples += 1
        self.disturbed += sample.others_share > OTHERS_SHARE_MAX
        return sample

    def load(self, peer: Peer, load: Load, idle: int = 0) -> Sample:
        """A sample of a server of its own, beside so many idle connections."""

        def take() -> Sample:
            with peer.started() as started:
                peer.fill(started, load.operation)
                with idle_connections(started.port, idle, peer.probe()):
                    return peer.load(started, load)

        return self.sample(take)

    def get_64(self) -> Load:
        """The load beside which kv is compared with itself."""
        return Load(Operation("GET"), 64, min(2, CORES), self.seconds)


class Case:
    """Something to measure."""

    name: str
    in_quick = True
    """Whether a quick run has it."""

    def run(self, bench: Bench, round_: int) -> None:
        """Measures every peer that takes part, once."""
        raise NotImplementedError


@dataclass
class Throughput(Case):
    """Answers a second, as many as the connections can get."""

    name: str
    operation: Operation
    connections: int
    peers: tuple[str, ...]
    in_quick: bool = False
    threads: tuple[int, ...] = (1, 2)
    """Threads of the load generator to choose from, in the first round."""

    def run(self, bench: Bench, round_: int) -> None:
        for peer in bench.present(self.peers, round_):
            choice = self._threads(bench, peer)
            loads = [
                Load(self.operation, self.connections, threads, bench.seconds) for threads in choice
            ]
            samples = {load.threads: bench.load(peer, load) for load in loads}
            best = max(samples, key=lambda threads: samples[threads].rate)
            bench.threads[self.name, peer.name] = best
            self._add(bench.results, peer, samples[best])

    def _threads(self, bench: Bench, peer: Peer) -> list[int]:
        if (self.name, peer.name) in bench.threads:
            return [bench.threads[self.name, peer.name]]
        possible = [threads for threads in self.threads if threads <= min(self.connections, CORES)]
        # There is no time to choose where there is only one round.
        return possible if bench.rounds > 1 else possible[-1:]

    def _add(self, results: Results, peer: Peer, sample: Sample) -> None:
        results.add(self.name, peer.name, RATE, sample.rate)
        results.add(self.name, peer.name, P99_US, sample.p99_us)
        results.add(self.name, peer.name, CPU_US, sample.server_us)
        if sample.generator_share >= GENERATOR_SHARE_MAX:
            results.notes[self.name, peer.name].add("limited")
        if sample.errors:
            results.notes[self.name, peer.name].add("errors")


@dataclass
class Idle(Case):
    """Busy connections beside many idle ones, and without them."""

    connections: int
    name: str = "idle-connections"

    def run(self, bench: Bench, round_: int) -> None:
        room = {"MAX_CONNECTIONS": str(self.connections + 1_000)}
        for peer in bench.present((KV, MUSL), round_):
            peer = Kv(peer.name, peer.binary, room)
            for idle in (0, self.connections) if round_ % 2 else (self.connections, 0):
                sample = bench.load(peer, bench.get_64(), idle)
                bench.results.add(f"idle-{idle}", peer.name, RATE, sample.rate)
                bench.results.add(f"idle-{idle}", peer.name, KIB, sample.resident_kib)


@dataclass
class Logging(Case):
    """What a line a request costs."""

    name: str = "logging"

    def run(self, bench: Bench, round_: int) -> None:
        levels = [
            ("warning", "WARNING", "log"),
            ("info-file", "INFO", "log"),
            ("info-null", "INFO", "/dev/null"),
        ]
        first = round_ % len(levels)
        for peer in bench.present((KV, MUSL), round_):
            for case, level, log in levels[first:] + levels[:first]:
                variant = Kv(peer.name, peer.binary, {"LOG_LEVEL": level}, log)
                sample = bench.load(variant, bench.get_64())
                lines = sample.log_lines / (sample.rate * bench.seconds)
                bench.results.add(case, peer.name, RATE, sample.rate)
                bench.results.add(case, peer.name, LINES, lines)


@dataclass
class Start(Case):
    """Time to the first answer, and memory while there is nothing to keep."""

    starts_a_round: int
    name: str = "start"

    def run(self, bench: Bench, round_: int) -> None:
        for peer in bench.present(ALL, round_):
            taken_s, starts = 0.0, 0
            while starts < self.starts_a_round and taken_s < START_BUDGET_S:
                with peer.started() as started:
                    bench.results.add("start", peer.name, START_MS, started.first_answer_s * 1e3)
                    if starts == 0:
                        time.sleep(IDLE_MEMORY_DELAY_S)
                        bench.results.add("idle", peer.name, KIB, started.server.resident_kib())
                taken_s, starts = taken_s + started.first_answer_s, starts + 1


@dataclass
class Keys(Case):
    """Memory for many keys of 100 bytes each."""

    count: int
    name: str = "keys"

    def run(self, bench: Bench, round_: int) -> None:
        if round_ >= MEMORY_ROUNDS_MAX:
            return
        for peer in bench.present((KV, MUSL, "Redis"), round_):
            store = _store_in_redis if isinstance(peer, Redis) else _store_in_kv
            with peer.started() as started:
                store(started.port, self.count)
                kib = started.server.resident_kib()
            bench.results.add(f"keys-{self.count}", peer.name, KIB, kib)


def _key(number: int) -> str:
    return f"key:{number:012}"


def _sample_of(count: int) -> list[int]:
    return random.Random(count).sample(range(count), min(count, SAMPLED_KEYS))


def _store_in_kv(port: int, count: int) -> None:
    """Stores the keys; each PUT is answered 200, and some of the keys are read back."""
    text = value(Operation("PUT"))
    requests = (
        HttpRequest(
            "PUT", f"/keys/{key}", "application/json", f'{{"key":"{key}","value":"{text}"}}'
        ).raw()
        for key in map(_key, range(count))
    )
    pour(port, requests, b"HTTP/1.1 200 OK")
    some = (HttpRequest("GET", f"/keys/{_key(number)}").raw() for number in _sample_of(count))
    pour(port, some, text.encode())


def _store_in_redis(port: int, count: int) -> None:
    """The same, and Redis says how many it has."""
    text = value(Operation("PUT"))
    pour(port, (redis_command(["SET", _key(number), text]) for number in range(count)), b"+OK\r\n")
    pour(
        port, (redis_command(["GET", _key(number)]) for number in _sample_of(count)), text.encode()
    )
    said = ask(port, redis_command(["DBSIZE"]))
    if said != b":%d\r\n" % count:
        raise RuntimeError(f"Redis has other keys than it was given: {said!r}")


def all_cases(quick: bool, rounds: int, idle: int) -> list[Case]:
    """Every case, or in a quick run those that tell most in little time."""
    cases: list[Case] = []
    for verb in ("GET", "PUT"):
        # nginx has nothing to store.
        fast = tuple(name for name in FAST if verb == "GET" or name != "nginx")
        everyone = tuple(name for name in ALL if verb == "GET" or name != "nginx")
        name, one = verb.lower(), Operation(verb)
        many, large = Operation(verb, depth=16), Operation(verb, value_bytes=10_240)
        cases += [
            Throughput(f"{name}-1", one, 1, fast),
            Throughput(f"{name}-8", one, 8, fast),
            Throughput(f"{name}-64", one, 64, everyone, in_quick=True),
            Throughput(f"{name}-512", one, 512, fast),
            Throughput(f"{name}-64-pipelined", many, 64, fast, in_quick=verb == "GET"),
            Throughput(f"{name}-64-10k", large, 64, fast),
        ]
    cases.append(Throughput("latency-64", Operation("GET"), 64, FAST, threads=(1,)))
    cases += [
        Idle(1_000 if quick else idle),
        Logging(),
        Start(starts_a_round=5 if quick else -(-20 // rounds)),
        Keys(100_000 if quick else 1_000_000),
    ]
    return [case for case in cases if case.in_quick or not quick]
