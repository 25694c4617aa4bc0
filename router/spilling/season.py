"""How the cost of a week is spread over its hours: learned from what requests cost, flat until it is.

Pure, one writer: moments and dollars go in, a frozen Shape comes out. Give it what would be spent if money were no
object (also what stayed here for want of it): what pacing has cut off says nothing of the demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from router.spilling.periods import DAY_S, HOUR_S

HOURS = 24
WEEKDAYS = 7
# A day counts half after ten days, so that a change of habits is learned within two weeks; a weekday, which comes
# seldom, after four of its like.
KEEP_A_DAY = 0.5**0.1
KEEP_A_WEEKDAY = 0.5**0.25
KEEP_AN_HOUR = KEEP_A_WEEKDAY ** (1 / HOURS)
# What is not learned yet counts as so many days of average hours. It also keeps an hour that was never busy from
# getting nothing at all.
PRIOR_DAYS = 1.0
# Hours without any cost are quiet ones; after more of them in a row the router was off, and nothing is learned.
MOST_QUIET_HOURS = 24
# 1 January 1970 was a Thursday; weeks begin on Monday.
FIRST_WEEKDAY = 3


class Shape(msgspec.Struct, frozen=True):
    """`before` is the share of a day's cost that has come by each full hour (25 of them, 0 to 1), `weekdays` what each
    day costs, Monday first, where 1 is an average one. `usd_per_day` is an average day's cost, None until a whole day
    has been seen."""

    before: tuple[float, ...]
    weekdays: tuple[float, ...]
    usd_per_day: float | None = None

    def days(self, since_unix_s: float, until_unix_s: float) -> float:
        """The cost that is expected between two moments, in that of an average day."""
        first, last = int(since_unix_s // DAY_S), int(until_unix_s // DAY_S)
        weeks, days = divmod(last - first, WEEKDAYS)
        whole = float(weeks * WEEKDAYS)
        for day in range(last - days, last):
            whole += self._weekday(day)
        return (
            whole + self._weekday(last) * self._share(until_unix_s) - self._weekday(first) * self._share(since_unix_s)
        )

    def _weekday(self, day: int) -> float:
        return self.weekdays[(day + FIRST_WEEKDAY) % WEEKDAYS]

    def _share(self, unix_s: float) -> float:
        """Of its day's cost, what has come by then."""
        hour, part = divmod(unix_s % DAY_S / HOUR_S, 1.0)
        at = min(int(hour), HOURS - 1)
        return self.before[at] + part * (self.before[at + 1] - self.before[at])


FLAT = Shape(tuple(hour / HOURS for hour in range(HOURS + 1)), (1.0,) * WEEKDAYS)


class Season:
    """The one writer. Bounded: sums for each hour of a day and for each day of a week, which fade."""

    def __init__(self) -> None:
        self._hour: int | None = None
        self._usd = 0.0
        # The hour in which it began to look has been seen in part only.
        self._is_whole = False
        self._sums, self._seen = [0.0] * HOURS, [0.0] * HOURS
        self._actual, self._expected = [0.0] * WEEKDAYS, [0.0] * WEEKDAYS
        self._shape: Shape | None = FLAT

    def learn(self, at_unix_s: float, usd: float) -> None:
        """What one request costs, or would. One that belongs to an hour that has passed counts for the running one."""
        hour = int(at_unix_s // HOUR_S)
        if self._hour is None:
            self._hour = hour
        if hour > self._hour:
            self._turn(hour)
        self._usd += usd

    def shape(self) -> Shape:
        """Of all hours that have ended. Reckoned anew once an hour."""
        if self._shape is None:
            self._shape = self._reckoned()
        return self._shape

    def _turn(self, hour: int) -> None:
        began = hour if self._hour is None else self._hour
        if hour - began <= MOST_QUIET_HOURS:
            if self._is_whole:
                self._fold(began, self._usd)
            for quiet in range(began + 1, hour):
                self._fold(quiet, 0.0)
        self._is_whole = hour - began <= MOST_QUIET_HOURS
        self._hour, self._usd, self._shape = hour, 0.0, None

    def _fold(self, hour: int, usd: float) -> None:
        """One hour has ended. Its weekday is compared with what was expected before it was seen."""
        at, day = hour % HOURS, (hour // HOURS + FIRST_WEEKDAY) % WEEKDAYS
        if self._seen[at]:
            self._actual[day] = self._actual[day] * KEEP_AN_HOUR + usd
            self._expected[day] = self._expected[day] * KEEP_AN_HOUR + self._sums[at] / self._seen[at]
        self._sums[at] = self._sums[at] * KEEP_A_DAY + usd
        self._seen[at] = self._seen[at] * KEEP_A_DAY + 1.0

    def _reckoned(self) -> Shape:
        mean = sum(self._sums) / max(sum(self._seen), 1.0)
        if not mean:
            return FLAT
        hours = [
            (usd + PRIOR_DAYS * mean) / (seen + PRIOR_DAYS) for usd, seen in zip(self._sums, self._seen, strict=True)
        ]
        whole, prior = sum(hours), PRIOR_DAYS * HOURS * mean
        ratios = [
            (actual + prior) / (expected + prior) for actual, expected in zip(self._actual, self._expected, strict=True)
        ]
        before = (0.0, *[part / whole for part in accumulate(hours)])
        return Shape(_ending_at_one(before), _of_mean_one(ratios), mean * HOURS if all(self._seen) else None)


def _ending_at_one(before: Sequence[float]) -> tuple[float, ...]:
    return (*before[:-1], 1.0)


def _of_mean_one(ratios: Sequence[float]) -> tuple[float, ...]:
    mean = sum(ratios) / len(ratios)
    return tuple(ratio / mean for ratio in ratios)
