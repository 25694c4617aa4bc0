"""What it costs to spill a request, and what to be late with it: dollars, so that the cheaper is done."""

from __future__ import annotations

import math
from collections.abc import Callable

from router.spilling.again import again_s
from router.spilling.aside import Aside
from router.spilling.demand import Demand
from router.spilling.misses import USUAL, Misses
from router.spilling.twin import CALL_S, Twin
from router.spilling.want import Want

# Fillers: how many at most may still go to the cloud.
FILLERS = 30
# What is believed of a twin of which nothing is known.
UNKNOWN = Twin()
# The longer a wait, the less is known of it: a first token is taken to come so many times as late as is expected, while
# misses go by plan, and later for each time that what may be missed ahead is used up, to so many times.
LONGER, CAREFUL, MOST_CAREFUL = 1.2, 0.15, 2.0
# And of a promise so much is kept for what nobody foresees at all.
MARGIN_S = 0.1


class Tariff:
    """`aside` are those who are late already, or soon. `price_factor` is how much a dollar counts."""

    __slots__ = ("_aside", "_demand", "_misses", "price_factor")

    def __init__(self, misses: Callable[[str], Misses], demand: Demand, aside: Aside) -> None:
        self.price_factor = 1.0
        self._misses, self._demand, self._aside = misses, demand, aside

    def longer(self, tier: str) -> float:
        """How many times as late as is expected a first token may come. What waits long and goes then is often late in
        the cloud too, so less is risked as less may be missed."""
        return LONGER + CAREFUL * min(MOST_CAREFUL, max(0.0, self._misses(tier).used()))

    def goes(self, want: Want, now_s: float) -> bool:
        """Whether it is spilled: not if it is cheaper to be late, or it may not."""
        return want.may_spill and self.spill_usd(want, now_s) <= self.late_usd(want)

    def least_usd(self, want: Want, now_s: float) -> float:
        """Of not serving it here in time: the cheaper way."""
        return min(self.spill_usd(want, now_s), self.late_usd(want))

    def spill_usd(self, want: Want, now_s: float) -> float:
        if not want.may_spill:
            return math.inf
        late_share = (want.twin or UNKNOWN).late_share(self._left_s(want, now_s))
        return self.price_factor * want.worth.usd + late_share * self._miss_usd(want)

    def again_s(self, want: Want, now_s: float) -> float:
        """How long a cloud may be silent until it is asked a second time; infinite where that is not worth it."""
        if want.price is None or want.twin is None or not want.shows_first:
            return math.inf
        prompt_usd = self.price_factor * want.price.usd(want.prompt_tokens, 0.0)
        danger_usd = self._misses(want.tier).danger_price(self._demand.usd_each or 1.0)
        return again_s(want.twin, self._left_s(want, now_s), prompt_usd, danger_usd)

    def late_usd(self, want: Want) -> float:
        """Of serving it here, late. Nobody is late for its own deadline who may go, nor more than FILLERS of those."""
        if want.may_spill and (want.has_deadline or self._aside.fillers >= FILLERS):
            return math.inf
        return self._miss_usd(want)

    def _left_s(self, want: Want, now_s: float) -> float:
        return want.due_s - now_s - CALL_S

    def _miss_usd(self, want: Want) -> float:
        # Where nothing has a price all that counts is how many are missed.
        each_usd = self._demand.usd_each or 1.0
        usd = self._misses(want.tier).price(each_usd, self._aside.tiers[want.tier])
        return usd if want.may_spill else min(usd, USUAL * each_usd)
