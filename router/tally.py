"""What finished requests add up to, as plain numbers: quick to add to, easy to hand to another process.

`router.metrics` makes Prometheus' page of them, for all workers together, when somebody reads it.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from router.outcome import Outcome

# Upper bounds of the histograms; one more bucket takes what is longer than all of them.
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
BUCKETS = len(SECONDS) + 1

# Target, tier, reason, status.
Key = tuple[str, str, str, int]


class Sums(Struct, array_like=True, forbid_unknown_fields=True):
    """The requests of one Key. Histograms have the count of each bucket by itself, not of all up to it."""

    target: str
    tier: str
    reason: str
    status: int
    since_unix_s: float
    requests: int = 0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    usd: float = 0.0
    e2e_s: float = 0.0
    ttft_s: float = 0.0
    e2e_buckets: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    ttft_buckets: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def __post_init__(self) -> None:
        if not len(self.e2e_buckets) == len(self.ttft_buckets) == BUCKETS:
            raise ValueError(f"a histogram here has {BUCKETS} buckets")


class Tally:
    """Sums by Key, in the order in which the Keys first came."""

    def __init__(self) -> None:
        self._sums: dict[Key, Sums] = {}

    def resume(self, sums: Iterable[Sums]) -> None:
        """Go on from where another tally ended, before anything is added."""
        self._sums = {(each.target, each.tier, each.reason, each.status): each for each in sums}

    def add(self, outcome: Outcome) -> None:
        key = (outcome.target, outcome.tier, outcome.reason, outcome.status)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums(*key, time.time())
        sums.requests += 1
        sums.prompt_tokens += outcome.prompt_tokens
        sums.completion_tokens += outcome.completion_tokens
        sums.usd += outcome.usd
        e2e_s, ttft_s = outcome.e2e_s, outcome.ttft_s
        sums.e2e_s += e2e_s
        sums.e2e_buckets[bisect_left(SECONDS, e2e_s)] += 1
        if ttft_s is not None:
            sums.ttft_s += ttft_s
            sums.ttft_buckets[bisect_left(SECONDS, ttft_s)] += 1

    def sums(self) -> list[Sums]:
        return list(self._sums.values())

    def to_json(self) -> bytes:
        return msgspec.json.encode(self.sums())


def from_json(raw: bytes) -> list[Sums]:
    """The sums that `Tally.to_json` wrote. Raises ValueError."""
    try:
        return msgspec.json.decode(raw, type=list[Sums])
    except msgspec.DecodeError as error:
        raise ValueError(f"the tally of another worker cannot be read: {error}") from error
