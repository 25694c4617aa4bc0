"""Who waits aside: late already, or soon, and served here when nobody else waits. One writer: its Sluice."""

from __future__ import annotations

from bisect import insort
from collections import Counter

from router.spilling.want import Want


class Aside:
    """`wants`: who saves most a second first, whoever may not spill before all others; of equals the first that was
    due. `fillers` of them may spill, and so many are of each tier."""

    __slots__ = ("fillers", "tiers", "wants")

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.fillers = 0
        self.tiers: Counter[str] = Counter()

    def add(self, want: Want) -> None:
        insort(self.wants, want, key=_order)
        self.tiers[want.tier] += 1
        self.fillers += want.may_spill

    def remove(self, want: Want) -> None:
        """It is served, or has gone."""
        self.wants.remove(want)
        self.tiers[want.tier] -= 1
        self.fillers -= want.may_spill


def _order(want: Want) -> tuple[float, float]:
    return -want.worth.usd_per_s, want.due_s
