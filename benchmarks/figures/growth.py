"""What counters grew by while they were watched, through restarts of what counts. The one writer of its sums.

As Prometheus' `increase`: a counter that is lower than before has begun again from zero.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Growth(Generic[Name]):
    """Sums by name over all that were watched. What was counted before the first look at each is not in them."""

    def __init__(self) -> None:
        self._last: dict[str, Mapping[Name, float]] = {}
        self._sums: dict[Name, float] = {}

    def add(self, who: str, counts: Mapping[Name, float]) -> None:
        """What `who` counts now."""
        last = self._last.get(who, counts)
        for name, count in counts.items():
            before = last.get(name, 0.0)
            self._sums[name] = self._sums.get(name, 0.0) + (count - before if count >= before else count)
        self._last[who] = counts

    @property
    def sums(self) -> Mapping[Name, float]:
        """By name. Empty before the first look."""
        return self._sums
