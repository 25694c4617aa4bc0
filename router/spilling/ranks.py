"""How one value stands among those that came of late: the share of weight below it. One writer; bounded."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate

KEPT = 1000
# So many values come before they are put in order anew; the first ones at once.
EACH = 50


class Ranks:
    """The newest KEPT values with their weights."""

    def __init__(self) -> None:
        self._newest: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._learned = 0
        self._values: list[float] = []
        self._sums: list[float] = []

    def learn(self, value: float, weight: float) -> None:
        self._newest.append((value, weight))
        self._learned += 1
        if self._learned % EACH == 0 or self._learned < EACH:
            ordered = sorted(self._newest)
            self._values = [value for value, _ in ordered]
            self._sums = list(accumulate(weight for _, weight in ordered))

    def below(self, value: float) -> float:
        """The share of the weight at values up to this one; 0 while nothing is known."""
        at = bisect_right(self._values, value)
        return self._sums[at - 1] / self._sums[-1] if at else 0.0
