"""Hour, day and month of the cloud's money, in UTC, and dollars for each of them. Pure."""

from __future__ import annotations

import calendar
import math
import time

import msgspec

HOUR_S = 3600
DAY_S = 86400


# Of a period whose money has no bound.
NO_CAP = math.inf


class Dollars(msgspec.Struct, frozen=True):
    """One sum for each period. As caps: NO_CAP where there is none."""

    hour: float
    day: float
    month: float


NO_CAPS = Dollars(NO_CAP, NO_CAP, NO_CAP)


class Periods(msgspec.Struct, frozen=True):
    """When the running hour, day and month began, in seconds since 1970; each begins where one of the shorter does."""

    hour: int
    day: int
    month: int

    @property
    def hour_ends(self) -> int:
        return self.hour + HOUR_S

    @property
    def day_ends(self) -> int:
        return self.day + DAY_S

    @property
    def month_ends(self) -> int:
        at = time.gmtime(self.month)
        return self.month + calendar.monthrange(at.tm_year, at.tm_mon)[1] * DAY_S


def periods_at(unix_s: float) -> Periods:
    day = int(unix_s // DAY_S) * DAY_S
    return Periods(int(unix_s // HOUR_S) * HOUR_S, day, day - (time.gmtime(day).tm_mday - 1) * DAY_S)
