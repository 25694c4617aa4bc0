"""The windows of a provider: one that fills up evenly, and one that begins anew at midnight. Also a simulated provider
that counts as providers do, against which our own count must never be too high."""

from __future__ import annotations

import math
import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from router.quotas import bucket, day
from router.quotas.bucket import TRANSIT_S, Bucket, of_span
from router.quotas.day import Day, midnight_after

NOW_S = 1_800_000_000.0


def after(limit: int, takes: int, now_s: float = NOW_S) -> Bucket:
    """A window of a minute from which so many were taken at once."""
    window = of_span(limit)
    for _ in range(takes):
        window = bucket.taken(window, 1, now_s)
    return window


@pytest.mark.parametrize(
    ("limit", "takes", "ready_in_s"),
    [
        (30, 0, 0.0),
        (30, 28, 0.0),
        # One of thirty is kept back for the time that requests are on their way, and comes after that time.
        (30, 29, 2.0),
        (30, 30, 4.0),
        (60, 57, 0.0),
        (60, 58, 1.0),
        # Of a small limit nothing is kept back before the first.
        (1, 0, 0.0),
        (1, 1, 60.0 + TRANSIT_S),
        (2, 1, 2.0),
    ],
)
def test_a_window_of_a_minute_is_ready_when_enough_has_come_back(limit: int, takes: int, ready_in_s: float) -> None:
    assert bucket.ready_in_s(after(limit, takes), 1, NOW_S) == pytest.approx(ready_in_s, abs=1e-3)


def test_what_was_taken_comes_back_evenly() -> None:
    empty = after(30, 29)
    assert bucket.left(empty, NOW_S) == pytest.approx(0, abs=0.01)
    assert bucket.left(empty, NOW_S + 30) == pytest.approx(15, abs=0.01)
    assert bucket.left(empty, NOW_S + 60) == pytest.approx(30, abs=0.01)
    assert bucket.left(empty, NOW_S + 6000) == 30


def test_more_than_a_window_ever_holds_never_fits() -> None:
    assert bucket.ready_in_s(of_span(6000), 6001, NOW_S) == math.inf
    assert bucket.ready_in_s(of_span(6000), 6000, NOW_S) == 0.0


def test_those_who_are_ahead_lengthen_the_wait() -> None:
    assert bucket.ready_in_s(after(30, 29), 1, NOW_S, ahead=10) == pytest.approx(22, abs=0.01)
    # They may be more together than the window holds at once.
    assert bucket.ready_in_s(of_span(30), 1, NOW_S, ahead=90) == pytest.approx(122, abs=0.01)


def test_what_is_given_back_can_be_taken_again_but_never_makes_more_than_full() -> None:
    given_back = bucket.taken(after(30, 29), -10, NOW_S)
    assert bucket.left(given_back, NOW_S) == pytest.approx(10, abs=0.01)
    assert bucket.left(bucket.taken(of_span(30), -10, NOW_S), NOW_S) == 30


def test_the_lower_of_our_count_and_the_providers_holds() -> None:
    used = after(100, 40)
    assert bucket.left(bucket.at_most(used, 10, NOW_S), NOW_S) == pytest.approx(10)
    assert bucket.left(bucket.at_most(used, 90, NOW_S), NOW_S) == bucket.left(used, NOW_S)


def test_another_limit_leaves_what_was_taken_taken() -> None:
    raised = bucket.resized(bucket.at_most(of_span(30), 10, NOW_S), 60, 1.0, NOW_S)
    assert bucket.left(raised, NOW_S) == pytest.approx(40)


def test_a_clock_that_was_set_back_does_not_close_a_window_for_ever() -> None:
    a_day_ago_s = NOW_S - 86400
    assert bucket.ready_in_s(after(30, 29), 1, a_day_ago_s) <= 122


@pytest.mark.parametrize("seed", range(5))
def test_a_provider_that_counts_on_arrival_never_finds_more_than_it_allows(seed: int) -> None:
    # It keeps a token bucket of the same size; each request reaches it up to the allowed time later.
    chance = random.Random(seed)
    ours, now_s, arrivals = of_span(30), NOW_S, []
    while now_s < NOW_S + 300:
        now_s += max(bucket.ready_in_s(ours, 1, now_s), chance.choice([*[0.0] * 30, 0.5, 20.0]))
        ours = bucket.taken(ours, 1, now_s)
        arrivals.append(now_s + chance.uniform(0.0, TRANSIT_S))
    theirs, last_s, refused = 30.0, NOW_S, 0
    for arrival_s in sorted(arrivals):
        theirs = min(30.0, theirs + (arrival_s - last_s) * 0.5) - 1
        last_s = arrival_s
        refused += theirs < -1e-4
    assert refused == 0
    assert len(arrivals) > 100


@pytest.mark.parametrize(
    ("zone", "now", "midnight"),
    [
        ("UTC", "2026-11-21T23:59:59+00:00", "2026-11-22T00:00:00+00:00"),
        ("UTC", "2026-11-22T00:00:00+00:00", "2026-11-23T00:00:00+00:00"),
        ("America/Los_Angeles", "2026-11-22T07:59:00+00:00", "2026-11-22T08:00:00+00:00"),
        # A day of 25 hours and one of 23, where clocks are changed.
        ("America/Los_Angeles", "2026-11-01T07:00:00+00:00", "2026-11-02T08:00:00+00:00"),
        ("America/Los_Angeles", "2026-03-08T08:00:00+00:00", "2026-03-09T07:00:00+00:00"),
        # Midnight does not exist there on that day; the day begins with the change.
        ("America/Santiago", "2026-09-05T12:00:00+00:00", "2026-09-06T04:00:00+00:00"),
    ],
)
def test_a_day_ends_at_midnight_of_the_providers_zone(zone: str, now: str, midnight: str) -> None:
    found = datetime.fromtimestamp(midnight_after(datetime.fromisoformat(now).timestamp(), zone), ZoneInfo("UTC"))
    assert found == datetime.fromisoformat(midnight)


def test_a_day_counts_until_its_end_and_then_begins_anew() -> None:
    today = day.used(Day(1000), 990, NOW_S, "UTC")
    assert day.left(today, NOW_S) == 10
    assert day.ready_in_s(today, 10, NOW_S) == 0.0
    wait_s = day.ready_in_s(today, 11, NOW_S)
    assert wait_s == midnight_after(NOW_S, "UTC") - NOW_S
    assert day.ready_in_s(today, 11, NOW_S + wait_s) == 0.0
    assert day.left(day.used(today, 1, NOW_S + wait_s, "UTC"), NOW_S + wait_s) == 999


def test_more_than_a_whole_day_allows_never_fits() -> None:
    assert day.ready_in_s(Day(1000), 1001, NOW_S) == math.inf


def test_what_is_given_back_after_midnight_does_not_enter_the_new_day() -> None:
    today = day.used(Day(1000), 100, NOW_S, "UTC")
    tomorrow = day.used(today, -50, NOW_S + 86400, "UTC")
    assert day.left(tomorrow, NOW_S + 86400) == 1000


def test_another_limit_of_a_day_leaves_what_was_used_used() -> None:
    today = day.used(Day(1000), 400, NOW_S, "UTC")
    assert day.left(day.resized(today, 500, NOW_S, "UTC"), NOW_S) == 100
