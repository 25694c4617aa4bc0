"""What is left of a promise: it holds for a share of the requests, and the others may be missed. One writer.

A miss has a price: what may be saved by one more. It is low while fewer were missed than may be and grows when that is
used up, so that what is left goes where it saves most (a dual price, as in online budgeted allocation: Devanur and
Hayes, 2009, "The adwords problem", here with a multiplicative update).
"""

from __future__ import annotations

import math

# Of the misses that the promise allows, so many are planned with: who is late nobody foresees exactly. Where more than
# so many are missed, the promise itself is in danger.
PLANNED, SAFE = 0.65, 0.78
# Requests of memory: older ones fade. What so many of them allow may be missed ahead, and what so many do, saved up.
REMEMBERED = 20_000.0
AHEAD, SAVED = 100.0, 8_000.0
# As if so much of what may be missed ahead were used up when the first one comes: nothing is saved up yet, and of few
# requests one miss is many.
BEGUN = 2.0
# Of the mean price of a request: what a miss costs while all goes by plan.
USUAL = 2.0
MOST = 50.0
# Beyond this it is MOST anyway, and an exponential would have no number.
MOST_USED = 10.0
FADE = 1.0 - 1.0 / REMEMBERED


class Excess:
    """Misses beyond `part` of those that are allowed: a quiet night is no leave for a bad morning. One writer: its
    Misses."""

    __slots__ = ("_allowed", "_over", "_part")

    def __init__(self, part: float, share: float) -> None:
        self._part = part
        self.promise(share)
        self._over = BEGUN * self._allowed * AHEAD

    def promise(self, share: float) -> None:
        """So many of the requests, from now on."""
        self._allowed = self._part * (1.0 - share)

    def asked(self) -> None:
        self._over = max(self._over * FADE - self._allowed, -self._allowed * SAVED)

    def missed(self) -> None:
        self._over += 1.0

    def used(self, coming: float) -> float:
        """Of what may be missed ahead."""
        return (self._over + coming) / (self._allowed * AHEAD) if self._allowed else math.inf

    def price(self, coming: float) -> float:
        """Of a miss, in mean prices of a request."""
        return min(USUAL * math.exp(min(self.used(coming), MOST_USED)), MOST) if self._allowed else math.inf


class Misses:
    """`share` of the requests must be served as promised. Ask for `price` with the misses that are still to come."""

    def __init__(self, share: float = 0.99) -> None:
        self._planned, self._safe = Excess(PLANNED, share), Excess(SAFE, share)
        self._share = share
        self._asked = 0.0
        self._missed = 0.0

    @property
    def share(self) -> float:
        """What is promised. Another share changes what may be missed from now on, and nothing of what was."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        self._share = share
        self._planned.promise(share)
        self._safe.promise(share)

    @property
    def kept_share(self) -> float:
        """Of the requests of late."""
        return 1.0 - self._missed / self._asked if self._asked else 1.0

    def asked(self) -> None:
        """One more request has come."""
        self._asked = self._asked * FADE + 1.0
        self._missed *= FADE
        self._planned.asked()
        self._safe.asked()

    def missed(self) -> None:
        """One was not served as promised."""
        self._missed += 1.0
        self._planned.missed()
        self._safe.missed()

    def price(self, usd_each: float, coming: float) -> float:
        """Dollars that a miss is worth where a request costs `usd_each` on average. `coming`: those that are waiting to
        be missed."""
        return usd_each * self._planned.price(coming)

    def danger_price(self, usd_each: float) -> float:
        """The same where what is planned does not count, but the promise: to avoid a miss that nobody planned."""
        return usd_each * self._safe.price(0.0)

    def used(self, coming: float = 0.0) -> float:
        """How much of what may be missed ahead is used up: 0 while all goes by plan, 1 where nothing is left of it, and
        more; infinite where nothing may be missed."""
        return self._planned.used(coming)
