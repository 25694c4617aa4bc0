"""What is left of a promise: it holds for a share of the requests, and the others may be missed. One writer.

A miss has a price: what may be saved by one more. It is low while fewer were missed than may be and grows when that is
used up, so that what is left goes where it saves most (a dual price, as in online budgeted allocation: Devanur and
Hayes, 2009, "The adwords problem", here with a multiplicative update).
"""

from __future__ import annotations

import math

# Of the misses that the promise allows, so many are planned with: who is late nobody foresees exactly.
PLANNED = 0.7
# Requests of memory: older ones fade. So many may be missed ahead, as a share of them.
REMEMBERED = 20_000.0
AHEAD = 1_000.0
# Of the mean price of a request: what a miss costs while all goes by plan.
USUAL = 2.0
LEAST, MOST = 0.02, 50.0


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
        ahead = self._allowed * AHEAD
        left = self._allowed * self._asked + ahead - self._missed - coming
        factor = USUAL * math.exp(1.0 - left / ahead)
        return usd_each * min(max(factor, LEAST), MOST)
