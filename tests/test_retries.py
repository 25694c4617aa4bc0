"""Second tries: what they may cost, who comes next, and the pause before a target is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health.retries import LEAST_PER_S, LONGEST_PAUSE_S, PAUSE_S, SHARE, WINDOW_S, Budget, pause_s
from router.health.triggers import TRIGGERS, following, next_at, trigger_of
from tests.specimens import cloud

SHORT, LONG, SHORT_TOO = cloud(context_tokens=8_000), cloud(context_tokens=32_000), cloud(context_tokens=8_000)


def made(budget: Budget, now_s: float, most: int = 10_000) -> int:
    """How many second tries it allows at this moment."""
    for count in range(most):
        if budget.wait_s(now_s) > 0:
            return count
        budget.spend()
    raise AssertionError("it allows any number")


def test_without_traffic_there_are_three_a_second_over_ten_seconds() -> None:
    budget = Budget()
    assert made(budget, 0.0) == LEAST_PER_S * WINDOW_S
    counted, now_s = 0, 0.0
    while now_s < 60:
        now_s += 0.1
        counted += made(budget, now_s)
    assert counted == pytest.approx(LEAST_PER_S * 60, rel=0.1)


def test_under_load_a_fifth_of_all_requests_may_be_second_tries() -> None:
    budget, counted, now_s = Budget(), 0, 0.0
    for _ in range(60_000):
        now_s += 0.01
        budget.count()
        counted += made(budget, now_s) if now_s > 30 else 0
    assert counted / (60_000 * (1 - 30 / now_s)) == pytest.approx(SHARE, rel=0.1)


def test_workers_share_the_least_rate() -> None:
    assert made(Budget(workers=3), 0.0) * 3 == made(Budget(), 0.0)


@pytest.mark.parametrize("workers", [30, 31, 64])
def test_each_of_many_workers_allows_one_at_a_time(workers: int) -> None:
    budget = Budget(workers)
    assert [made(budget, 0.0), made(budget, 1.0)] == [1, 0]
    assert made(budget, 60.0) == 1


@given(spent=st.integers(30, 200), now_s=st.floats(0, 1e6), workers=st.integers(1, 64))
def test_who_waits_as_long_as_it_is_told_finds_room(spent: int, now_s: float, workers: int) -> None:
    budget = Budget(workers)
    budget.wait_s(now_s)
    for _ in range(spent):
        budget.spend()
    wait_s = budget.wait_s(now_s)
    assert wait_s > 0
    assert budget.wait_s(now_s + wait_s + 0.001) == 0.0


@given(tries=st.integers(1, 2000), retry_after_s=st.none() | st.floats(0, 100), lot=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_shorter_than_was_asked_for_nor_longer_than_need_be(
    tries: int, retry_after_s: float | None, lot: float
) -> None:
    pause = pause_s(tries, retry_after_s, lot)
    assert pause >= (retry_after_s or 0.0)
    assert PAUSE_S / 2 <= pause <= max(LONGEST_PAUSE_S, retry_after_s or 0.0)


def test_pauses_double_and_those_who_failed_together_come_back_apart() -> None:
    assert [pause_s(tries, None, 0.0) for tries in (1, 2, 3)] == [0.125, 0.25, 0.5]
    assert pause_s(1, None, 0.2) < pause_s(1, None, 0.8) < PAUSE_S


@pytest.mark.parametrize(
    ("at", "cause", "after"),
    [
        (0, "500", 1),
        (0, "content_filter", 1),
        (0, "context", 1),
        (1, "context", None),
        (1, "429", 2),
        (2, "500", None),
        (0, "refused", None),
        (0, "retries", None),
    ],
    ids=[
        "a failure",
        "a filter",
        "too long, and the next is longer",
        "too long, and nobody is",
        "full",
        "the last",
        "the client's fault",
        "no more second tries",
    ],
)
def test_who_is_tried_next(at: int, cause: str, after: int | None) -> None:
    targets = (SHORT, LONG, SHORT_TOO)
    assert next_at(targets, at, cause) == after
    assert following(targets, at, cause) is (None if after is None else targets[after])


def test_who_is_too_short_is_passed_by_at_once() -> None:
    assert next_at((SHORT, SHORT_TOO, LONG), 0, "context") == 2


@pytest.mark.parametrize("cause", ["500", "502", "503", "504", "529", "something new"])
def test_any_other_cause_is_a_failure_like_any_other(cause: str) -> None:
    assert trigger_of(cause) == TRIGGERS["5xx"]


@pytest.mark.parametrize("cause", ["429", "budget", "ledger", "off", "quota", "content_filter", "schema", "context"])
def test_what_is_not_its_fault_does_not_hurt(cause: str) -> None:
    assert not trigger_of(cause).hurts
