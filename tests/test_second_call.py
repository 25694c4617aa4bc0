"""A cloud that is silent is asked a second time where a miss costs more than that: when, and what becomes of both."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from router.errand import Errand, Wait
from router.race import Race
from router.spilling.again import again_s
from router.spilling.misses import Misses
from router.spilling.twin import Twin
from tests.routers import CHAT, Router, asked, cloud_table, running_router, until
from tests.stand_ins import StandIn, standing_in

# Of a prompt that is left, where 1 is what it costs: a little, and as much as a miss where nothing may be missed.
PROMPT_USD = 1.0
SLOW_S = 60.0


def told(ttft_s: float, count: int = 500) -> Twin:
    """A cloud whose first tokens come around that, half of them at twice or half of it."""
    twin = Twin()
    for number in range(count):
        twin.learn(ttft_s * (0.5, 0.7, 1.4, 2.0)[number % 4])
    return twin


def test_a_miss_that_costs_little_is_not_worth_a_second_call() -> None:
    assert again_s(told(0.6), 2.0, PROMPT_USD, 2.0) == math.inf


def test_a_dear_miss_is_worth_one_and_a_dearer_one_makes_it_come_sooner() -> None:
    dear_s, dearer_s = (again_s(told(0.6), 2.0, PROMPT_USD, usd) for usd in (30.0, 1000.0))
    assert 0.0 < dearer_s < dear_s < 2.0


def test_nobody_is_called_twice_for_a_promise_that_no_call_can_keep() -> None:
    assert again_s(told(60.0), 2.0, PROMPT_USD, 50.0) == math.inf
    assert again_s(told(0.6), -1.0, PROMPT_USD, 50.0) == math.inf


def test_calls_that_were_left_do_not_make_a_cloud_look_faster() -> None:
    cut, whole = told(1.0), told(1.0)
    for _ in range(400):
        cut.learn(0.5)
        whole.learn(0.5)
        # One in two was still silent when it was left.
        cut.outlasted(1.2)
        whole.learn(1.2)
    assert cut.late_share(2.0) > whole.late_share(2.0)
    assert cut.median_s > 0.9


def test_the_promise_is_in_danger_only_beyond_what_is_planned() -> None:
    misses = Misses(0.99)
    for number in range(4000):
        misses.asked()
        if number % 135 == 0:
            # 0.74 %: more than is planned, less than is promised.
            misses.missed()
    assert misses.price(1.0, 0.0) > 4 * misses.danger_price(1.0)


class Calls:
    """Two calls that end when they are told to, and what the race came to."""

    def __init__(self, has_second: bool = True) -> None:
        self.waits: list[Wait[str]] = []
        self.cancelled: list[int] = []
        self.discarded: list[str] = []
        self.came: str | None = None
        self.failed: BaseException | None = None
        self._has_second = has_second
        self.race = Race[str](self.discarded.append)
        self.errand = Errand(self._run())
        self.errand.run()

    async def call(self) -> str:
        number, wait = len(self.waits), Wait[str]()
        self.waits.append(wait)
        try:
            return await wait
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise

    def second(self) -> Coroutine[Any, Any, str] | None:
        return self.call() if self._has_second else None

    def silence(self) -> None:
        """The first has been silent for long."""
        self.race._due()

    async def _run(self) -> None:
        try:
            self.came = await self.race.run(self.call(), SLOW_S, self.second)
        except ValueError as error:
            self.failed = error


async def test_a_first_call_that_answers_in_time_is_the_only_one() -> None:
    calls = Calls()
    calls.waits[0].done("first")
    assert (calls.came, len(calls.waits), calls.cancelled) == ("first", 1, [])


@pytest.mark.parametrize("heard", [0, 1], ids=["the first", "the second"])
async def test_whoever_answers_first_is_heard_and_the_other_is_cancelled(heard: int) -> None:
    calls = Calls()
    calls.silence()
    calls.waits[heard].done("heard")
    assert (calls.came, calls.cancelled) == ("heard", [1 - heard])
    assert calls.errand.is_over


@pytest.mark.parametrize("failing", [0, 1], ids=["the first", "the second"])
async def test_one_that_fails_leaves_it_to_the_other(failing: int) -> None:
    calls = Calls()
    calls.silence()
    calls.waits[failing].fail(ValueError("gone"))
    assert calls.came is None
    calls.waits[1 - failing].done("heard")
    assert calls.came == "heard"


async def test_where_both_fail_the_first_says_why() -> None:
    calls = Calls()
    calls.silence()
    calls.waits[1].fail(ValueError("second"))
    calls.waits[0].fail(ValueError("first"))
    assert str(calls.failed) == "first"


async def test_a_first_that_fails_early_is_not_called_again() -> None:
    calls = Calls()
    calls.waits[0].fail(ValueError("first"))
    assert (str(calls.failed), len(calls.waits)) == ("first", 1)


async def test_where_no_second_may_be_made_the_first_goes_on() -> None:
    calls = Calls(has_second=False)
    calls.silence()
    assert len(calls.waits) == 1
    calls.waits[0].done("first")
    assert calls.came == "first"


async def test_a_client_that_leaves_takes_both_with_it() -> None:
    calls = Calls()
    calls.silence()
    calls.errand.cancel()
    assert (calls.errand.is_over, sorted(calls.cancelled), calls.came) == (True, [0, 1], None)


TIER = """
[tiers.standard]
ttft_target_s = 2.0
promise_share = 0.9999
"""
# Of these the engine below holds one at a time.
LONG: dict[str, Any] = {"model": "tier/standard", "messages": [{"role": "user", "content": "word " * 9_000}]}
DOLLARS = "SELECT target, reason, attempts, usd FROM outcome WHERE target = 'cloud/stand-in' ORDER BY at_unix_s"


@pytest.fixture
def cloud() -> Iterator[StandIn]:
    with standing_in("cloud", "--ttft-s", "0.05", "--tokens-per-s", "1000") as running:
        yield running


def streamed(router: Router, while_open: Callable[[], None] = lambda: None, **more: Any) -> dict[str, str]:
    """The headers of an answer that streams; `while_open` is called before the rest of it is read."""
    request = urllib.request.Request(
        router.url + CHAT, asked(stream=True, **more), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        while_open()
        while response.readline():
            pass
        return dict(response.headers)


def test_a_spilled_request_whose_cloud_is_silent_is_called_again_and_both_are_paid(
    tmp_path: Path, cloud: StandIn
) -> None:
    with (
        standing_in("engine", "--context", "16384", "--kv-tokens", "16384", "--step-ms", "250") as engine,
        running_router(tmp_path, TIER + cloud_table(cloud.url), {"tiny": engine.url}) as router,
    ):
        found: list[dict[str, str]] = []

        def spill() -> None:
            # One that is answered at once, and one whose first call never is.
            found.append(streamed(router, **LONG))
            cloud.switch("slow_first_byte", seconds=20)
            found.append(streamed(router, **LONG))

        streamed(router, spill, **LONG, max_tokens=20)
        page = urllib.request.urlopen(router.url + "/metrics", timeout=10).read().decode()
        until(lambda: cloud.stats()["aborted"] == 1)
        until(lambda: len(rows(tmp_path)) == 2)
    first, second = found
    assert [each["x-spillway-target"] for each in found] == ["cloud/stand-in"] * 2
    assert (first["x-spillway-attempts"], second["x-spillway-attempts"]) == ("1", "2")
    assert 'spillway_second_calls_total{target="cloud/stand-in"} 1.0' in page
    (_, reason, _, once_usd), (_, same_reason, attempts, twice_usd) = rows(tmp_path)
    assert (reason, same_reason, attempts) == ("spill:ttft", "spill:ttft", 2)
    # The prompt, which is nearly all of it, was paid for twice.
    assert twice_usd == pytest.approx(2 * once_usd, rel=0.05)


def rows(folder: Path) -> list[tuple[Any, ...]]:
    (path,) = (folder / "home").rglob("ledger.sqlite3")
    with closing(sqlite3.connect(path)) as ledger:
        return ledger.execute(DOLLARS).fetchall()
