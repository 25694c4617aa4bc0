"""Measures loads of one workload at one endpoint, one after the other: what a Course asks of a real server.

A load that can no longer keep the promise is ended early; Ctrl-C ends it and is passed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import uvloop

from benchmarks.drive.progress import Progress
from benchmarks.drive.sample import Sample
from benchmarks.measure import Measured, Measuring
from benchmarks.report.document import Run
from benchmarks.scene import Scene
from benchmarks.screen import Screen
from benchmarks.search.course import Tried
from benchmarks.search.hopeless import is_hopeless
from benchmarks.workload.spec import Spec

LOOK_S = 0.2
# Of requests one at a time, whose mean length tells at which rate the server has one to do at any time.
ALONE = 3


class Load(StrEnum):
    """What is raised from run to run, in the words of a report."""

    RATE = "requests/s"
    USERS = "users"
    SCALE = "times the trace"


def load_in(spec: Spec) -> Load:
    """Users where there are some; else the speed of the trace or the rate."""
    if spec.users is not None:
        return Load.USERS
    return Load.RATE if spec.trace is None else Load.SCALE


def loaded(spec: Spec, load: float) -> Spec:
    """The workload at this load."""
    if spec.users is not None:
        return replace(spec, users=round(load))
    if spec.trace is not None:
        return replace(spec, trace=replace(spec.trace, scale=load))
    return replace(spec, rate=load)


@dataclass(slots=True)
class Meter:
    """Calls measure; `taken` holds what each gave, in order."""

    scene: Scene
    spec: Spec
    screen: Screen = field(default_factory=Screen)
    taken: list[Measured] = field(default_factory=list)

    def __call__(self, load: float) -> Run:
        """Measure this load. Raises ValueError with a sentence, or KeyboardInterrupt."""
        # Arrivals of its own for each run: a load that is repeated with the same ones would confirm nothing.
        spec = replace(loaded(self.spec, load), seed=self.spec.seed + len(self.taken))
        measured = uvloop.run(self._measured(spec))
        self.taken.append(measured)
        return measured.run

    def was_cut(self) -> bool:
        """Whether the last load was ended early."""
        return self.taken[-1].was_stopped

    def rate_alone(self) -> float:
        """The requests a second of one user: a load that hardly queues, to begin with."""
        alone = replace(self.spec, users=1, rate=None, trace=None, duration_s=None, requests=ALONE)
        rate = uvloop.run(self._measured(alone)).run.summary.requests_per_s
        return float(f"{rate:.2g}")

    def samples_by_run(self, tried: Sequence[Tried]) -> dict[str, Sequence[Sample]]:
        """The requests of each run, by the name that the course gave it."""
        return {each.run.name: measured.samples for each, measured in zip(tried, self.taken, strict=True)}

    async def _measured(self, spec: Spec) -> Measured:
        stop = asyncio.Event()
        watching: set[asyncio.Task[None]] = set()

        def began(name: str, spec: Spec, progress: Progress) -> None:
            self.screen.began(name, spec, progress)
            watching.add(asyncio.create_task(self._watch(spec, progress, stop)))

        measuring = Measuring(self.scene, stop, began, needs_answer=False)
        try:
            async with self.screen.shown():
                return await measuring(spec, number=len(self.taken))
        finally:
            for task in watching:
                task.cancel()

    async def _watch(self, spec: Spec, progress: Progress, stop: asyncio.Event) -> None:
        """Ends a load as soon as it is hopeless."""
        promise = self.scene.promise
        while promise is not None and not stop.is_set():
            await asyncio.sleep(LOOK_S)
            if progress.began_s and is_hopeless(promise, spec, progress, time.monotonic() - progress.began_s):
                stop.set()
