"""The moment at which a load begins, for those who act at given times of it. One writer: the load's own arrivals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from benchmarks.workload.arrival import Arrival


class Start:
    """Not begun until somebody takes the first arrival."""

    def __init__(self) -> None:
        self._began = asyncio.Event()
        self._began_s = 0.0

    @property
    def now_s(self) -> float:
        """Seconds since the load began, 0 before that."""
        return time.monotonic() - self._began_s if self._began.is_set() else 0.0

    async def until(self, at_s: float) -> None:
        """Wait for a moment of the load."""
        await self._began.wait()
        await asyncio.sleep(max(0.0, at_s - self.now_s))

    def begin(self) -> None:
        """Now, unless it has begun."""
        if not self._began.is_set():
            self._began_s = time.monotonic()
            self._began.set()

    def beginning(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """The same arrivals; whoever takes the first one begins the load."""
        for arrival in arrivals:
            self.begin()
            yield arrival
