"""Where the knee may lie, given the loads tried: a posterior over a grid. Pure.

The model, in logarithms of the load and of the worst figure over its limit: a line through zero at the knee, with a
slope and a noise that are not known. Latency curves are convex, flat where the server idles and steep where it fills:
the line is trusted near the knee and less and less away from it, and a figure above it surprises less than one below.
The errors are Student's with four degrees of freedom: one run spoiled by something else moves the answer little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.look import MOST_EXCESS, Look

SLOPES = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
NOISES = np.array([0.03, 0.06, 0.12, 0.25, 0.5])
# How far a figure may lie from the line, as a share of the line's distance from the limit.
ABOVE, BELOW = 0.5, 0.25
DEGREES = 4.0
# Fractions of the load between two points of the grid, and its ends beyond the loads in question.
STEP = 0.004
MARGIN = 0.7
TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Belief:
    """The knee's median and its 90 % interval, as loads."""

    low: float
    middle: float
    high: float

    @property
    def width(self) -> float:
        """Half of the interval, as a logarithm: 0.05 is within 5 %."""
        return math.log(self.high / self.low) / 2


def believed(looks: Sequence[Look], lowest: float, highest: float) -> Belief:
    """What the looks say of a knee between `lowest` and `highest`. Needs a kept and a broken look."""
    tried = [look.load for look in looks]
    low = math.log(max(lowest, min(tried) * math.exp(-MARGIN)))
    high = math.log(min(highest, max(tried) * math.exp(MARGIN)))
    knees = np.linspace(low, high, max(3, math.ceil((high - low) / STEP)))
    shares = np.cumsum(_posterior(looks, knees))
    ends = [float(np.interp(share, shares, knees)) for share in (TAIL, 0.5, 1 - TAIL)]
    return Belief(*(math.exp(end) for end in ends))


def _posterior(looks: Sequence[Look], knees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each knee, slopes and noises summed over; each is as likely as the other beforehand."""
    known = np.zeros((len(knees), len(SLOPES), len(NOISES)))
    for look in looks:
        away = math.log(look.load) - knees
        line = np.clip(away[:, None] * SLOPES[None, :], -MOST_EXCESS, MOST_EXCESS)
        off = look.excess - (np.minimum(line, look.excess) if look.at_least else line)
        spread = np.where(off > 0, ABOVE, BELOW) * np.abs(line)
        scale = np.sqrt(spread[:, :, None] ** 2 + NOISES[None, None, :] ** 2 + look.noise**2)
        known -= np.log(scale)
        known -= (DEGREES + 1) / 2 * np.log1p((off[:, :, None] / scale) ** 2 / DEGREES)
    likely = np.exp(known - known.max()).sum(axis=(1, 2))
    return np.asarray(likely / likely.sum(), dtype=np.float64)
