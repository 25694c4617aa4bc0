"""Who is slower than its like, who says nothing, and that engines are never passed over all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import serve
from router.health.ejection import LEAST_ANSWERS, Speed, outliers, silent_from_s, spared
from router.health.opening import FIRST_SHARE
from router.health.verdict import WELL, Verdict
from router.watch import Usage, Watch
from tests.specimens import ENVIRONMENT, RULES, ask

ILL, DEAD, TRIED = Verdict("500", 0.0), Verdict("connect", 0.0), Verdict("500", 0.0, 1)
KEPT = Verdict(None, FIRST_SHARE, 0, "500")


def speed(
    ttft_s: float | None, tpot_s: float | None = 0.01, place: str = "local", model: str = "m", answers: int = 50
) -> Speed:
    return Speed(answers, ttft_s, tpot_s, place, frozenset({model}))


@pytest.mark.parametrize(
    ("speeds", "slow"),
    [
        ([speed(0.2), speed(0.3), speed(9.0)], {2}),
        ([speed(0.2), speed(0.3), speed(1.0)], set()),
        ([speed(0.2), speed(9.0)], {1}),
        ([speed(9.0)], set()),
        ([speed(8.0), speed(9.0)], set()),
        ([speed(0.01, 0.0), speed(0.3, 0.0)], set()),
        ([speed(0.2), speed(0.2, 0.5)], {1}),
        ([speed(0.2), speed(9.0, model="other")], set()),
        ([speed(0.2), speed(9.0, place="cloud")], set()),
        ([speed(0.2), speed(9.0, answers=LEAST_ANSWERS - 1)], set()),
        ([speed(None), speed(9.0)], set()),
    ],
    ids=[
        "one of three",
        "not much slower",
        "one of two",
        "nobody to compare with",
        "all are slow",
        "many times as slow and still fast",
        "between tokens",
        "another model",
        "another place",
        "too few answers",
        "whose like is unknown",
    ],
)
def test_who_is_far_slower_than_its_like(speeds: Sequence[Speed], slow: set[int]) -> None:
    assert {int(name) for name in outliers({str(at): each for at, each in enumerate(speeds)})} == slow


def test_what_a_slow_one_must_keep_is_what_would_not_be_slow() -> None:
    assert outliers({"a": speed(0.4), "b": speed(9.0)}) == {"b": 2.0}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([WELL, ILL], [WELL, ILL]),
        ([ILL, WELL, ILL, WELL], [ILL, WELL, ILL, WELL]),
        ([ILL], [KEPT]),
        ([ILL, ILL], [ILL, KEPT]),
        ([TRIED, ILL], [KEPT, ILL]),
        ([ILL, ILL, WELL], [ILL, KEPT, WELL]),
        ([DEAD, DEAD], [DEAD, DEAD]),
        ([DEAD, ILL], [DEAD, KEPT]),
        ([DEAD, WELL, ILL], [DEAD, WELL, ILL]),
    ],
    ids=[
        "one of two",
        "half",
        "the only one",
        "both of two",
        "who may be tried is kept",
        "two of three",
        "the dead are dead",
        "the last that lives",
        "the dead do not count",
    ],
)
def test_no_more_than_half_of_the_engines_are_passed_over(before: list[Verdict], after: list[Verdict]) -> None:
    assert with_some_spared(before) == after


def with_some_spared(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """On all of them, the well ones included."""
    kept = iter(spared([each for each in verdicts if each.cause is not None], len(verdicts)))
    return [each if each.cause is None else next(kept) for each in verdicts]


@given(st.lists(st.sampled_from([WELL, ILL, TRIED, DEAD])))
def test_some_engine_that_lives_always_has_requests(verdicts: list[Verdict]) -> None:
    alive = [verdict for verdict in with_some_spared(verdicts) if verdict.cause != "connect"]
    assert sum(verdict.cause is not None for verdict in alive) <= len(alive) // 2
    assert not alive or any(verdict.share > 0 for verdict in alive)


@pytest.mark.parametrize(
    ("waiting", "oldest_wait_s", "answered_ago_s", "usual_s", "silent"),
    [
        (3, 2.1, 5.0, 0.2, True),
        (3, 1.9, 5.0, 0.2, False),
        (2, 60.0, 90.0, 0.2, False),
        (3, 60.0, 1.0, 0.2, False),
        (9, 9.0, 90.0, 2.0, False),
        (9, 10.1, 90.0, 2.0, True),
        (9, 9.0, 90.0, None, False),
        (9, 10.1, 90.0, None, True),
    ],
    ids=["hangs", "soon", "few", "answers others", "usually slow", "slower", "unknown", "unknown and long"],
)
def test_when_a_cloud_says_nothing(
    waiting: int, oldest_wait_s: float, answered_ago_s: float, usual_s: float | None, silent: bool
) -> None:
    assert (silent_from_s(waiting, -oldest_wait_s, -answered_ago_s, usual_s) < 0) is silent


async def test_a_cloud_far_slower_than_its_like_is_passed_over_though_no_engine_tells_of_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "COMPARE_EACH_S", 0.001)
    clouds = {name: RULES.clouds["nano"].model_copy(update={"serves": ("smoke",)}) for name in ("fast", "slow")}
    watch = Watch(RULES.model_copy(update={"clouds": clouds}), environment=ENVIRONMENT)
    for target, ttft_s in zip(watch.now().targets, (0.2, 9.0), strict=True):
        for _ in range(LEAST_ANSWERS):
            flight = watch.start(ask(stream=True), target, 0.0)
            watch.first_token(flight, ttft_s)
            watch.finish(flight, Usage(1000, 50), ttft_s + 1.0)
    comparing = asyncio.ensure_future(serve.keep_comparing(watch))
    while all(target.health.cause is None for target in watch.now().targets):
        assert not comparing.done()
        await asyncio.sleep(0)
    comparing.cancel()
    assert [target.health.cause for target in watch.now().targets] == [None, "slow"]
