"""What has been measured, and what the numbers have to be."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

RATE, P99_US, CPU_US = "answers a second", "p99 in µs", "CPU µs an answer"
KIB, START_MS = "resident KiB", "ms to the first answer"
LINES = "log lines an answer"
# The static build may be that much off each goal.
MUSL_ALLOWANCE = 0.10


@dataclass(frozen=True)
class Series:
    """One number, measured several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half of the range, as a part of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0

    def over(self, other: Series) -> Series:
        """The ratio in each round: what slows the machine for a while slows both."""
        return Series(tuple(a / b for a, b in zip(self.values, other.values)))


class Results:
    """Numbers by case, peer and quantity, one a round; and notes on them."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self.notes: dict[tuple[str, str], set[str]] = defaultdict(set)
        """By case and peer: what to know of its numbers."""

    def add(self, case: str, peer: str, quantity: str, value: float) -> None:
        """Adds the number of one more round."""
        self._values[case, peer, quantity].append(value)

    def get(self, case: str, peer: str, quantity: str) -> Series | None:
        """All rounds of a number, if it was measured."""
        values = self._values.get((case, peer, quantity))
        return Series(tuple(values)) if values else None

    def ratio(self, case: str, peer: str, other: str, quantity: str) -> Series | None:
        """The peer's number over the other's, round by round."""
        mine, theirs = self.get(case, peer, quantity), self.get(case, other, quantity)
        return mine.over(theirs) if mine and theirs else None


@dataclass(frozen=True)
class Goal:
    """A bound on a number that is measured for a build of kv."""

    text: str
    measured: Callable[[Results, str], Series | None]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    def bound(self, allowance: float = 0.0) -> float:
        """What the median has to reach, or not to exceed."""
        if self.at_least is not None:
            return self.at_least * (1 - allowance)
        return self.at_most * (1 + allowance)

    def is_met(self, series: Series, allowance: float = 0.0) -> bool:
        """Whether the median is within the bound."""
        if self.at_least is not None:
            return series.median >= self.bound(allowance)
        return series.median <= self.bound(allowance)


def _rate(case: str, peer: str) -> Callable[[Results, str], Series | None]:
    return lambda results, kv: results.ratio(case, kv, peer, RATE)


def _within(case: str, other: str) -> Callable[[Results, str], Series | None]:
    """The rate in one case over the rate in another one."""

    def measured(results: Results, kv: str) -> Series | None:
        mine, without = results.get(case, kv, RATE), results.get(other, kv, RATE)
        return mine.over(without) if mine and without else None

    return measured


def _mb(case: str) -> Callable[[Results, str], Series | None]:
    def measured(results: Results, kv: str) -> Series | None:
        kib = results.get(case, kv, KIB)
        return Series(tuple(value * 1024 / 1e6 for value in kib.values)) if kib else None

    return measured


GOALS = [
    Goal("GET, 1 connection, of nginx's constant", _rate("get-1", "nginx"), at_least=1.0),
    Goal("GET, 8 connections, of nginx's constant", _rate("get-8", "nginx"), at_least=1.0),
    Goal("GET, 64 connections, of nginx's constant", _rate("get-64", "nginx"), at_least=1.0),
    Goal("GET, 512 connections, of nginx's constant", _rate("get-512", "nginx"), at_least=0.85),
    Goal("GET, 64 connections, of Redis GET", _rate("get-64", "Redis"), at_least=1.2),
    Goal("GET, 64 connections, of Webdis", _rate("get-64", "Webdis"), at_least=1.8),
    Goal("GET, 64 connections, of etcd v2", _rate("get-64", "etcd v2"), at_least=2.0),
    Goal("GET, 64 connections, of FastAPI", _rate("get-64", "FastAPI ×1"), at_least=30.0),
    Goal("PUT, 64 connections, of Redis SET", _rate("put-64", "Redis"), at_least=1.1),
    Goal("GET, 16 in a row, of Redis -P 16", _rate("get-64-pipelined", "Redis"), at_least=1.0),
    Goal(
        "GET, 64 connections, 99th percentile, of Redis's",
        lambda results, kv: results.ratio("latency-64", kv, "Redis", P99_US),
        at_most=1.0,
    ),
    Goal("10,000 idle connections, memory in all", _mb("idle-10000"), at_most=24.0, unit=" MB"),
    Goal(
        "64 busy connections beside 10,000 idle ones, of the rate without",
        _within("idle-10000", "idle-0"),
        at_least=0.95,
    ),
    Goal(
        "A million keys of 100 bytes, memory, of Redis's",
        lambda results, kv: results.ratio("keys-1000000", kv, "Redis", KIB),
        at_most=1.0,
    ),
    Goal("Idle, memory", _mb("idle"), at_most=2.5, unit=" MB"),
    Goal(
        "Log level INFO to a file, of the rate at WARNING",
        _within("info-file", "warning"),
        at_least=0.9,
    ),
    Goal(
        "Log level INFO to /dev/null, of the rate at WARNING",
        _within("info-null", "warning"),
        at_least=0.9,
    ),
]
