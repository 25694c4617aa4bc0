"""Clients that leave before their answer is whole: while they wait, in the middle of a stream, whole answers too.

It must not know what their leaving does to the router.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from benchmarks.job import Job, requests_of
from benchmarks.numbered import MARK

# How the stub engine is to speak meanwhile: slowly enough that there is always something to leave.
FIRST_S = 0.02
DELAY_S = 0.01
TOKENS = 64
# The last moment to leave: the router has a little time to tell the engine before the answer is over.
LATEST_S = FIRST_S + DELAY_S * TOKENS - 0.3


class Stage(StrEnum):
    """How far an answer was when its client left."""

    BEFORE = "before the first token"
    MIDDLE = "in mid-stream"
    WHOLE = "whole answers"
    LATE = "already over"


@dataclass(frozen=True, slots=True)
class Leaving:
    """One client: what it asks, and when it goes."""

    stream: bool
    after_s: float


def leaving(rng: random.Random) -> Leaving:
    """A third leaves streams before the first token, a third in their middle, a third leaves whole answers."""
    kind = rng.choice((Stage.BEFORE, Stage.MIDDLE, Stage.WHOLE))
    if kind is Stage.BEFORE:
        return Leaving(stream=True, after_s=rng.uniform(0.0, FIRST_S))
    return Leaving(kind is Stage.MIDDLE, rng.uniform(FIRST_S if kind is Stage.MIDDLE else 0.0, LATEST_S))


class _Ear(asyncio.Protocol):
    """Hears how far the answer is."""

    def __init__(self) -> None:
        self.tokens = 0

    def data_received(self, data: bytes) -> None:
        self.tokens += data.count(MARK)

    def stage(self, *, stream: bool) -> Stage:
        if self.tokens >= TOKENS:
            return Stage.LATE
        if not stream:
            return Stage.WHOLE
        return Stage.MIDDLE if self.tokens else Stage.BEFORE


class Leavers:
    """So many clients that leave, some at a time. The one writer of `left`."""

    def __init__(self, job: Job, seed: int = 1) -> None:
        self._address = job.address
        self._requests: dict[bool, Callable[[int], bytes]] = {
            stream: requests_of(replace(job, stream=stream, tokens=TOKENS)) for stream in (True, False)
        }
        self._rng = random.Random(seed)
        self._asked = 0
        self.left: Counter[Stage] = Counter()

    async def run(self, count: int, at_once: int) -> None:
        """Raises ValueError when the router takes no connection."""
        self._asked = 0
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(self._one_after_another(count))

    async def _one_after_another(self, count: int) -> None:
        while self._asked < count:
            self._asked += 1
            await self._leave(leaving(self._rng), self._asked)

    async def _leave(self, going: Leaving, number: int) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        try:
            transport, ear = await loop.create_connection(_Ear, address.host, address.port)
        except OSError as error:
            raise ValueError(f"The router takes no connection any more: {error}.") from error
        transport.write(self._requests[going.stream](number))
        await asyncio.sleep(going.after_s)
        self.left[ear.stage(stream=going.stream)] += 1
        transport.abort()
