"""Those who have no place yet: the line, and who waits aside; and when somebody's time is up."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from itertools import chain

from router.spilling.aside import Aside
from router.spilling.line import Line, Reach, Sums
from router.spilling.room import Before
from router.spilling.tariff import UNKNOWN
from router.spilling.want import Want

# How late a filler is served here.
LATEST_S = 20.0


class Waiting:
    """One writer: its Sluice. Before `ends_s` nobody's time is up."""

    __slots__ = ("aside", "ends_s", "line")

    def __init__(self) -> None:
        self.line, self.aside = Line(), Aside()
        self.ends_s = math.inf

    def __len__(self) -> int:
        return len(self.line.wants) + len(self.aside.wants)

    @property
    def tokens(self) -> int:
        """Of their prompts."""
        return self.line.tokens + sum([each.prompt_tokens for each in self.aside.wants])

    def queue(self, want: Want, reach: Reach) -> None:
        self.line.insert(want, reach)
        self.ends_s = min(self.ends_s, until_s(want))

    def set_aside(self, want: Want) -> None:
        self.aside.add(want)
        self.ends_s = min(self.ends_s, until_aside_s(want))

    def leave(self, key: Hashable) -> None:
        line, aside = self.line, self.aside
        for at in [at for at, each in enumerate(line.wants) if each.key == key]:
            line.pop(at)
        for want in [each for each in aside.wants if each.key == key]:
            aside.remove(want)

    def over(self, now_s: float, is_lost: Callable[[Want], bool]) -> list[Want]:
        """Takes out whose time is up, and of those aside who `is_lost`."""
        line, aside = self.line, self.aside
        late = [want for want in aside.wants if now_s >= until_aside_s(want) or is_lost(want)]
        for want in late:
            aside.remove(want)
        ended = [at for at, want in enumerate(line.wants) if now_s >= until_s(want)]
        found = late + [line.pop(at) for at in reversed(ended)]
        self.ends_s = min(chain(map(until_s, line.wants), map(until_aside_s, aside.wants)), default=math.inf)
        return found

    def all_before(self, reach: Reach, reach_of: Callable[[Want], Reach]) -> Before:
        """Before one of these engines that waits behind all of them."""
        aside = Sums()
        for want in self.aside.wants:
            aside.add(want, reach_of(want))
        line = self.line.before(len(self.line.wants), reach)
        return Before(*[first + second for first, second in zip(line, aside.of(reach, 1.0), strict=True)])


def until_s(want: Want) -> float:
    """The moment at which it waits no longer."""
    return want.arrived_s + want.patience_s


def until_aside_s(want: Want) -> float:
    """The same while it waits aside: not beyond LATEST_S where it may still go to the cloud, and not until only that
    can keep its own deadline."""
    if not want.may_spill:
        return until_s(want)
    late_s = want.arrived_s + min(want.patience_s, LATEST_S)
    return min(late_s, want.latest_s - (want.twin or UNKNOWN).median_s)
