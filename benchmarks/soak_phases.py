"""The phases of a soak, one after the other, in the process that makes the load.

It must not know how the router was started or what its figures are worth.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from benchmarks import leaver
from benchmarks.contender import Stub
from benchmarks.job import Job
from benchmarks.leaver import Leavers, Stage
from benchmarks.memory_watch import EVERY_S, MemoryWatch
from benchmarks.pump import Load
from benchmarks.soak_report import LEVEL_MARKS, Phase, Soaked
from benchmarks.tally import Summary

CONNECTIONS = 64
# Share of the work that is done before the level is taken from which growth counts.
WARM_SHARE = 0.05
# More of the aborts: what connections leave behind is garbage in cycles, which a collector takes in large lots.
WARM_ABORTS_SHARE = 0.2
IDLE_TOKENS = 3
SHOW_S = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what, and how long. An idle stream says a token at its start, in its middle and at its end.

    `patience_s` is how long the router may take to tell the engine that clients have left, and to close what it has
    open.
    """

    requests: int
    aborts: int
    idle: int
    idle_ramp_s: float = 4.0
    idle_delay_s: float = 5.0
    rest_s: float = EVERY_S * (LEVEL_MARKS + 1)
    patience_s: float = 10.0

    def scaled(self, factor: float) -> Plan:
        """With other times."""
        times = ("idle_ramp_s", "idle_delay_s", "rest_s", "patience_s")
        return replace(self, **{name: getattr(self, name) * factor for name in times})


class Shown(Protocol):
    """Shows how far a phase is."""

    def __call__(self, phase: Phase, done: int, total: int) -> None:
        """Called a few times a second."""


class Soak:
    """All phases of one soak. The one writer of its counts."""

    def __init__(self, plan: Plan, job: Job, stub: Stub, watch: MemoryWatch, show: Shown) -> None:
        self._plan = plan
        self._job = replace(job, connections=CONNECTIONS)
        self._stub = stub
        self._watch = watch
        self._show = show
        self._leavers = Leavers(job)
        self._faults: Counter[str] = Counter()
        self._sample = ""
        # What the router had open when it was left alone; at first there is nothing to compare with.
        self._descriptors = sys.maxsize

    async def run(self) -> Soaked:
        """Raises ValueError when the router has gone or takes no connection any more."""
        plan = self._plan
        async with self._watch.looking():
            with self._watch.phase(Phase.WARM_UP):
                await self._answers(Phase.WARM_UP, round(plan.requests * WARM_SHARE) or 1)
                await self._aborts(Phase.WARM_UP, round(plan.aborts * WARM_ABORTS_SHARE) or 1)
            await self._rest(Phase.WARM)
            with self._watch.phase(Phase.REQUESTS):
                summary = await self._answers(Phase.REQUESTS, plan.requests)
            self._leavers.left.clear()
            done = await self._done()
            with self._watch.phase(Phase.ABORTS):
                await self._aborts(Phase.ABORTS, plan.aborts)
            await self._rest(Phase.SETTLED)
            unheard = await self._done() - done - self._leavers.left[Stage.LATE]
            with self._watch.phase(Phase.IDLE):
                idle = await self._idle()
            await self._rest(Phase.AFTER)
        aborted = {stage.value: count for stage, count in sorted(self._leavers.left.items()) if count}
        return Soaked(plan.requests, summary.requests_per_s, self._faults, aborted, unheard, idle, self._sample)

    async def _answers(self, phase: Phase, count: int) -> Summary:
        await self._speed(0.0, 0.0)
        return await self._loaded(phase, Load(replace(self._job, requests=count)), count)

    async def _aborts(self, phase: Phase, count: int) -> None:
        await self._speed(leaver.FIRST_S, leaver.DELAY_S)
        async with self._showing(phase, self._leavers.left.total, count):
            await self._leavers.run(count, CONNECTIONS)

    async def _idle(self) -> int:
        """How many streams the engine had at once."""
        plan = self._plan
        await self._speed(0.0, plan.idle_delay_s)
        job = replace(self._job, connections=plan.idle, stream=True, tokens=IDLE_TOKENS, ramp_s=plan.idle_ramp_s)
        load = Load(replace(job, requests=plan.idle))
        loading = asyncio.create_task(self._loaded(Phase.IDLE, load, plan.idle))
        await asyncio.sleep(plan.idle_ramp_s + plan.idle_delay_s / 2)
        running = (await asyncio.to_thread(self._stub.stats))["running"]
        await loading
        return running

    async def _loaded(self, phase: Phase, load: Load, count: int) -> Summary:
        async with self._showing(phase, lambda: load.tally.ended, count):
            summary = await load.run(lambda: None, lambda: None)
        self._faults.update(summary.faults)
        self._sample = self._sample or summary.sample
        return summary

    async def _rest(self, phase: Phase) -> None:
        """Leave the router alone, with no connection of ours to either side."""
        with self._watch.phase(phase):
            until_s = time.monotonic() + self._plan.patience_s
            while (await asyncio.to_thread(self._stub.stats))["running"] and time.monotonic() < until_s:
                await asyncio.sleep(SHOW_S)
            await asyncio.to_thread(self._stub.close_idle)
            await asyncio.sleep(self._plan.rest_s)
            while (last := self._watch.look()).descriptors > self._descriptors and time.monotonic() < until_s:
                await asyncio.sleep(SHOW_S)
            self._descriptors = last.descriptors

    async def _done(self) -> int:
        """Answers that the engine has made to their end."""
        return (await asyncio.to_thread(self._stub.stats))["done"]

    async def _speed(self, first_s: float, delay_s: float) -> None:
        await asyncio.to_thread(self._stub.set_speed, first_s, delay_s)

    @asynccontextmanager
    async def _showing(self, phase: Phase, done: Callable[[], int], total: int) -> AsyncIterator[None]:
        async def show_on() -> None:
            while True:
                self._show(phase, done(), total)
                await asyncio.sleep(SHOW_S)

        showing = asyncio.create_task(show_on())
        try:
            yield
        finally:
            showing.cancel()
            self._show(phase, done(), total)
