"""The time between faults, and which request belongs to which part of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.cases.fault import Fault
from benchmarks.drive.sample import Sample

BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Phase:
    """From one fault to the next. `broken`: something is broken in it; `strikes`: its fault broke it."""

    name: str
    from_s: float
    to_s: float
    broken: bool = False
    strikes: bool = False

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.to_s - self.from_s


def phases_of(faults: Sequence[Fault], end_s: float) -> tuple[Phase, ...]:
    """One phase per moment at which something changes, until `end_s`. Faults of one moment make one phase.

    Raises ValueError for a fault that comes after the end: it would never happen.
    """
    if late := [fault for fault in faults if fault.at_s >= end_s]:
        raise ValueError(
            f"--fault {late[0].at_s:g}:{late[0]} comes after the load, which ends at {end_s:g} s: "
            "name an earlier time or a longer --duration"
        )
    moments = sorted({0.0, *(fault.at_s for fault in faults)})
    found = []
    wrong: set[bool] = set()
    for from_s, to_s in zip(moments, [*moments[1:], end_s], strict=True):
        here = [fault for fault in faults if fault.at_s == from_s]
        for fault in here:
            # What is broken is known by its side, engine or cloud, because mending mends a whole side.
            wrong = wrong - {fault.is_of_engine} if fault.mends else wrong | {fault.is_of_engine}
        name = ", ".join(map(str, here)) or BEFORE
        found.append(Phase(name, from_s, to_s, bool(wrong), any(not fault.mends for fault in here)))
    return tuple(found)


def slices_of(count: int, end_s: float) -> tuple[Phase, ...]:
    """So many equal parts, for a load without faults."""
    edges_s = [end_s * number / count for number in range(count + 1)]
    names = (f"part {number} of {count}" for number in range(1, count + 1))
    return tuple(Phase(name, *edges) for name, edges in zip(names, pairwise(edges_s), strict=True))


def by_phase(samples: Iterable[Sample], phases: Sequence[Phase]) -> tuple[tuple[Sample, ...], ...]:
    """The samples of each phase.

    A request belongs to the phase in which it was due. But one that was due while all was well and failed after a
    fault had struck belongs to that fault: else a killed engine would speak against the time before it.
    """
    found: tuple[list[Sample], ...] = tuple([] for _ in phases)
    for sample in samples:
        found[_place(sample, phases)].append(sample)
    return tuple(tuple(each) for each in found)


def _place(sample: Sample, phases: Sequence[Phase]) -> int:
    due = max((index for index, phase in enumerate(phases) if phase.from_s <= sample.scheduled_s), default=0)
    if sample.ok or phases[due].broken:
        return due
    struck = (
        index for index, phase in enumerate(phases) if index > due and phase.strikes and phase.from_s <= sample.ended_s
    )
    return next(struck, due)
