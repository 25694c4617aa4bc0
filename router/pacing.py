"""What each tier may spend on clouds at this moment, so that the money lasts: `spilling.budget` with what it goes by.

What it goes by is learned from the ledger's hours and from nothing else: what they cost, and what requests that stayed
here because money was short would have cost. It is read anew in each hour, all of it, so that all workers and whoever
is started again come to the same; only hours that have ended count, so one worker's own outcomes would add nothing.
A request that nobody served because money was short is not known to have cost anything: its client asks again.

Each worker reckons for itself with what all of them had spent half a second ago. So a burst at several workers may pass
a moment's money, never a cap, which the ledger keeps in one transaction with each reservation.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import structlog

from router.ledger import Ledger
from router.moves import LedgerError
from router.routing.passing import Money
from router.spilling.budget import UNPACED, Allowance, Budgets, allowance, order_of_sacrifice
from router.spilling.periods import HOUR_S, periods_at
from router.spilling.season import FLAT, Season, Shape
from router.tables.rules import Rules

# Longer ago counts next to nothing: of a weekday's share a quarter, of an hour's a fiftieth.
HISTORY_S = 8 * 7 * 24 * HOUR_S
LOOK_EACH_S = 30.0
# An allowance holds so long, unless so much of a day's money is spent before: to reckon it takes some 50 us.
FRESH_S = 0.1
MUCH = 0.01

# Dollars by hour, told by its first second, since a moment. Raises LedgerError. May take its time.
Read = Callable[[float], Sequence[tuple[int, float]]]

log = structlog.get_logger()


class Pacing:
    """The one writer of what is learned and reckoned. Reads the ledger in a thread, all else on the event loop."""

    def __init__(self, ledger: Ledger, read: Read, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._read = read
        self._clock = clock
        self._shape = FLAT
        # The hour in which the ledger was read last.
        self._read_in: int | None = None
        self._rules: Rules | None = None
        self._budgets: Budgets | None = None
        self._allowance = UNPACED
        # Reckoned at one moment, holds until another one, when so much was left by the caps.
        self._at_unix_s, self._until_unix_s, self._left_usd, self._much_usd = 0.0, -math.inf, 0.0, 0.0
        self._others_usd = math.inf

    async def keep(self) -> None:
        """Learn now and in each hour, for ever."""
        while True:
            await self.learn()
            await asyncio.sleep(LOOK_EACH_S)

    async def learn(self) -> None:
        """From the ledger, unless it was read in this hour. One that cannot be read now is read at the next look."""
        now_unix_s = self._clock()
        hour = int(now_unix_s // HOUR_S)
        if hour == self._read_in:
            return
        try:
            self._shape = await asyncio.to_thread(_learned, self._read, now_unix_s)
        except LedgerError as error:
            log.warning("what clouds cost by hour cannot be read; what was learned before holds", why=str(error))
            return
        self._read_in = hour
        self._until_unix_s = -math.inf

    def now(self, rules: Rules) -> Allowance:
        """As of this moment; that of a tenth of a second ago where little was spent since."""
        self._left_now(rules)
        return self._allowance

    def money(self, rules: Rules, tier: str) -> Money:
        """For a request of this tier. One that takes no part in the order of sacrifice has as much as the first in it,
        and its promise holds."""
        left_usd = self._left_now(rules)
        found = self._allowance
        usd = found.usd_now.get(tier, self._others_usd)
        # What was spent since it was reckoned is gone.
        usd_now = max(0.0, usd + left_usd - self._left_usd)
        return Money(min(left_usd, usd_now), found.price_factor, found.stretch.get(tier, 1.0))

    def _left_now(self, rules: Rules) -> float:
        """What the caps leave. Reckons anew where the last allowance does not hold any more."""
        now_unix_s, left_usd = self._clock(), self._ledger.left_usd(rules.limits.caps)
        if (
            rules is not self._rules
            or not self._at_unix_s <= now_unix_s < self._until_unix_s
            or abs(left_usd - self._left_usd) > self._much_usd
        ):
            self._reckon(rules, left_usd, now_unix_s)
        return left_usd

    def _reckon(self, rules: Rules, left_usd: float, now_unix_s: float) -> None:
        if self._budgets is None or rules is not self._rules:
            self._rules, self._budgets = rules, budgets_of(rules)
            self._much_usd = MUCH * rules.limits.caps.day
        self._allowance = allowance(self._budgets, self._ledger.spent, self._shape, now_unix_s)
        self._others_usd = min(self._allowance.usd_now.values(), default=math.inf)
        self._left_usd, self._at_unix_s = left_usd, now_unix_s
        # A new hour has money of its own.
        self._until_unix_s = min(now_unix_s + FRESH_S, periods_at(now_unix_s).hour_ends)


def budgets_of(rules: Rules) -> Budgets:
    """Caps, and the tiers that spend in the order in which they give way."""
    targets_s = {name: tier.ttft_target_s for name, tier in rules.tiers.items() if tier.spends}
    return Budgets(rules.limits.caps, order_of_sacrifice(targets_s), rules.limits.reserve_share)


def in_words(found: Allowance, rules: Rules) -> str:
    """What it means for clients, in one line; empty where the money will last, but for less than can be shown."""
    if round(found.price_factor, 2) <= 1.0:
        return ""
    longer = ", ".join(
        f"{name} {rules.tiers[name].ttft_target_s * times:.3g} s instead of {rules.tiers[name].ttft_target_s:g} s"
        for name, times in found.stretch.items()
        if times > 1.0 and name in rules.tiers
    )
    short = (
        "the clouds' money is spent, so all stay here"
        if found.price_factor == math.inf
        else f"the clouds' money is short: a dollar counts {found.price_factor:.2f} times"
    )
    return f"{short}; a first token is promised to {longer}" if longer else short


def _learned(read: Read, now_unix_s: float) -> Shape:
    season = Season()
    for start, usd in read(now_unix_s - HISTORY_S):
        season.learn(start, usd)
    # Quiet hours until now.
    season.learn(now_unix_s, 0.0)
    return season.shape()
