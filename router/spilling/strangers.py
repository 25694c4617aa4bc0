"""What an engine holds that did not come through this router, from what it last reported of itself.

Only ever added to what the router knows. A report that is too old, or older than the last one, may show more of it
and never less.
"""

from __future__ import annotations

from collections import deque

from engines.snapshot import Load

# A report older than this says nothing about now (`router.routing.fleet.STALE_S`).
STALE_S = 2.0
# How often one's own numbers are noted, and how many of them: a report is compared with what was here when it was made.
NOTED_EACH_S = 0.1
NOTED = 24
# KV that a report shows beyond one's own is counted from here on: blocks are rounded up, counts run a step late.
SLACK_SHARE = 0.02


class Strangers:
    """One writer. `running` of them decode and hold `kv_tokens`; `waiting` are queued."""

    __slots__ = ("_noted", "_noted_s", "_reported_s", "kv_tokens", "running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.kv_tokens = 0.0
        self._reported_s = float("-inf")
        self._noted_s = float("-inf")
        self._noted: deque[tuple[float, int, float]] = deque(maxlen=NOTED)

    def note(self, now_s: float, requests: int, kv_tokens: float) -> None:
        """One's own numbers, at any moment."""
        if now_s - self._noted_s >= NOTED_EACH_S:
            self._noted_s = now_s
            self._noted.append((now_s, requests, kv_tokens))

    def hear(self, load: Load, now_s: float) -> None:
        """Of a report that is `load.age_s` old."""
        made_s = now_s - load.age_s
        requests, kv_tokens = self._own_at(made_s)
        alien = max(0, load.running + load.waiting - requests)
        queued = min(alien, load.waiting)
        excess = load.kv_used_fraction * load.kv_capacity_tokens - kv_tokens
        if excess < SLACK_SHARE * load.kv_capacity_tokens and not alien:
            excess = 0.0
        if load.age_s > STALE_S or made_s < self._reported_s:
            self.running, self.waiting = max(self.running, alien - queued), max(self.waiting, queued)
            self.kv_tokens = max(self.kv_tokens, excess)
            return
        self._reported_s = made_s
        self.running, self.waiting, self.kv_tokens = alien - queued, queued, max(0.0, excess)

    def age_s(self, now_s: float) -> float:
        """Of the newest report that was believed; infinite before there was one."""
        return now_s - self._reported_s

    def _own_at(self, at_s: float) -> tuple[int, float]:
        """Between two notes the larger numbers: what ended or came between them is not a stranger."""
        later: tuple[int, float] = (0, 0.0)
        for noted_s, requests, kv_tokens in reversed(self._noted):
            if noted_s <= at_s:
                return max(requests, later[0]), max(kv_tokens, later[1])
            later = (requests, kv_tokens)
        return later
