"""Those who wait for a place, in the order in which their first tokens are due; and what is before each of them.

Those that wait for other engines are not before one, and those that wait for some of the same are before it with as
much of their work as these get.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable
from typing import Self

from router.spilling.room import FIRST, Before
from router.spilling.want import Want

Reach = frozenset[Hashable]


def overlap(other: Reach, reach: Reach) -> float:
    """How much of what waits for the `other` engines these get of it."""
    return len(other & reach) / len(other) if other else 0.0


class Sums:
    """The work of some of the line, by the engines that it waits for."""

    __slots__ = ("_by_reach", "tokens")

    def __init__(self) -> None:
        self._by_reach: dict[Reach, list[float]] = {}
        self.tokens = 0

    def copy(self) -> Self:
        found = type(self)()
        found.tokens = self.tokens
        found._by_reach = {reach: [*sums] for reach, sums in self._by_reach.items()}
        return found

    def add(self, want: Want, reach: Reach, sign: int = 1) -> None:
        sums = self._by_reach.get(reach)
        if sums is None:
            sums = self._by_reach[reach] = [0, 0, 0]
        self.tokens += sign * want.prompt_tokens
        sums[0] += sign * want.prompt_tokens
        sums[1] += sign * want.fresh_tokens
        sums[2] += sign
        if not sums[2]:
            del self._by_reach[reach]

    def of(self, reach: Reach, more: float) -> Before:
        """Before one that these engines may serve; so many times that, for others wait between them."""
        tokens = fresh = requests = 0.0
        for other, sums in self._by_reach.items():
            share = more if other is reach else more * overlap(other, reach)
            tokens += share * sums[0]
            fresh += share * sums[1]
            requests += share * sums[2]
        return Before(tokens, fresh, requests)

    def reaches(self) -> list[Reach]:
        return list(self._by_reach)


class Line:
    """One writer: its Sluice. `wants` in order, `reaches` the engines of each. `others` wait for the same engines
    elsewhere: between those of the line, as many before each as it has of these before it."""

    __slots__ = ("_dues_s", "_sums", "others", "reaches", "wants")

    def __init__(self) -> None:
        self.wants: list[Want] = []
        self.reaches: list[Reach] = []
        self.others = FIRST
        self._dues_s: list[float] = []
        self._sums = Sums()

    def copy(self) -> Self:
        """To try something."""
        found = type(self)()
        found.others = self.others
        for want, reach in zip(self.wants, self.reaches, strict=True):
            found.insert(want, reach)
        return found

    def reach_again(self, reach_of: Callable[[Want], Reach]) -> None:
        """The engines have changed."""
        self.reaches, self._sums = [reach_of(want) for want in self.wants], Sums()
        for want, reach in zip(self.wants, self.reaches, strict=True):
            self._sums.add(want, reach)

    def place_of(self, want: Want) -> int:
        """How many are before it, once it is there or if it came."""
        return bisect_right(self._dues_s, want.due_s)

    def insert(self, want: Want, reach: Reach) -> None:
        due_s = want.due_s
        at = bisect_right(self._dues_s, due_s)
        self._dues_s.insert(at, due_s)
        self.wants.insert(at, want)
        self.reaches.insert(at, reach)
        self._sums.add(want, reach)

    def pop(self, at: int) -> Want:
        want, reach = self.wants.pop(at), self.reaches.pop(at)
        del self._dues_s[at]
        self._sums.add(want, reach, -1)
        return want

    def before(self, at: int, reach: Reach) -> Before:
        """Before one of these engines that has so many before it."""
        if at == len(self.wants):
            return self._sums.of(reach, self.more) if at else self.others
        if 2 * at < len(self.wants):
            sums = Sums()
            for want, other in zip(self.wants[:at], self.reaches[:at], strict=True):
                sums.add(want, other)
            return sums.of(reach, self.more)
        # From the end there are fewer.
        sums = self._sums.copy()
        for want, other in zip(self.wants[at:], self.reaches[at:], strict=True):
            sums.add(want, other, -1)
        return sums.of(reach, self.more)

    def claimed(self, at: int) -> Reach:
        """The engines that the first so many wait for."""
        if not at:
            return frozenset()
        if at == len(self.wants):
            return frozenset().union(*self._sums.reaches())
        return frozenset().union(*self.reaches[:at])

    @property
    def tokens(self) -> int:
        """Of their prompts."""
        return self._sums.tokens

    @property
    def more(self) -> float:
        """How much more waits before each than those of the line."""
        return 1.0 + self.others.tokens / self._sums.tokens if self.others.requests else 1.0
