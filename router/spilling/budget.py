"""How much of the cloud's money may be spent now, by whom, and how dear a dollar is, so that it lasts. Pure.

What is left of a month is spread over its rest as it is expected to be needed (`season`), so is the share of a day over
its hours, and that of an hour over its minutes: money that was not needed is spread again, and nobody can use up what
later hours need. What they do not need may go at once: pacing only holds back where money will be short. While nothing
is learned, the rest of a period is taken to need a quarter of its cap by time: the first burst of a new router has the
other three at any moment of the day, and a demand that turns out to pass the cap is still spread from there on. Nothing
here is remembered: all follows from what the ledger says was spent, so that several workers come to the same end. The
caps themselves are kept by the ledger, in one transaction with each reservation.

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

from router.spilling.periods import Dollars, Periods, periods_at
from router.spilling.season import Shape

# So much of its hour may be spent ahead: bursts last minutes.
AHEAD_S = 600.0
RESERVE_SHARE = 0.1
# Of what the tightest cap allows, so much is taken to be needed while nobody knows.
UNLEARNED_SHARE = 0.25
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


# Where there are no tiers that spend.
UNPACED = Allowance({}, 1.0, {})


def order_of_sacrifice(ttft_targets_s: Mapping[str, float]) -> tuple[str, ...]:
    """Tiers by their promises: who promises the longest wait gives way first; of equals, who is named first."""
    return tuple(sorted(ttft_targets_s, key=lambda name: -ttft_targets_s[name]))


def allowance(budgets: Budgets, spent: Dollars, shape: Shape, now_unix_s: float) -> Allowance:
    """`spent` in each running period, with what is set aside."""
    periods, caps, last = periods_at(now_unix_s), budgets.caps, len(budgets.tiers) - 1
    usd_per_day = _usd_per_day(caps, shape, periods)
    factor = _price_factor(caps, spent, shape, usd_per_day, now_unix_s)
    spans = _spans(shape, usd_per_day, periods, now_unix_s)
    usd_now: dict[str, float] = {}
    stretch: dict[str, float] = {}
    for at, tier in enumerate(budgets.tiers):
        usd_now[tier] = _usd_now(caps, 1.0 - budgets.reserve_share * (last - at), spent, spans)
        stretch[tier] = 1.0 if at == last else min(MOST_STRETCH, min(MOST_STRETCH, factor) ** (last - at))
    return Allowance(usd_now, factor, stretch)


class _Span(msgspec.Struct, frozen=True):
    """Of the dollars for a span of time, `part` is for its beginning by plan; its rest is expected to need
    `later_usd`."""

    part: float
    later_usd: float

    def first_usd(self, usd: float, level: float) -> float:
        """What may go in its beginning: its part, or all that the rest does not need."""
        return max(usd * self.part, usd - level * self.later_usd)


class _Spans(msgspec.Struct, frozen=True):
    """The rest of the month, which begins with today; of today, which begins with this hour; and this hour, of which
    so much has passed or may be spent ahead."""

    month: _Span
    day: _Span
    hour: _Span


def _usd_per_day(caps: Dollars, shape: Shape, periods: Periods) -> float:
    """What an average day needs, as learned or as taken to be."""
    if shape.usd_per_day is not None:
        return shape.usd_per_day
    most = min(cap / shape.days(start, end) for cap, _, start, end in _each(caps, caps, periods))
    return 0.0 if most == math.inf else UNLEARNED_SHARE * most


def _spans(shape: Shape, usd_per_day: float, periods: Periods, now_unix_s: float) -> _Spans:
    ahead_unix_s = min(now_unix_s + AHEAD_S, periods.hour_ends)

    def span(start: float, until: float, end: float) -> _Span:
        whole, rest = shape.days(start, end), shape.days(until, end)
        return _Span((whole - rest) / whole, usd_per_day * rest)

    return _Spans(
        span(periods.day, periods.day_ends, periods.month_ends),
        span(periods.hour, periods.hour_ends, periods.day_ends),
        span(periods.hour, ahead_unix_s, periods.hour_ends),
    )


def _usd_now(caps: Dollars, level: float, spent: Dollars, spans: _Spans) -> float:
    """For who may use `level` of each cap. What a period has spent already is part of its share."""
    month_usd = level * caps.month - (spent.month - spent.day)
    day_usd = level * caps.day
    if caps.month != math.inf:
        day_usd = min(day_usd, spans.month.first_usd(month_usd, level))
    hour_usd = min(level * caps.hour, spans.day.first_usd(day_usd - (spent.day - spent.hour), level))
    return max(0.0, spans.hour.first_usd(hour_usd, level) - spent.hour)


def _price_factor(caps: Dollars, spent: Dollars, shape: Shape, usd_per_day: float, now_unix_s: float) -> float:
    """In the period that is worst off: what its rest is expected to need for what is left."""
    worst = 1.0
    for cap, used, start, end in _each(caps, spent, periods_at(now_unix_s)):
        if cap == math.inf:
            continue
        left = cap - used
        if left <= 0:
            return math.inf
        # On both sides, so that the last moments of a period, which need and leave next to nothing, are no alarm.
        some = cap * AHEAD_S / (end - start)
        worst = max(worst, (usd_per_day * shape.days(now_unix_s, end) + some) / (left + some))
    return worst


def _each(caps: Dollars, spent: Dollars, periods: Periods) -> tuple[tuple[float, float, int, int], ...]:
    """(cap, spent, start, end) of each period."""
    return (
        (caps.hour, spent.hour, periods.hour, periods.hour_ends),
        (caps.day, spent.day, periods.day, periods.day_ends),
        (caps.month, spent.month, periods.month, periods.month_ends),
    )
