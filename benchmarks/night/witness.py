"""What the supervisor says over time, and when: its feed is read as a router reads it, and found again when it is lost.

The one door to the feed. It must not know what is broken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engines.snapshot import LONGEST_LINE_BYTES, Snapshot, SnapshotError, feed_address, from_json

AGAIN_S = 0.05
SILENT_S = 5.0

Wanted = Callable[[Snapshot], bool]


@dataclass(frozen=True, slots=True)
class Sight:
    """One Snapshot and when it came, by the monotonic clock."""

    at_s: float
    snapshot: Snapshot


class Witness:
    """The one writer of `sights`. Use as an async context manager."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.sights: list[Sight] = []
        self.lost_s: list[float] = []

    async def __aenter__(self) -> Witness:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def first(self, wanted: Wanted, since_s: float) -> float | None:
        """When it was first seen as wanted, at or after `since_s`; None: not yet."""
        return next((each.at_s for each in self.sights if each.at_s >= since_s and wanted(each.snapshot)), None)

    async def until(self, wanted: Wanted, since_s: float, limit_s: float) -> float | None:
        """As `first`, but waits for it so long; None: it did not happen in that time."""
        deadline_s = time.monotonic() + limit_s
        while (found := self.first(wanted, since_s)) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._news.wait()
        return found

    def latest(self) -> Snapshot:
        """Raises ValueError before the first."""
        if not self.sights:
            raise ValueError(f"no supervisor publishes in {self._home}")
        return self.sights[-1].snapshot

    async def _follow(self) -> None:
        while True:
            with suppress(OSError, SnapshotError, TimeoutError, EOFError):
                await self._read()
            await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        """Until the feed ends. Raises what `_follow` swallows."""
        with feed_address(self._home) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE_BYTES)
        try:
            # `asyncio.wait_for` of Python 3.11 may swallow the cancellation that ends this.
            while True:
                async with asyncio.timeout(SILENT_S):
                    line = await reader.readline()
                if not line:
                    return
                self.sights.append(Sight(time.monotonic(), from_json(line)))
                self._news.set()
        finally:
            self.lost_s.append(time.monotonic())
            writer.close()
