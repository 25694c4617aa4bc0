"""All faults by name, and in which order they are tried: those that share a stack one after the other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from benchmarks.night import calm, cards, deaths, starts
from benchmarks.night.case import Case
from benchmarks.night.conduct import Conduct
from benchmarks.night.scenery import Engines, Scenery

CASES = {case.name: case for case in (*deaths.CASES, *calm.CASES, *starts.CASES, *cards.CASES)}


@dataclass(frozen=True, slots=True)
class Act:
    """One stack, and the faults that it meets."""

    scenery: Scenery
    conduct: Conduct | None
    cases: tuple[Case, ...]


def chosen(names: Iterable[str], engines: Engines | None) -> list[Case]:
    """The cases by name, all where none is named. With `engines`: those that can be had so, in that scenery.

    Raises ValueError for a name that is none.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in CASES]:
        raise ValueError(f"there is no fault {unknown[0]!r}; there are: {', '.join(CASES)}")
    found = [_in(CASES[name], engines) for name in wanted or CASES]
    return [case for case in found if case is not None]


def acts(cases: Iterable[Case]) -> list[Act]:
    """One stack each for those that can share it, in the order of the suite. Whatever spoils a stack comes last."""
    ordered = sorted(cases, key=lambda case: (_order(case), case.spoils))
    found: list[Act] = []
    for _, group in groupby(ordered, key=lambda case: (case.scenery, case.conduct)):
        found += [Act(part[0].scenery, part[0].conduct, tuple(part)) for part in _unspoilt(list(group))]
    return found


def _order(case: Case) -> tuple[str, ...]:
    # The tests of what a user sees first: vLLM, then the fakes.
    return (str(list(Engines).index(case.scenery.engines)), repr(case.scenery), repr(case.conduct))


def _unspoilt(cases: Sequence[Case]) -> list[list[Case]]:
    parts: list[list[Case]] = [[]]
    for case in cases:
        if parts[-1] and parts[-1][-1].spoils:
            parts.append([])
        parts[-1].append(case)
    return parts


def _in(case: Case, engines: Engines | None) -> Case | None:
    """The case with these engines; a fake with GPUs counts as a fake."""
    if engines is None or case.scenery.engines is engines:
        return case
    if engines is Engines.FAKE and case.scenery.engines is Engines.GPUS:
        return case
    other = case.other.get(engines)
    return None if other is None else replace(case, scenery=other)
