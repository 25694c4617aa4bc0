"""A router's memory, file descriptors and threads over time, looked at again and again while something else runs.

The one writer of its marks. It must not know what the router is doing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from benchmarks.machine import footprint

EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """One look, `at_s` after the start of the watch."""

    at_s: float
    phase: str
    rss_bytes: int
    descriptors: int
    threads: int


class MemoryWatch:
    """Looks at a process and its descendants."""

    def __init__(self, pid: int, every_s: float = EVERY_S) -> None:
        self._pid = pid
        self._every_s = every_s
        self._began_s = time.monotonic()
        self._phase = ""
        self.marks: list[Mark] = []

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look while the block runs. Raises ValueError from the block's end when the process has gone."""
        looking = asyncio.get_running_loop().create_task(self._look_on())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        self.look()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Name what happens in the block; a look is taken at both of its ends."""
        self._phase = name
        self.look()
        yield
        self.look()

    def look(self) -> Mark:
        """Look now. Raises ValueError when the process has gone."""
        seen = footprint(self._pid)
        at_s = time.monotonic() - self._began_s
        self.marks.append(Mark(at_s, self._phase, seen.rss_bytes, seen.descriptors, seen.threads))
        return self.marks[-1]

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            self.look()


def of_phase(marks: Sequence[Mark], name: str) -> list[Mark]:
    """The marks of one phase, in order."""
    return [mark for mark in marks if mark.phase == name]
