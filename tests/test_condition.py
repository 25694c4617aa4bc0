"""When the condition of a route, a shadow or a split holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from router.ask import Ask
from router.routing.condition import holds, is_between
from router.tables.route import Condition
from tests.specimens import ask

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        pytest.param({"tasks": ["a", "b"]}, ask(task="b"), ask(task="c"), id="a task"),
        pytest.param({"tasks": ["a"]}, ask(task="a"), ask(), id="no task is none of them"),
        pytest.param({"tiers": ["bulk"]}, ask(tier="bulk"), ask(), id="a tier"),
        pytest.param({"tenants": ["acme"]}, ask(tenant="acme"), ask(tenant="other"), id="a tenant"),
        pytest.param({"models": ["smoke"]}, ask(model="smoke"), ask(), id="a model"),
        pytest.param(
            {"prompt_tokens_from": 8000}, ask(prompt_bytes=32_000), ask(prompt_bytes=31_996), id="a long prompt"
        ),
        pytest.param(
            {"prompt_tokens_below": 8000}, ask(prompt_bytes=31_996), ask(prompt_bytes=32_000), id="a short prompt"
        ),
        pytest.param(
            {"tasks": ["a"], "tenants": ["acme"]}, ask(task="a", tenant="acme"), ask(task="a"), id="all that is named"
        ),
    ],
)
def test_all_that_is_named_must_be_so(condition: Any, yes: Ask, no: Ask) -> None:
    named = Condition.model_validate(condition)
    assert (holds(named, yes, NOON), holds(named, no, NOON)) == (True, False)


def test_a_condition_that_names_nothing_always_holds() -> None:
    assert holds(Condition(), ask(), NOON)


@pytest.mark.parametrize(
    ("span", "hours"),
    [
        ("09:00-17:00", range(9, 17)),
        ("22:00-06:00", [22, 23, *range(6)]),
        ("00:00-00:00", range(24)),
        ("23:00-00:00", [23]),
    ],
)
def test_a_time_of_day_may_pass_midnight(span: str, hours: Any) -> None:
    held = [hour for hour in range(24) if is_between(span, "UTC", NOON + (hour - 12) * 3600)]
    assert held == sorted(hours)


def test_a_span_begins_with_its_first_minute_and_ends_before_its_last() -> None:
    at = {minute: is_between("12:30-12:45", "UTC", NOON + minute * 60) for minute in (29, 30, 44, 45)}
    assert at == {29: False, 30: True, 44: True, 45: False}


@pytest.mark.parametrize(
    ("month", "zone", "hour"),
    [(7, "Europe/Berlin", 14), (1, "Europe/Berlin", 13), (7, "America/Los_Angeles", 5), (7, "Asia/Kolkata", 17)],
    ids=["summer", "winter", "the day before", "half an hour"],
)
def test_the_clock_is_that_of_the_zone(month: int, zone: str, hour: int) -> None:
    noon_utc = datetime(2026, month, 1, 12, 0, tzinfo=UTC).timestamp()
    held = [each for each in range(24) if is_between(f"{each:02}:00-{(each + 1) % 24:02}:00", zone, noon_utc)]
    assert held == [hour]


def test_the_time_counts_beside_the_rest() -> None:
    at_night = Condition.model_validate({"tasks": ["a"], "between": "22:00-06:00"})
    midnight = NOON + 12 * 3600
    assert [holds(at_night, ask(task=task), when) for task in "ab" for when in (NOON, midnight)] == [
        False,
        True,
        False,
        False,
    ]
