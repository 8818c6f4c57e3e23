"""The results as a page of Markdown that reads well in a terminal too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cases import ALL, GENERATOR_SHARE_MAX, KV, MUSL, OTHERS_SHARE_MAX, Bench, Idle, Keys
from results import (
    CPU_US,
    GOALS,
    KIB,
    LINES,
    MUSL_ALLOWANCE,
    P99_US,
    RATE,
    START_MS,
    Goal,
    Results,
    Series,
)

NONE = "-"
MARKS = {"limited": "*", "errors": "!"}
COLUMNS = {
    "1": "1",
    "8": "8",
    "64": "64",
    "512": "512",
    "64-pipelined": "64, 16 in a row",
    "64-10k": "64, 10 KB",
}
METHOD = f"""\
Load generator and server share the machine, and the generator is part of every number: wrk for
HTTP, redis-benchmark for Redis. Each is tried with one thread and with two in the first round and
stays with what gives more. A server is started anew for each sample and only runs while it is
measured; a round goes through all cases and peers, each time with another peer first. Ratios are
taken round by round. A value is a JSON string of 100 characters (10,240 for 10 KB) under one key;
"in a row" means that each connection sends 16 requests before it reads their answers. kv runs with
its defaults but for `LOG_LEVEL=WARNING`. nginx has no store: it answers a constant, in as
many bytes as kv's answer has.

- `±`: half of the range of all rounds.
- `*`: the load generator used {GENERATOR_SHARE_MAX:.0%} of what its threads can have, so the server
  may do more.
- `!`: some requests got no answer within 2 seconds, or one that says an error.
- 99th percentiles are of GET with 64 connections and one generator thread, which then has a core
  of its own. Every request counts once, as redis-benchmark has it: wrk's correction for those that
  were not sent while others were waited for is taken back.
- CPU time an answer is the server's alone, its work in the kernel included."""


def page(bench: Bench, facts: dict[str, str], absent: list[str]) -> str:
    """The whole page."""
    results = bench.results
    parts = [
        "# Benchmarks",
        f"Written by `make bench`. Every number is the median of {bench.rounds} rounds; a rate is "
        f"measured for {bench.seconds} s in each.",
        *_titled("## Goals", _goals(results)),
        *_titled("## Answers a second, by connections", _rates(results)),
        *_titled("## kv's rate over each peer's, by connections", _ratios(results)),
        *_titled("## Time", _time(results)),
        *_titled("## Memory", _memory(results, bench)),
        *_titled("## Log level", _logging(results)),
        "## How it is measured",
        METHOD,
        _disturbed(bench),
        "## Machine",
        "\n".join(f"- {name}: {fact}" for name, fact in facts.items()),
    ]
    if absent:
        parts.append("Left out: " + "; ".join(absent) + ".")
    return "\n\n".join(part for part in parts if part) + "\n"


def _titled(title: str, text: str) -> list[str]:
    """Nothing when there is nothing below the title."""
    return [title, text] if text else []


def _goals(results: Results) -> str:
    def verdict(goal: Goal, kv: str, allowance: float) -> list[str]:
        series = goal.measured(results, kv)
        if series is None:
            return [NONE, NONE]
        return [
            f"{series.median:.2f}{goal.unit} {_spread(series)}",
            "met" if goal.is_met(series, allowance) else "**missed**",
        ]

    rows = [
        [
            goal.text,
            f"{'≥' if goal.at_least is not None else '≤'} {goal.bound():g}{goal.unit}",
            *verdict(goal, KV, 0.0),
            *verdict(goal, MUSL, MUSL_ALLOWANCE),
        ]
        for goal in GOALS
        if goal.measured(results, KV)
    ]
    return _table(["goal", "bound", KV, "", MUSL, f"within {MUSL_ALLOWANCE:.0%}"], rows)


def _rates(results: Results) -> str:
    def cell(peer: str, case: str) -> str:
        series = results.get(case, peer, RATE)
        marks = "".join(MARKS[note] for note in sorted(results.notes[case, peer]))
        return f"{_rounded(series.median)}{marks} {_spread(series)}" if series else NONE

    return _by_connections(ALL, cell)


def _ratios(results: Results) -> str:
    def cell(peer: str, case: str) -> str:
        series = results.ratio(case, KV, peer, RATE)
        return f"{series.median:.2f} {_spread(series)}" if series else NONE

    return _by_connections([peer for peer in ALL if peer != KV], cell)


def _by_connections(peers: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """A table for GET and one for PUT; a cell by peer and case."""
    tables = []
    for verb in ("GET", "PUT"):
        rows = [
            [peer, *(cell(peer, f"{verb.lower()}-{column}") for column in COLUMNS)]
            for peer in peers
        ]
        tables.append(_table([verb, *COLUMNS.values()], _measured(rows)))
    return "\n\n".join(table for table in tables if table)


def _time(results: Results) -> str:
    columns: list[tuple[str, str, str, str]] = [
        ("99th percentile, µs", "latency-64", P99_US, "{:,.0f}"),
        ("CPU a GET, µs", "get-64", CPU_US, "{:.1f}"),
        ("CPU a PUT, µs", "put-64", CPU_US, "{:.1f}"),
        ("start to first answer, ms", "start", START_MS, "{:,.1f}"),
    ]

    def cell(peer: str, case: str, quantity: str, form: str) -> str:
        series = results.get(case, peer, quantity)
        return f"{form.format(series.median)} {_spread(series)}" if series else NONE

    rows = [[peer, *(cell(peer, *column[1:]) for column in columns)] for peer in ALL]
    return _table(["", *(column[0] for column in columns)], _measured(rows))


def _memory(results: Results, bench: Bench) -> str:
    columns = [("idle", "idle")]
    for case in bench.cases:
        if isinstance(case, Keys):
            columns.append((f"{case.count:,} keys", f"keys-{case.count}"))
        if isinstance(case, Idle):
            columns.append((f"{case.connections:,} idle connections", f"idle-{case.connections}"))

    def cell(peer: str, case: str) -> str:
        kib = results.get(case, peer, KIB)
        return f"{kib.median * 1024 / 1e6:,.1f} {_spread(kib)}" if kib else NONE

    rows = [[peer, *(cell(peer, case) for _, case in columns)] for peer in ALL]
    return _table(["resident, MB", *(title for title, _ in columns)], _measured(rows))


def _logging(results: Results) -> str:
    def cell(peer: str, case: str) -> list[str]:
        rate, lines = results.get(case, peer, RATE), results.get(case, peer, LINES)
        if not rate or not lines:
            return [NONE, NONE]
        return [f"{_rounded(rate.median)} {_spread(rate)}", f"{lines.median:.0%}"]

    titles = {"warning": "WARNING", "info-file": "INFO to a file", "info-null": "INFO to /dev/null"}
    rows = [
        [f"{peer}, {title}", *cell(peer, case)[: 2 if case == "info-file" else 1]]
        for peer in (KV, MUSL)
        for case, title in titles.items()
    ]
    rows = [row + [NONE] * (3 - len(row)) for row in rows]
    return _table(["GET, 64 connections", "answers a second", "of which logged"], _measured(rows))


def _disturbed(bench: Bench) -> str:
    if not bench.disturbed:
        return ""
    return (
        f"Beside {bench.disturbed} of {bench.samples} samples, something else on the machine took "
        f"more than {OTHERS_SHARE_MAX:.0%} of its CPU time."
    )


def _measured(rows: Iterable[list[str]]) -> list[list[str]]:
    return [row for row in rows if any(text != NONE for text in row[1:])]


def _rounded(number: float) -> str:
    """Three figures say what a benchmark can say."""
    digits = max(0, len(f"{number:.0f}") - 3)
    return f"{round(number, -digits):,.0f}"


def _spread(series: Series) -> str:
    return f"±{series.spread * 100:.0f} %" if len(series.values) > 1 else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = [[text.strip() for text in row] for row in (header, *rows)]
    if len(rows) == 1:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
