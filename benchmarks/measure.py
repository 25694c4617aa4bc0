"""One load measured: driven, watched meanwhile, and summed up as a Run. All verbs that make load come through here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.drive.drive import Drive, drive
from benchmarks.drive.lag import late
from benchmarks.drive.pacing import Closed, Open, Pacing
from benchmarks.drive.progress import Progress
from benchmarks.drive.sample import Sample
from benchmarks.figures.crosscheck import disagreements
from benchmarks.figures.dollars import Meters, costs_of
from benchmarks.figures.summary import summarised, why_barren
from benchmarks.figures.telemetry import EVERY_S, Taken, Telemetry
from benchmarks.figures.window import Window, window_of
from benchmarks.report.document import Run
from benchmarks.scene import Scene
from benchmarks.workload.arrival import Arrival
from benchmarks.workload.spec import Spec, described
from benchmarks.workload.workload import arrivals_of

Say = Callable[[str, Spec, Progress], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """A Run with its requests. `meters` are there to reckon dollars anew."""

    run: Run
    samples: tuple[Sample, ...]
    meters: Meters
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Measuring:
    """How the loads of one verb are measured. `say` is called as each begins, with its live counts.

    `whole`: nothing is cut off at the beginning. `every_s` is the time between two looks at engines and GPUs.
    `needs_answer`: a load of which nothing was answered is an error, not a result.
    """

    scene: Scene
    stop: asyncio.Event | None = None
    say: Say = lambda _name, _spec, _progress: None
    whole: bool = False
    every_s: float = EVERY_S
    needs_answer: bool = True

    async def __call__(
        self, spec: Spec, name: str | None = None, arrivals: Iterator[Arrival] | None = None, number: int = 0
    ) -> Measured:
        """Drive a workload. Without `arrivals` they are made, with other words for each `number`.

        Raises ValueError with a sentence where no request ended, or none got a complete answer.
        """
        scene, progress, name = self.scene, Progress(), name or spec.name
        arrivals = arrivals_of(spec, run=number) if arrivals is None else arrivals
        self.say(name, spec, progress)
        async with Telemetry(scene.places, progress, every_s=self.every_s) as telemetry:
            driven = await drive(scene.endpoint, arrivals, pacing_of(spec), progress=progress, stop=self.stop)
        return self._measured(spec, name, driven, telemetry)

    def _measured(self, spec: Spec, name: str, driven: Drive, telemetry: Telemetry) -> Measured:
        scene, seen, samples = self.scene, telemetry.taken(), tuple(driven.samples)
        if (why := why_barren(samples)) is not None and (self.needs_answer or not samples):
            raise ValueError(f"{name}: {why}")
        window = Window(0.0, driven.seconds) if self.whole else _window(spec, driven)
        summary = summarised(samples, seconds=driven.seconds, promise=scene.promise, window=window, queue=seen.queue)
        meters = Meters(seen.seconds, seen.joules, seen.gpus, seen.cloud_usd)
        run = Run(
            name=name,
            load=described(spec),
            summary=summary,
            costs=costs_of(samples, meters, scene.prices),
            timeline=telemetry.timeline(driven.began_unix_s),
            invalid=[why] if (why := late(driven.lag)) else [],
            notes=_notes(driven, seen),
        )
        return Measured(run, samples, meters, driven.was_stopped)


def pacing_of(spec: Spec) -> Pacing:
    """The pace that a workload asks for."""
    if spec.users is not None:
        return Closed(spec.users, spec.think_s, spec.duration_s, spec.requests)
    return Open(spec.duration_s, spec.requests)


def _window(spec: Spec, driven: Drive) -> Window:
    load_s = None if spec.requests is not None or spec.trace is not None else spec.duration_s
    return window_of(driven.samples, seconds=driven.seconds, load_s=load_s)


def _notes(driven: Drive, seen: Taken) -> list[str]:
    """What a reader should know that no figure says."""
    found = disagreements(driven.samples, seen.prompt_tokens, seen.generation_tokens, unfinished=driven.unfinished)
    if driven.unfinished:
        found.append(f"{driven.unfinished} requests were under way at the early end, and are not in the figures")
    return found
