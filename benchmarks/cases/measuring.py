"""One load driven and measured: what `taking` is given. It must not know ways, faults or ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.drive.drive import Drive, drive
from benchmarks.drive.endpoint import Endpoint
from benchmarks.drive.lag import late
from benchmarks.drive.pacing import Closed, Open, Pacing
from benchmarks.drive.progress import Progress
from benchmarks.drive.sample import Sample
from benchmarks.figures.dollars import Meters, Prices, costs_of
from benchmarks.figures.places import places_of
from benchmarks.figures.promise import Promise
from benchmarks.figures.summary import summarised, why_barren
from benchmarks.figures.telemetry import Taken, Telemetry
from benchmarks.figures.window import Window
from benchmarks.report.document import Run
from benchmarks.workload.arrival import Arrival
from benchmarks.workload.spec import Spec

# Of one run's time: a table needs a few looks between two faults.
LOOK_S = 0.5
Say = Callable[[str, Progress], None]


def say_nothing(_name: str, _progress: Progress) -> None:
    """For who does not watch."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A Run whose dollars are those of headers and meters; `meters` are there to reckon them anew."""

    run: Run
    samples: tuple[Sample, ...]
    meters: Meters
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Measuring:
    """How loads of one verb are measured: where they go, how they are paced, and what is said of them.

    `promise` None: no single promise holds for all requests. `say` is called as a load begins, with its live counts.
    """

    endpoint: Endpoint
    pacing: Pacing
    load: Mapping[str, Any]
    promise: Promise | None = None
    prices: Prices = field(default_factory=Prices)
    stop: asyncio.Event | None = None
    say: Say = say_nothing

    async def __call__(self, name: str, arrivals: Iterator[Arrival]) -> Measured:
        """Drive the arrivals. Raises ValueError with a sentence where no request got a complete answer."""
        progress = Progress()
        self.say(name, progress)
        async with Telemetry(await places_of(self.endpoint.root), progress, every_s=LOOK_S) as telemetry:
            driven = await drive(self.endpoint, arrivals, self.pacing, progress=progress, stop=self.stop)
        return self._measured(name, driven, telemetry)

    def _measured(self, name: str, driven: Drive, telemetry: Telemetry) -> Measured:
        seen, samples = telemetry.taken(), tuple(driven.samples)
        if not samples:
            raise ValueError(f"{name}: {why_barren(samples)}")
        # Counted whole: what is cut off at the beginning could hold the very moment of a fault.
        window = Window(0.0, driven.seconds)
        summary = summarised(samples, seconds=driven.seconds, promise=self.promise, window=window, queue=seen.queue)
        meters = _meters(seen)
        run = Run(
            name=name,
            load=self.load,
            summary=summary,
            costs=costs_of(samples, meters, self.prices),
            timeline=telemetry.timeline(driven.began_unix_s),
            invalid=[why] if (why := late(driven.lag)) else [],
        )
        return Measured(run, samples, meters, driven.was_stopped)


def pacing_of(spec: Spec) -> Pacing:
    """The pace that a workload asks for."""
    if spec.users is not None:
        return Closed(spec.users, spec.think_s, spec.duration_s, spec.requests)
    return Open(spec.duration_s, spec.requests)


def _meters(seen: Taken) -> Meters:
    return Meters(seen.seconds, seen.joules, seen.gpus, seen.cloud_usd)
