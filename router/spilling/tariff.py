"""What it costs to spill a request, and what to be late with it: dollars, so that the cheaper is done."""

from __future__ import annotations

import math
from collections.abc import Callable

from router.spilling.again import Again, cheapest
from router.spilling.aside import Aside
from router.spilling.demand import Demand
from router.spilling.misses import USUAL, Misses
from router.spilling.twin import CALL_S, Twin
from router.spilling.want import Want

# Fillers: how many at most may still go to the cloud.
FILLERS = 30
# What is believed of a twin of which nothing is known.
UNKNOWN = Twin()
# Of a promise, so much is kept for what nobody foresees: while misses go by plan, and where no more may be missed.
MARGIN_S, CAREFUL_S = 0.25, 0.4


class Tariff:
    """`aside` are those who are late already, or soon. `price_factor` is how much a dollar counts."""

    __slots__ = ("_aside", "_demand", "_misses", "price_factor")

    def __init__(self, misses: Callable[[str], Misses], demand: Demand, aside: Aside) -> None:
        self.price_factor = 1.0
        self._misses, self._demand, self._aside = misses, demand, aside

    def margin_s(self, tier: str) -> float:
        """How long before the end of its promise a first token has to be expected. What waits long and goes then is
        often late in the cloud too, so less is risked as less may be missed."""
        used = min(1.0, max(0.0, self._misses(tier).used()))
        return MARGIN_S + (CAREFUL_S - MARGIN_S) * used

    def goes(self, want: Want, now_s: float) -> bool:
        """Whether it is spilled: not if it is cheaper to be late, or it may not."""
        return want.may_spill and self.spill_usd(want, now_s) <= self.late_usd(want)

    def least_usd(self, want: Want, now_s: float) -> float:
        """Of not serving it here in time: the cheaper way."""
        return min(self.spill_usd(want, now_s), self.late_usd(want))

    def spill_usd(self, want: Want, now_s: float) -> float:
        if not want.may_spill:
            return math.inf
        return self.price_factor * want.worth.usd + self.again(want, now_s).usd

    def again(self, want: Want, now_s: float) -> Again:
        """When a cloud that is still silent is asked a second time, and what that and being late there cost."""
        twin, left_s, miss_usd = want.twin or UNKNOWN, want.due_s - now_s - CALL_S, self._miss_usd(want)
        if want.price is None or not want.shows_first:
            return Again(math.inf, twin.late_share(left_s) * miss_usd)
        return cheapest(twin, left_s, self.price_factor * want.price.usd(want.prompt_tokens, 0.0), miss_usd)

    def late_usd(self, want: Want) -> float:
        """Of serving it here, late. Nobody is late for its own deadline who may go, nor more than FILLERS of those."""
        if want.may_spill and (want.has_deadline or self._aside.fillers >= FILLERS):
            return math.inf
        return self._miss_usd(want)

    def _miss_usd(self, want: Want) -> float:
        # Where nothing has a price all that counts is how many are missed.
        each_usd = self._demand.usd_each or 1.0
        usd = self._misses(want.tier).price(each_usd, self._aside.tiers[want.tier])
        return usd if want.may_spill else min(usd, USUAL * each_usd)
