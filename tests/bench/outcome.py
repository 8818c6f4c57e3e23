"""What wrk has measured.

wrk corrects latencies for coordinated omission (`stats_correct` in its src/stats.c): what took longer
than a connection's mean interval between requests counts once more for each of the requests that
would have been sent meanwhile. redis-benchmark counts every request once. So that both can be
compared, `Outcome` has both: the requests that were sent, and wrk's own count.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

Latencies = Counter[int]
"""How often it took so many microseconds."""


@dataclass(frozen=True)
class Outcome:
    """Of one run."""

    answers: int
    us: int
    errors: int
    sent: Latencies
    """Of the requests that were sent."""
    corrected: Latencies
    """Those, and of the requests that were not sent because others were waited for."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.us * 1e6


def outcome(output: str, connections: int, depth: int = 1) -> Outcome:
    """What the last line of the output says of so many connections, which send so many requests in
    a row."""
    said = json.loads(output.splitlines()[-1])
    corrected = Counter(dict(said["latencies"]))
    each = said["answers"] // connections
    sent = _sent(corrected, said["us"] // each) if each else corrected
    if depth == 1 and not said["errors"] and sent.total() != said["answers"]:
        raise RuntimeError(f"wrk corrects in another way: {sent.total()} of {said['answers']}")
    return Outcome(said["answers"], said["us"], said["errors"], sent, corrected)


def percentile(latencies: Latencies, percent: float) -> int:
    """In microseconds, by the nearest rank; 0 if there are none."""
    rank, seen = latencies.total() * percent / 100, 0
    for us in sorted(latencies):
        seen += latencies[us]
        if seen >= rank:
            return us
    return 0


def _sent(corrected: Latencies, interval: int) -> Latencies:
    """Takes the correction back: from the longest on, what is known to have been sent tells what
    was counted for it."""
    sent, added = Latencies(), Latencies()
    for us in sorted(corrected, reverse=True):
        count = corrected[us] - added[us]
        if count < 0:
            raise RuntimeError(f"wrk corrects in another way: {count} requests took {us} µs")
        sent[us] = count
        if count and us >= 2 * interval:
            for missed in range(us - interval, interval, -interval):
                added[missed] += count
    return sent
