"""Which load to try next, and when the knee is found: the highest load that keeps a promise. Pure: no clock, no wire.

Bracket: the load grows until the promise breaks, by as much as the margin that is left allows. Bisect: the middle of
where the knee may still lie by the measured curve (`belief`), not of the bracket. Confirm: runs about the knee are
repeated until one side keeps and the other breaks the promise, each as often as asked, and the interval is as narrow as
the tolerance. Noise asks for more runs, never for luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.search.belief import Belief, believed
from benchmarks.search.look import Look

GROWTH_LEAST, GROWTH, GROWTH_MOST = 1.25, 2.0, 4.0
# A margin of e**2, seven times better than promised, is far from the knee.
FAR = -2.0
# The line through the two highest loads meets the limit beyond the knee, as the curve is convex; a little more is
# asked for, so that noise does not end the bracket just below it.
BEYOND = 1.1
WIDE = math.log(1.5)
INVALID_MOST = 2
DIGITS = 3


class Why(StrEnum):
    """What a load is tried for."""

    FIRST = "first"
    BRACKET = "bracket"
    BISECT = "bisect"
    CONFIRM = "confirm"
    AGAIN = "again"


class End(StrEnum):
    """Why the search ended."""

    FOUND = "found"
    RUNS = "the runs allowed are used up"
    HIGHEST = "the promise is kept at the highest load allowed"
    LOWEST = "the promise is broken at the lowest load allowed"
    GENERATOR = "the generator cannot make a higher load on this machine"
    SWEPT = "all loads asked for were tried"
    STOPPED = "it was stopped early"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is searched: loads of the range, the first to try, how exactly, with how many runs at most.

    `whole`: the loads are users. `confirmations`: runs near the knee on each side of it.
    """

    first: float
    lowest: float
    highest: float
    tolerance: float = 0.05
    whole: bool = False
    confirmations: int = 2
    most_runs: int = 24

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.first <= self.highest:
            raise ValueError(
                f"the loads to search must be 0 < lowest <= first <= highest, and are {self.lowest:g}, "
                f"{self.first:g}, {self.highest:g}."
            )
        if not 0 < self.tolerance < 1 or self.confirmations < 1 or self.most_runs < 1:
            raise ValueError("the tolerance must be between 0 and 1, and at least one run must be allowed.")


@dataclass(frozen=True, slots=True)
class Next:
    """Try this load."""

    load: float
    why: Why


@dataclass(frozen=True, slots=True)
class Knee:
    """The highest load that keeps the promise: `load`, with its 90 % interval. None: no load did.

    `kept` is the highest load about it that kept the promise in most of its runs.
    """

    load: float | None
    low: float | None
    high: float | None
    kept: float | None
    end: End
    runs: int


def decided(bounds: Bounds, looks: Sequence[Look]) -> Next | Knee:
    """The next load, or the knee, from what was seen so far in this order."""
    if not looks:
        return Next(_rounded(bounds, bounds.first), Why.FIRST)
    seen = [look for look in looks if look.valid]
    if len(looks) >= bounds.most_runs:
        return knee_of(bounds, looks, End.RUNS)
    if not looks[-1].valid and _failures(looks, looks[-1].load) < INVALID_MOST:
        return Next(looks[-1].load, Why.AGAIN)
    ceiling = _ceiling(bounds, looks)
    if all(look.kept for look in seen):
        return _higher(bounds, looks, seen, ceiling)
    if not any(look.kept for look in seen):
        return _lower(bounds, looks, seen)
    return _narrowed(bounds, looks, seen, ceiling)


def _higher(bounds: Bounds, looks: Sequence[Look], seen: Sequence[Look], ceiling: float) -> Next | Knee:
    """Nothing broke the promise yet."""
    top = max((look.load for look in seen), default=0.0)
    following = _rounded(bounds, min(ceiling, top * _growth(seen)))
    if top < following:
        return Next(following, Why.BRACKET)
    return knee_of(bounds, looks, End.GENERATOR if ceiling < bounds.highest else End.HIGHEST)


def _lower(bounds: Bounds, looks: Sequence[Look], seen: Sequence[Look]) -> Next | Knee:
    """Nothing kept the promise yet."""
    bottom = min(seen, key=lambda look: look.load)
    if bottom.load <= bounds.lowest:
        return knee_of(bounds, looks, End.LOWEST)
    guess = bottom.load / GROWTH_MOST if bottom.capacity is None else bottom.capacity / GROWTH
    return Next(_rounded(bounds, max(bounds.lowest, min(guess, bottom.load / GROWTH))), Why.BRACKET)


def _narrowed(bounds: Bounds, looks: Sequence[Look], seen: Sequence[Look], ceiling: float) -> Next | Knee:
    """Between a load that kept the promise and one that broke it."""
    belief = believed(seen, bounds.lowest, ceiling)
    near = _near(bounds, belief)
    if belief.width > near:
        return Next(_rounded(bounds, _guess(seen, belief)), Why.BISECT)
    close = _close(bounds, seen, belief)
    kept = sum(look.kept for look in close)
    wants_kept, wants_broken = kept < bounds.confirmations, len(close) - kept < bounds.confirmations
    if not (wants_kept or wants_broken):
        return knee_of(bounds, looks, End.FOUND)
    # What is wanting is looked for on its own side of the knee, within the distance that counts as near.
    side = int(wants_broken) - int(wants_kept)
    wanted = min(ceiling, max(bounds.lowest, belief.middle * math.exp(side * near)))
    return Next(_rounded(bounds, wanted), Why.CONFIRM)


def _close(bounds: Bounds, seen: Sequence[Look], belief: Belief) -> list[Look]:
    """The runs about the knee: those that confirm it."""
    most = 1.5 * _near(bounds, belief)
    return [look for look in seen if abs(math.log(look.load / belief.middle)) <= most]


def _near(bounds: Bounds, belief: Belief) -> float:
    """What counts as the same load, as a logarithm: the tolerance, and never less than one user."""
    least = 1 / belief.middle if bounds.whole else 0.0
    return math.log1p(max(bounds.tolerance, least))


def _growth(kept: Sequence[Look]) -> float:
    """By how much the load may grow: to where the line through the two highest loads meets the limit, and beyond."""
    loads = sorted({look.load for look in kept})
    if not loads:
        return GROWTH
    excess = {look.load: look.excess for look in kept}
    most = GROWTH_MOST if excess[loads[-1]] < FAR else GROWTH
    if loads[0] == loads[-1]:
        return most
    before, last = loads[-2:]
    slope = (excess[last] - excess[before]) / math.log(last / before)
    if slope <= 0:
        return most
    return max(GROWTH_LEAST, min(most, BEYOND * math.exp(min(2.0, -excess[last] / slope))))


def _guess(seen: Sequence[Look], belief: Belief) -> float:
    """The middle of the belief; while it is wide, what an overloaded server really served, if that is within."""
    served = [look.capacity for look in seen if look.capacity is not None]
    if belief.width > WIDE and served and belief.low < min(served) < belief.high:
        return min(served)
    return belief.middle


def _failures(looks: Sequence[Look], load: float) -> int:
    """How often the generator was late at this load."""
    return sum(not look.valid and look.load == load for look in looks)


def _ceiling(bounds: Bounds, looks: Sequence[Look]) -> float:
    """The highest load that may still be tried: where the generator was late again and again, the server is unknown."""
    late = [look.load for look in looks if _failures(looks, look.load) >= INVALID_MOST]
    return min([bounds.highest, *(max(bounds.lowest, load / (1 + bounds.tolerance)) for load in late)])


def _rounded(bounds: Bounds, load: float) -> float:
    """A load that a person can read; whole for users."""
    if bounds.whole:
        return float(max(1, round(load)))
    return float(f"{load:.{DIGITS}g}")


def knee_of(bounds: Bounds, looks: Sequence[Look], end: End) -> Knee:
    """What is known of the knee after these looks, however they were chosen."""
    seen = [look for look in looks if look.valid]
    kept = [look.load for look in seen if look.kept]
    if not kept:
        return Knee(None, None, None, None, end, len(looks))
    if len(kept) == len(seen):
        return Knee(max(kept), max(kept), None, max(kept), end, len(looks))
    belief = believed(seen, bounds.lowest, bounds.highest)
    most = belief.middle * math.exp(1.5 * _near(bounds, belief))
    firm = [load for load in kept if load <= most and _mostly_kept(seen, load)]
    load = _rounded(bounds, belief.middle)
    return Knee(load, belief.low, belief.high, max(firm, default=None), end, len(looks))


def _mostly_kept(seen: Sequence[Look], load: float) -> bool:
    """More than half of the runs at this load kept the promise."""
    there = [look.kept for look in seen if look.load == load]
    return 2 * sum(there) > len(there)
