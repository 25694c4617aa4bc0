"""Saturation thresholds on what engines report: a queue, the use of the KV cache; as old as the last scrape."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.sequence import Request


class Reported(NamedTuple):
    """As vllm:num_requests_waiting and vllm:kv_cache_usage_perc say it."""

    waiting: int
    kv_share: float


class Thresholds(Local):
    """Of the engines with at most `queue` waiting and `kv_share` used, the one with the fewest in flight; else cloud.

    The figures are scraped every `age_s` seconds; 0: they are those of this moment.
    """

    def __init__(self, queue: float, kv_share: float, age_s: float = 0.0) -> None:
        self.queue, self.kv_share, self.age_s = queue, kv_share, age_s
        self._scraped: list[Reported] = []
        self._next_s = 0.0

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        if now_s >= self._next_s:
            # Nothing was in flight at the last scrape, so none was made since: the engines are as idle as then.
            self._read(now_s)
        world = self.world
        free = [
            engine
            for engine, (waiting, kv_share) in enumerate(self._scraped)
            if waiting <= self.queue and kv_share <= self.kv_share and world.fits(request, engine)
        ]
        if free:
            world.local(request, min(free, key=world.in_flight.__getitem__))
        else:
            world.cloud(request)

    def act(self, now_s: float) -> None:
        """Scrapes go on while anything is in flight."""
        if self.age_s and now_s >= self._next_s and any(self.world.in_flight):
            self._read(now_s)

    def _read(self, now_s: float) -> None:
        self._scraped = self._scrape()
        if self.age_s:
            self._next_s = now_s - now_s % self.age_s + self.age_s
            self.world.timer(self._next_s)

    def _scrape(self) -> list[Reported]:
        engines = map(self.world.engine, range(self.world.engine_count))
        return [Reported(len(each.waiting), each.kv_used_tokens / each.kv_tokens) for each in engines]
