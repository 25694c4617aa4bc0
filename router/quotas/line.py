"""Who waits for a provider's windows, in the order in which they are served. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

import msgspec

from router.errand import Wait
from router.quotas.meter import Need, total

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


class Held(Enum):
    """What keeps a waiter: bounds of its own deployment, those that all of them share, or that it never will fit."""

    HERE = 1
    BY_ALL = 2
    FOREVER = 3


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
            needs: dict[str, list[Need]] = {}
            for each in self._waiters:
                needs.setdefault(each.deployment, []).append(each.need)
            self._needs = {name: total(those) for name, those in needs.items()}
        return self._needs

    def ahead_of(self, rank: Rank, deployment: str) -> tuple[Need, Need]:
        """What all take who go before that rank, and what those of them take that are for that deployment."""
        before = self._waiters[: bisect_left(self._waiters, rank, key=_rank)]
        return total([each.need for each in before]), total(
            [each.need for each in before if each.deployment == deployment]
        )

    def serve(self, admit: Callable[[Waiter], Held | None]) -> Sequence[Waiter]:
        """Who may go now, or waits in vain, and has left the line. `admit` says what holds a waiter, None: it may go.

        Nobody is overtaken by a later one for the same deployment, or for any while it waits for what all share.
        """
        left: list[Waiter] = []
        full: set[str] = set()
        for each in tuple(self._waiters):
            if each.deployment in full:
                continue
            held = admit(each)
            if held is Held.BY_ALL:
                break
            if held is Held.HERE:
                full.add(each.deployment)
                continue
            left.append(each)
            self.leave(each)
        return left

    def late(self, now_s: float) -> Sequence[Waiter]:
        """Who has waited long enough, and has left the line."""
        late = [each for each in self._waiters if each.until_s <= now_s]
        for each in late:
            self.leave(each)
        return late

    def first_s(self, now_s: float) -> float:
        """Until the first of them has waited long enough."""
        return min((each.until_s for each in self._waiters), default=math.inf) - now_s


def _rank(waiter: Waiter) -> Rank:
    return waiter.rank
