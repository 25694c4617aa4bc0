"""A trace at another rate. Below its own rate it is thinned; above, laid over itself with cyclic shifts. Pure.

Both keep what makes arrivals hard: a burst stays as short as it was. Stretching time, the third way, also stretches
bursts and lulls; it is how most published figures were made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from operator import attrgetter
from random import Random

from benchmarks.simulator.arrival import Arrival, rate_of, span_s

# Copies are shifted by no more than this each, so that the hours of a day keep their shape.
SHIFT_MOST_S = 600.0
# A copy's blocks are its own: other people's prompts, of the same lengths.
COPY_IDS = 1 << 40


class Scaling(StrEnum):
    """How another rate is made."""

    OVERLAY = "overlay"
    STRETCH = "stretch"


def scaled(
    arrivals: Sequence[Arrival], rate: float, seed: int = 0, way: Scaling = Scaling.OVERLAY
) -> Sequence[Arrival]:
    """`rate` requests a second. A lower rate takes a part of what a higher one takes, by the same seed."""
    if rate <= 0:
        raise ValueError(f"a rate of {rate:g} requests a second cannot be made; it must be above 0")
    factor = rate / rate_of(arrivals)
    if way is Scaling.STRETCH:
        return [each._replace(at_s=each.at_s / factor) for each in arrivals]
    copies = max(math.ceil(factor - 1e-9), 1)
    found = [each for copy in range(copies) for each in _copied(arrivals, copy, copies)]
    rng = Random(f"{seed} thinned")
    share = factor / copies
    kept = [each for each in found if rng.random() < share] if share < 1 else found
    return sorted(kept, key=attrgetter("at_s")) if copies > 1 else kept


def _copied(arrivals: Sequence[Arrival], copy: int, copies: int) -> Iterator[Arrival]:
    """The trace shifted, what falls over its end coming first."""
    if copy == 0:
        yield from arrivals
        return
    lasts_s = span_s(arrivals)
    shift_s = copy * min(lasts_s / copies, SHIFT_MOST_S)
    first_id = copy * COPY_IDS
    for each in arrivals:
        at_s = each.at_s + shift_s
        yield each._replace(
            at_s=at_s - lasts_s if at_s > lasts_s else at_s,
            prefix=tuple(first_id + block for block in each.prefix),
        )
