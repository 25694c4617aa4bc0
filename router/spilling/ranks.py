"""How one value stands among those that came of late: the share of weight below it. One writer; bounded."""

from __future__ import annotations

import math
from collections import deque

KEPT = 1000
# Values are told apart by a part of an octave (0.3 %), from the least on; so many of these are summed in one.
PER_OCTAVE, LEAST_OCTAVE, OCTAVES = 256, -28, 36
BLOCK = 96
CLASSES = OCTAVES * PER_OCTAVE


class Ranks:
    """The newest KEPT values with their weights. To learn costs a microsecond or two, and so does asking."""

    __slots__ = ("_blocks", "_newest", "_weights", "_whole")

    def __init__(self) -> None:
        self._newest: deque[tuple[int, float]] = deque()
        self._weights = [0.0] * CLASSES
        self._blocks = [0.0] * (CLASSES // BLOCK)
        self._whole = 0.0

    def learn(self, value: float, weight: float) -> None:
        if len(self._newest) >= KEPT:
            at, old = self._newest.popleft()
            self._add(at, -old)
        at = _class(value)
        self._newest.append((at, weight))
        self._add(at, weight)

    def below(self, value: float) -> float:
        """The share of the weight at values up to this one; 0 while nothing is known."""
        if not self._newest:
            return 0.0
        at = _class(value)
        block = at // BLOCK
        below = sum(self._blocks[:block]) + sum(self._weights[block * BLOCK : at + 1])
        return min(1.0, max(0.0, below / self._whole))

    def _add(self, at: int, weight: float) -> None:
        self._weights[at] += weight
        self._blocks[at // BLOCK] += weight
        self._whole += weight


def _class(value: float) -> int:
    if value <= 0:
        return 0
    return min(max(int((math.log2(value) - LEAST_OCTAVE) * PER_OCTAVE), 0), CLASSES - 1)
