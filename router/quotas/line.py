"""Who waits for a provider's windows, in the order in which they are served. Pure."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Mapping, Sequence

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
        self._needs: Mapping[str, Need] | None = {}

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def head(self) -> Waiter | None:
        """Whose turn it is."""
        return self._waiters[0] if self._waiters else None

    def join(self, waiter: Waiter) -> None:
        insort(self._waiters, waiter, key=_rank)
        self._needs = None

    def leave(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            self._needs = None

    def needs(self) -> Mapping[str, Need]:
        """What all of them take, by deployment."""
        if self._needs is None:
            totals: dict[str, Need] = {}
            for each in self._waiters:
                totals[each.deployment] = totals.get(each.deployment, NOTHING).plus(each.need)
            self._needs = totals
        return self._needs

    def ahead_of(self, rank: Rank, deployment: str | None) -> Need:
        """What all take who go before that rank, for that deployment (None: for all of them)."""
        total = NOTHING
        for each in self._waiters:
            if each.rank >= rank:
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
                self.leave(each)
            elif together:
                break
            else:
                full.add(each.deployment)
        return served

    def late(self, now_s: float, is_lost: Callable[[Waiter], bool]) -> Sequence[Waiter]:
        """Who has waited long enough, or in vain, and has left the line."""
        late = [each for each in self._waiters if each.until_s <= now_s or is_lost(each)]
        for each in late:
            self.leave(each)
        return late

    def first_s(self, now_s: float) -> float:
        """Until the first of them has waited long enough."""
        return min((each.until_s for each in self._waiters), default=math.inf) - now_s


def _rank(waiter: Waiter) -> Rank:
    return waiter.rank
