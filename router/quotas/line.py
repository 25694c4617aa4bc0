"""Who waits for a provider's windows, in the order in which they are served. Pure."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Sequence

import msgspec

from router.errand import Wait
from router.quotas.meter import NOTHING, Need

MOST_WAITING = 1000


class Rank(msgspec.Struct, frozen=True, order=True):
    """Lower goes first: the tier with the shorter promise, then the nearer deadline, then who came first."""

    ttft_target_s: float
    deadline_at_s: float = math.inf
    number: int = 0


class Waiter(msgspec.Struct, eq=False):
    """One request in the line, until `until_s` (Unix). `wait` is settled when it may go or must leave."""

    rank: Rank
    deployment: str
    need: Need
    until_s: float
    wait: Wait[None]


class Line:
    """Waiters of one provider by rank."""

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def head(self) -> Waiter | None:
        """Whose turn it is."""
        return self._waiters[0] if self._waiters else None

    def join(self, waiter: Waiter) -> None:
        insort(self._waiters, waiter, key=_rank)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def ahead_of(self, rank: Rank | None, deployment: str | None) -> Need:
        """What all take who go before that rank (None: all), for that deployment (None: for all of them)."""
        total = NOTHING
        for each in self._waiters:
            if rank is not None and each.rank >= rank:
                break
            if deployment is None or each.deployment == deployment:
                total = total.plus(each.need)
        return total

    def serve(self, admit: Callable[[Waiter], bool], *, together: bool) -> Sequence[Waiter]:
        """Who may go now, and has left the line. Nobody is overtaken by a later one for the same deployment, or for any
        where all draw from bounds they have `together`."""
        served: list[Waiter] = []
        full: set[str] = set()
        for each in tuple(self._waiters):
            if each.deployment in full:
                continue
            if admit(each):
                served.append(each)
                self._waiters.remove(each)
            elif together:
                break
            else:
                full.add(each.deployment)
        return served

    def late(self, now_s: float) -> Iterable[Waiter]:
        """Who has waited long enough, and has left the line."""
        late = [each for each in self._waiters if each.until_s <= now_s]
        if late:
            self._waiters = [each for each in self._waiters if each.until_s > now_s]
        return late

    def first_s(self, now_s: float) -> float:
        """Until the first of them has waited long enough."""
        return min((each.until_s for each in self._waiters), default=math.inf) - now_s


def _rank(waiter: Waiter) -> Rank:
    return waiter.rank
