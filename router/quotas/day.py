"""A window of one day, which begins anew at midnight in the provider's time zone. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec


class Day(msgspec.Struct, frozen=True, array_like=True):
    """`used` of `limit` until `ends_at_s`, a Unix time."""

    limit: float
    used: float = 0.0
    ends_at_s: float = 0.0


def midnight_after(now_s: float, zone: str) -> float:
    """The next midnight there as Unix time: 23 to 25 hours apart where clocks are changed."""
    here = datetime.fromtimestamp(now_s, _zone(zone))
    tomorrow = here.date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=here.tzinfo).timestamp()


def left(day: Day, now_s: float) -> float:
    """How much may still be used today."""
    return day.limit - (day.used if now_s < day.ends_at_s else 0.0)


def ready_in_s(day: Day, amount: float, now_s: float, ahead: float = 0.0) -> float:
    """Until `amount` can be used after `ahead` of others has been. Infinite for more than a whole day has."""
    if amount > day.limit:
        return math.inf
    return 0.0 if amount + ahead <= left(day, now_s) else max(0.0, day.ends_at_s - now_s)


def used(day: Day, amount: float, now_s: float, zone: str) -> Day:
    """After `amount` more was used, or less if it is negative. What is given back late does not enter a new day."""
    if now_s < day.ends_at_s:
        return Day(day.limit, max(0.0, day.used + amount), day.ends_at_s)
    return Day(day.limit, max(0.0, amount), midnight_after(now_s, zone))


def resized(day: Day, limit: float, now_s: float, zone: str) -> Day:
    """With another limit or in another zone: today's use stays, until the midnight of that zone."""
    if now_s >= day.ends_at_s:
        return Day(limit)
    return Day(limit, day.used, midnight_after(now_s, zone))


@lru_cache(64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
