"""The course of a search: loads are chosen, measured by whoever can, and kept in order. The one writer of the latter.

Knows neither the wire nor the screen: `measure` makes a run of a load, `saw` hears of each as it ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from benchmarks.figures.promise import Promise
from benchmarks.report.document import Run
from benchmarks.search.look import Look, look_of
from benchmarks.search.saturation import Bounds, End, Knee, Next, decided, knee_of

Measure = Callable[[float], Run]


@dataclass(frozen=True, slots=True)
class Tried:
    """One run with what it was for and how long it took in all."""

    look: Look
    run: Run
    why: str
    seconds: float


@dataclass(slots=True)
class Course:
    """`is_rate`: loads are requests a second. `was_cut`: the last run was ended early because the promise was broken.

    A load that is tried again has its number in the name of the run: `rate 6.5 #2`. An interrupt ends a search and
    loses nothing that was measured.
    """

    measure: Measure
    promise: Promise
    is_rate: bool = True
    was_cut: Callable[[], bool] = lambda: False
    saw: Callable[[Tried], None] = lambda tried: None
    clock: Callable[[], float] = time.monotonic
    tried: list[Tried] = field(default_factory=list)
    interrupted: bool = False

    @property
    def looks(self) -> list[Look]:
        """What the runs say, in order."""
        return [each.look for each in self.tried]

    @property
    def seconds(self) -> float:
        """The time of all runs together."""
        return sum(each.seconds for each in self.tried)

    def searched(self, bounds: Bounds) -> Knee:
        """Search until the knee is found or cannot be."""
        try:
            while isinstance(step := decided(bounds, self.looks), Next):
                self._try(step.load, step.why)
        except KeyboardInterrupt:
            self.interrupted = True
            return knee_of(bounds, self.looks, End.STOPPED)
        return step

    def swept(self, loads: Sequence[float]) -> Knee:
        """Try these loads and no others, in this order."""
        bounds = Bounds(min(loads), min(loads), max(loads))
        try:
            for load in loads:
                self._try(load, "asked for")
        except KeyboardInterrupt:
            self.interrupted = True
        return knee_of(bounds, self.looks, End.STOPPED if self.interrupted else End.SWEPT)

    def run_of(self, knee: Knee) -> Run | None:
        """The run that stands for the knee: the last at the highest load that kept the promise."""
        return next((each.run for each in reversed(self.tried) if each.look.load == knee.kept and each.look.kept), None)

    def _try(self, load: float, why: str) -> None:
        began_s = self.clock()
        run = self.measure(load)
        before = sum(each.look.load == load for each in self.tried)
        name = f"{run.name} #{before + 1}" if before else run.name
        look = look_of(load, run, self.promise, is_rate=self.is_rate, was_cut=self.was_cut())
        tried = Tried(look, msgspec.structs.replace(run, name=name), why, self.clock() - began_s)
        self.tried.append(tried)
        self.saw(tried)
