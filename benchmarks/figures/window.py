"""Which part of a run counts: the warm-up and the end are cut by rule, never by eye. Pure.

Figures of latency are of the requests that were due in the window, whenever they ended; rates are of what was
delivered in it, whenever it was asked for. So neither the ramp at the start nor the emptying at the end is in them.
Errors count from the first request to the last: a failure is never warmed away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.drive.sample import Sample

# A run below either is counted whole: what a cut leaves of it would say less than the ramp disturbs it.
LEAST_S = 30.0
LEAST_REQUESTS = 100
LEAST_SHARE = 0.1
MOST_SHARE = 0.3
STEADY_SHARE = 0.9
GRID = 200


@dataclass(frozen=True, slots=True)
class Window:
    """From `begin_s` to `end_s`, both included."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s

    def holds(self, at_s: float) -> bool:
        """Whether this moment is in it."""
        return self.begin_s <= at_s <= self.end_s


def window_of(samples: Sequence[Sample], *, seconds: float, load_s: float | None) -> Window:
    """The window of a run that took `seconds` until the last answer and sent requests for `load_s`.

    `load_s` is None where a number of requests or a trace ended the load: such a run is counted whole, as
    `vllm bench serve` counts it. Else the first tenth is cut, or as much as it takes until as many requests are in
    flight as nine tenths of the median of the second half, but at most three tenths; the end of the load ends it.
    """
    # A run that was stopped early has sent for no longer than it took.
    load_s = 0.0 if load_s is None else min(load_s, seconds)
    if load_s < LEAST_S or len(samples) < LEAST_REQUESTS:
        return Window(0.0, seconds)
    grid = np.linspace(0.0, load_s, GRID + 1)
    counts = _in_flight(samples, grid)
    steady = STEADY_SHARE * float(np.median(counts[GRID // 2 :]))
    reached_s = float(grid[int(np.argmax(counts >= steady))])
    begin_s = min(max(reached_s, LEAST_SHARE * load_s), MOST_SHARE * load_s)
    return Window(begin_s, load_s)


def _in_flight(samples: Sequence[Sample], grid: np.ndarray) -> np.ndarray:
    begun = np.sort([sample.sent_s for sample in samples])
    ended = np.sort([sample.ended_s for sample in samples])
    counts: np.ndarray = np.searchsorted(begun, grid, "right") - np.searchsorted(ended, grid, "right")
    return counts
