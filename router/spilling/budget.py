"""How much of the cloud's money may be spent now, by whom, and how dear a dollar is, so that it lasts. Pure.

What is left of a month is spread over its rest as it is expected to be needed (`season`), so is the share of a day over
its hours, and that of an hour over its minutes: money that was not needed is spread again, and nobody can use up what
later hours need. Nothing here is remembered: all follows from what the ledger says was spent, so that several workers
come to the same end. The caps themselves are kept by the ledger, in one transaction with each reservation.

The order of sacrifice, as money gets short: `price_factor` rises above 1, so that only what is worth it goes; the
promise of tiers that give way first is lowered, that of the last one never; a tier's own part of the moment's money is
spent, so that it stays here while later ones still go; the last tier alone has the reserve; nothing is left, and nobody
goes. Each tier leaves `reserve_share` to every tier that gives way after it (nested booking limits: Littlewood, 1972,
"Forecasting and control of passenger bookings").
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from router.spilling.periods import HOUR_S, Dollars, Periods, periods_at
from router.spilling.season import Shape

# So much of its hour may be spent ahead: bursts last minutes.
AHEAD_S = 600.0
RESERVE_SHARE = 0.1
# A promise is never lowered further than this: who waits longer is better told at once.
MOST_STRETCH = 4.0


class Budgets(msgspec.Struct, frozen=True):
    """What may be spent in each period, and `tiers` in the order in which they give way: the first is the first to."""

    caps: Dollars
    tiers: tuple[str, ...]
    reserve_share: float = RESERVE_SHARE

    def __post_init__(self) -> None:
        """Raises ValueError where so many reserves leave nothing."""
        if not 0 <= self.reserve_share * max(len(self.tiers) - 1, 1) < 1:
            raise ValueError(f"{len(self.tiers)} tiers that reserve {self.reserve_share} each leave nothing to spend")


class Allowance(msgspec.Struct, frozen=True):
    """What holds at one moment. `usd_now` is what each tier may spend at once, reservations included. `price_factor`:
    so many times its price a dollar counts; 1 where the money will last, infinite where nothing is left. `stretch`: the
    promise of each tier is so many times as long."""

    usd_now: Mapping[str, float]
    price_factor: float
    stretch: Mapping[str, float]


def order_of_sacrifice(ttft_targets_s: Mapping[str, float]) -> tuple[str, ...]:
    """Tiers by their promises: who promises the longest wait gives way first; of equals, who is named first."""
    return tuple(sorted(ttft_targets_s, key=lambda name: -ttft_targets_s[name]))


def allowance(budgets: Budgets, spent: Dollars, shape: Shape, now_unix_s: float) -> Allowance:
    """`spent` in each running period, with what is set aside."""
    periods, caps, last = periods_at(now_unix_s), budgets.caps, len(budgets.tiers) - 1
    factor = _price_factor(caps, spent, shape, periods, now_unix_s)
    parts = _parts(caps, shape, periods, now_unix_s)
    usd_now: dict[str, float] = {}
    stretch: dict[str, float] = {}
    for at, tier in enumerate(budgets.tiers):
        usd_now[tier] = _usd_now(caps, 1.0 - budgets.reserve_share * (last - at), spent, parts)
        stretch[tier] = 1.0 if at == last else min(MOST_STRETCH, factor ** (last - at))
    return Allowance(usd_now, factor, stretch)


class _Parts(msgspec.Struct, frozen=True):
    """Of what is left of the month, today's; of what is left of today, this hour's; of this hour's, what may be spent
    by now."""

    today: float
    hour: float
    now: float


def _parts(caps: Dollars, shape: Shape, periods: Periods, now_unix_s: float) -> _Parts:
    today = 1.0
    if caps.month != math.inf:
        today = shape.days(periods.day, periods.day_ends) / shape.days(periods.day, periods.month_ends)
    hour = shape.days(periods.hour, periods.hour_ends) / shape.days(periods.hour, periods.day_ends)
    return _Parts(today, hour, min(1.0, (now_unix_s + AHEAD_S - periods.hour) / HOUR_S))


def _usd_now(caps: Dollars, level: float, spent: Dollars, parts: _Parts) -> float:
    """For who may use `level` of each cap. What a period has spent already is part of its share."""
    day_usd = min(level * caps.day, (level * caps.month - (spent.month - spent.day)) * parts.today)
    hour_usd = min(level * caps.hour, (day_usd - (spent.day - spent.hour)) * parts.hour)
    return max(0.0, hour_usd * parts.now - spent.hour)


def _price_factor(caps: Dollars, spent: Dollars, shape: Shape, periods: Periods, now_unix_s: float) -> float:
    """In the period that is worst off: what its rest needs for what is left. Needed is what the rest is expected to
    cost or, while nobody knows that, what it should get by plan."""
    worst = 1.0
    for cap, used, start, end in (
        (caps.hour, spent.hour, periods.hour, periods.hour_ends),
        (caps.day, spent.day, periods.day, periods.day_ends),
        (caps.month, spent.month, periods.month, periods.month_ends),
    ):
        if cap == math.inf:
            continue
        left = cap - used
        if left <= 0:
            return math.inf
        whole, rest = shape.days(start, end), shape.days(now_unix_s, end)
        needed = cap * rest / whole if shape.usd_per_day is None else shape.usd_per_day * rest
        # On both sides, so that the last moments of a period, which need and leave next to nothing, are no alarm.
        some = cap * AHEAD_S / (end - start)
        worst = max(worst, (needed + some) / (left + some))
    return worst
