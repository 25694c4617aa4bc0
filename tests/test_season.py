"""The shape of a day: flat until it is learned, never nothing, and blind to hours in which the router was off."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from router.spilling.periods import DAY_S, HOUR_S, periods_at
from router.spilling.season import FLAT, Season

MONDAY = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


def watched(hours: list[float], start: int = MONDAY) -> Season:
    """After an hour of nothing at all: of the first one it has seen a part only."""
    season = Season()
    season.learn(start - HOUR_S, 0.0)
    for at, usd in enumerate(hours):
        season.learn(start + at * HOUR_S, usd)
    season.learn(start + len(hours) * HOUR_S, 0.0)
    return season


def hour_of(season: Season, hour: int) -> float:
    return season.shape().days(MONDAY + hour * HOUR_S, MONDAY + (hour + 1) * HOUR_S)


def test_nothing_is_known_at_first() -> None:
    assert Season().shape() == FLAT
    assert FLAT.days(MONDAY, MONDAY + 7 * DAY_S) == pytest.approx(7.0)
    assert FLAT.days(MONDAY + 600, MONDAY + 4200) == pytest.approx(1 / 24)
    assert FLAT.usd_per_day is None


def test_a_day_is_half_of_what_is_believed_after_one_and_nearly_all_after_many() -> None:
    day = [0.0] * 12 + [1.0] * 12
    once, often = watched(day), watched(day * 40)
    assert hour_of(once, 3) == pytest.approx(0.5 / 24, rel=0.1)
    assert hour_of(often, 3) == pytest.approx(0.07 / 24, rel=0.3)
    assert hour_of(often, 15) == pytest.approx(1.93 / 24, rel=0.1)
    assert often.shape().usd_per_day == pytest.approx(12.0)


def test_no_hour_is_ever_expected_to_cost_nothing() -> None:
    season = watched(([1.0] + [0.0] * 23) * 60)
    assert all(hour_of(season, hour) > 0.02 / 24 for hour in range(24))


def test_a_change_of_habits_is_learned() -> None:
    season = watched(([1.0] * 12 + [0.0] * 12) * 30 + ([0.0] * 12 + [1.0] * 12) * 21)
    assert hour_of(season, 18) > 2.5 * hour_of(season, 6)


def test_an_hour_that_was_seen_in_part_only_is_not_learned() -> None:
    season = Season()
    season.learn(MONDAY + 3500, 100.0)
    season.learn(MONDAY + 3600, 1.0)
    season.learn(MONDAY + 7200, 0.0)
    assert hour_of(season, 0) <= hour_of(season, 1)


def test_quiet_hours_are_learned_and_those_of_a_router_that_is_off_are_not() -> None:
    season = watched([1.0] * 24 * 3)
    usd_per_day = season.shape().usd_per_day
    off = watched([1.0] * 24 * 3)
    off.learn(MONDAY + 10 * DAY_S, 1.0)
    assert off.shape().usd_per_day == usd_per_day
    quiet = watched([1.0] * 24 * 3 + [0.0] * 12)
    assert (quiet.shape().usd_per_day or 0.0) < 0.95 * (usd_per_day or 0.0)


def test_weekdays_cost_what_they_cost() -> None:
    season = watched(([1.0] * 24 * 5 + [0.1] * 24 * 2) * 10)
    shape = season.shape()
    assert shape.days(MONDAY, MONDAY + DAY_S) > 4 * shape.days(MONDAY + 6 * DAY_S, MONDAY + 7 * DAY_S)
    assert shape.days(MONDAY, MONDAY + 7 * DAY_S) == pytest.approx(7.0)


def test_periods_begin_where_the_calendar_says() -> None:
    at = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp() + 0.9999
    found = periods_at(at)
    begins = [datetime.fromtimestamp(each, UTC) for each in (found.hour, found.day, found.month, found.month_ends)]
    assert begins == [
        datetime(2028, 2, 29, 23, tzinfo=UTC),
        datetime(2028, 2, 29, tzinfo=UTC),
        datetime(2028, 2, 1, tzinfo=UTC),
        datetime(2028, 3, 1, tzinfo=UTC),
    ]
    assert found.hour_ends == found.day_ends == found.month_ends
