"""What is left of a promise: it holds for a share of the requests, and the others may be missed. One writer.

A miss has a price: what may be saved by one more. It is low while fewer were missed than may be and grows when that is
used up, so that what is left goes where it saves most (a dual price, as in online budgeted allocation: Devanur and
Hayes, 2009, "The adwords problem", here with a multiplicative update).
"""

from __future__ import annotations

import math

# Of the misses that the promise allows, so many are planned with: who is late nobody foresees exactly.
PLANNED = 0.5
# Requests of memory: older ones fade. So many may be missed ahead, as a share of them.
REMEMBERED = 20_000.0
AHEAD = 200.0
# Of the mean price of a request: what a miss costs while all goes by plan.
USUAL = 2.0
LEAST, MOST = 0.02, 50.0
MOST_USED = 10.0


class Misses:
    """`share` of the requests must be served as promised. Ask for `price` with the misses that are still to come."""

    def __init__(self, share: float = 0.99) -> None:
        self._allowed = PLANNED * (1.0 - share)
        self._asked = 0.0
        self._missed = 0.0

    @property
    def kept_share(self) -> float:
        """Of the requests of late."""
        return 1.0 - self._missed / self._asked if self._asked else 1.0

    def asked(self) -> None:
        """One more request has come."""
        fade = 1.0 - 1.0 / REMEMBERED
        self._asked = self._asked * fade + 1.0
        self._missed *= fade

    def missed(self) -> None:
        """One was not served as promised."""
        self._missed += 1.0

    def price(self, usd_each: float, coming: float) -> float:
        """Dollars that a miss is worth where a request costs `usd_each` on average. `coming`: those that are waiting to
        be missed."""
        if not self._allowed:
            return math.inf
        # Beyond MOST_USED it is MOST anyway, and an exponential would have no number.
        factor = USUAL * math.exp(min(self.used(coming), MOST_USED))
        return usd_each * min(max(factor, LEAST), MOST)

    def used(self, coming: float = 0.0) -> float:
        """How much of what may be missed ahead is used up: 0 while all goes by plan, 1 where nothing is left of it, and
        more; infinite where nothing may be missed."""
        if not self._allowed:
            return math.inf
        return (self._missed + coming - self._allowed * self._asked) / (self._allowed * AHEAD)
