"""What the verbs of cases share: a stack, a promise, a way to measure, and Ctrl-C that still leaves a report."""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import uvloop
from rich.console import Console

from benchmarks.cases.fault import Fault
from benchmarks.cases.options import promises_of
from benchmarks.cases.promises import Promises
from benchmarks.cases.stack import Stack
from benchmarks.cases.taking import Load, Taken, taken
from benchmarks.drive.drive import drive
from benchmarks.measure import Measured, Measuring, pacing_of
from benchmarks.scene import Scene, check_alone, fitted, scene_of
from benchmarks.screen import Screen
from benchmarks.workload.arrival import Arrival
from benchmarks.workload.spec import Spec
from benchmarks.workload.workload import arrivals_of

Found = TypeVar("Found")
INTERRUPTED = 130
# The router chooses the model, so that the reasons are about where, not what.
MODEL = "auto"
# A phase of a few seconds needs a few looks.
LOOK_S = 0.5
WARM_S = 5.0
WARM_SHARE = 0.25
# Of words that no measured pass asks again.
WARM_RUN = -100


@dataclass(frozen=True, slots=True)
class Session:
    """All that a case needs; `spec` is cut to what the server takes."""

    stack: Stack
    spec: Spec
    place: Scene
    promises: Promises
    measuring: Measuring

    async def warm(self) -> None:
        """Let the engine meet a little of the load before it is measured: what is new to it takes longer, and the
        first of several loads would be the one to pay. At home only, so that no dollar is spent on it."""
        seconds = min(WARM_S, WARM_SHARE * (self.spec.duration_s or math.inf))
        at_home = (replace(each, local_only=True) for each in arrivals_of(self.spec, run=WARM_RUN))
        pacing = replace(pacing_of(self.spec), duration_s=seconds)
        # Where nothing is due so soon there is nothing to warm with; whatever else is wrong shows in the load itself.
        with suppress(ValueError):
            await drive(self.place.endpoint, at_home, pacing, stop=self.measuring.stop)

    async def take(self, load: Load, faults: Sequence[Fault] = ()) -> Taken:
        """Measure one load here."""

        async def measure(name: str, arrivals: Iterator[Arrival]) -> Measured:
            return await self.measuring(self.spec, name, arrivals)

        return await taken(load, self.stack, measure, faults, self.place.prices)


def run_session(
    options: argparse.Namespace,
    spec: Spec,
    opened: AbstractContextManager[Stack],
    case: Callable[[Session], Awaitable[Found]],
) -> tuple[Session, Found]:
    """Open the stack, run the case, take the stack down. Raises ValueError with a sentence, or KeyboardInterrupt
    where there is nothing to report yet."""
    # A plain kill or a closed terminal ends it as Ctrl-C does: the stack is taken down first.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    with opened as stack:
        return uvloop.run(_within(options, spec, stack, case))


async def _within(
    options: argparse.Namespace, spec: Spec, stack: Stack, case: Callable[[Session], Awaitable[Found]]
) -> tuple[Session, Found]:
    options.url = stack.url
    place = await scene_of(options)
    if place.server.is_spillway and options.model is None:
        place = replace(place, endpoint=replace(place.endpoint, model=MODEL))
    promises = promises_of(place, stack)
    spec = fitted(spec, place)
    await check_alone(place, spec)
    stop, loop, screen = asyncio.Event(), asyncio.get_running_loop(), Screen()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    # Nothing is cut off at the beginning: it could hold the very moment of a fault.
    measuring = Measuring(place, stop, screen.began, whole=True, every_s=LOOK_S)
    session = Session(stack, spec, place, promises, measuring)
    said = f", stand-in cloud {stack.cloud_url}" if stack.cloud_url else ""
    Console(stderr=True).print(f"router {stack.url}{said}", highlight=False)
    async with screen.shown():
        return session, await case(session)
