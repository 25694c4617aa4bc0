"""What each tier may spend at this moment: reckoned from the ledger, learned from its hours, alike for all workers."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from router.books import read_wanted
from router.ledger import Ledger
from router.moves import LedgerError
from router.pacing import FRESH_S, Pacing, budgets_of, in_words
from router.routing.fleet import Fleet
from router.routing.passing import Money
from router.routing.policy import choose
from router.spilling.budget import Allowance
from router.spilling.periods import DAY_S, HOUR_S
from router.tables.limits import Limits
from router.tables.rules import Rules
from router.tables.tier import Tier
from tests.ledgers import Clock, opened, request_ids
from tests.routers import TIERS as TABLES
from tests.routers import running_router, until
from tests.specimens import ask, cloud, local, outcome

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
NOON = MIDNIGHT + 12 * HOUR_S
TIERS = {
    "premium": Tier(ttft_target_s=1.0, order=("cloud", "local"), may_spill=False),
    "bulk": Tier(ttft_target_s=20.0),
    "home": Tier(ttft_target_s=60.0, may_spill=False),
    "hidden": Tier(ttft_target_s=60.0, order=("local",)),
    "standard": Tier(ttft_target_s=2.0),
}
NOWHERE = "http://127.0.0.1:9"
SPENDING = ("bulk", "standard", "premium")


def rules(**limits: float) -> Rules:
    return Rules(tiers=TIERS, limits=Limits(**{"cloud_usd_per_day": 10.0} | limits))


def paced(path: Path, ledger: Ledger, clock: Clock) -> Pacing:
    return Pacing(ledger, partial(read_wanted, path), clock)


async def spend(ledger: Ledger, name: str, usd: float) -> None:
    await ledger.reserve(name, "cloud/nano", usd)
    ledger.settle(name, usd)
    await ledger.refresh()


def test_tiers_that_neither_spill_nor_prefer_clouds_take_no_part() -> None:
    assert budgets_of(rules()).tiers == SPENDING
    assert budgets_of(rules(reserve_share=0.25)).reserve_share == 0.25


@pytest.mark.parametrize("after_midnight_s", [0, 60, 12 * HOUR_S, 23.9 * HOUR_S])
async def test_a_new_router_holds_nobody_back_at_any_hour(tmp_path: Path, after_midnight_s: float) -> None:
    clock, obeyed = Clock(MIDNIGHT + after_midnight_s), rules()
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        await pacing.learn()
        for tier in TIERS:
            money = pacing.money(obeyed, tier)
            assert money.left_usd >= 4.0
            assert (money.price_factor, money.stretch) == (1.0, 1.0)
        # A crew's first half dollar changes nothing for who comes next.
        await spend(ledger, "crew", 0.5)
        for tier in TIERS:
            money = pacing.money(obeyed, tier)
            assert money.left_usd >= 3.5
            assert (money.price_factor, money.stretch) == (1.0, 1.0)
        assert in_words(pacing.now(obeyed), obeyed) == ""


@pytest.mark.parametrize("usd", [0.01, 1.0], ids=["a little", "much"])
async def test_what_is_spent_is_gone_at_once(tmp_path: Path, usd: float) -> None:
    clock, obeyed = Clock(NOON), rules()
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        before = pacing.money(obeyed, "bulk").left_usd
        await ledger.reserve("a", "cloud/nano", usd)
        assert pacing.money(obeyed, "bulk").left_usd == pytest.approx(before - usd)
        ledger.settle("a", usd / 4)
        assert pacing.money(obeyed, "bulk").left_usd == pytest.approx(before - usd / 4)


async def test_no_tier_ever_owes_money(tmp_path: Path) -> None:
    """A cloud that costs nothing stays open to all."""
    clock, obeyed = Clock(NOON), rules()
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        await spend(ledger, "a", 9.999)
        pacing.now(obeyed)
        await spend(ledger, "b", 0.001)
        assert {pacing.money(obeyed, tier).left_usd for tier in TIERS} == {0.0}


async def test_an_edit_counts_at_once(tmp_path: Path) -> None:
    clock = Clock(NOON)
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        assert pacing.money(rules(), "premium").left_usd > 1.0
        assert pacing.money(rules(cloud_usd_per_day=0.1), "premium").left_usd <= 0.1
        assert pacing.money(rules(cloud_usd_per_hour=0.2), "premium").left_usd <= 0.2
        assert pacing.money(rules(), "premium").left_usd > 1.0


async def test_a_new_hour_has_money_of_its_own(tmp_path: Path) -> None:
    clock, obeyed = Clock(NOON - FRESH_S / 2), rules(cloud_usd_per_hour=0.5)
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        await spend(ledger, "a", 0.5)
        assert pacing.money(obeyed, "premium") == Money(0.0, math.inf, 1.0)
        clock.now_unix_s = NOON
        money = pacing.money(obeyed, "premium")
        assert (money.left_usd > 0.2, money.price_factor) == (True, 1.0)


async def test_who_takes_no_part_has_what_the_first_has_and_keeps_its_promise(tmp_path: Path) -> None:
    clock, obeyed = Clock(NOON - HOUR_S), rules()
    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = paced(tmp_path / "ledger", ledger, clock)
        await spend(ledger, "a", 9.0)
        clock.now_unix_s = NOON
        bulk, home = (pacing.money(obeyed, tier) for tier in ("bulk", "home"))
        assert home.left_usd == bulk.left_usd < pacing.money(obeyed, "premium").left_usd
        assert home.stretch == 1.0 < bulk.stretch
        # Nobody gives way to nobody.
        alone = Rules(tiers={"home": TIERS["home"]})
        assert pacing.money(alone, "home").left_usd == pytest.approx(1.0)


async def test_the_ledger_is_read_once_an_hour_and_again_where_that_failed(tmp_path: Path) -> None:
    clock, reads = Clock(NOON), list[float]()

    def read(since_unix_s: float) -> list[tuple[int, float]]:
        reads.append(since_unix_s)
        if len(reads) == 2:
            raise LedgerError("it is locked")
        # Each hour of three days costs a dollar.
        return [(int(NOON) + hour * HOUR_S, 1.0) for hour in range(-72, len(reads) - 1)]

    with opened(tmp_path / "ledger", clock) as ledger:
        pacing = Pacing(ledger, read, clock)
        for _ in range(2):
            await pacing.learn()
        assert len(reads) == 1
        assert pacing.now(rules()).price_factor == pytest.approx(12.07 / 10.07, rel=0.01)
        clock.now_unix_s += HOUR_S
        await pacing.learn()
        assert pacing.now(rules()).price_factor == pytest.approx(11.07 / 10.07, rel=0.01)
        for _ in range(2):
            await pacing.learn()
        assert len(reads) == 3


async def lived(path: Path, ledgers: list[Ledger], clock: Clock, days: int, usd: float, wanted_usd: float) -> None:
    """Until MIDNIGHT, in each hour: so much was spent by the workers in turn, and so much wanted by those who stayed
    here."""
    for hour in range(-24 * days, 0):
        clock.now_unix_s = MIDNIGHT + hour * HOUR_S + 1.0
        ledger = ledgers[hour % len(ledgers)]
        await spend(ledger, str(hour), usd)
        for part in (0.25, 0.75):
            ledger.record(outcome(at_unix_s=clock.now_unix_s, reason="budget", wanted_usd=wanted_usd * part))
        ledger.record(outcome(at_unix_s=clock.now_unix_s))
    clock.now_unix_s = MIDNIGHT
    for ledger in ledgers:
        await ledger.refresh()
    # Rows are written when nobody waits for money.
    until(lambda: len(request_ids(path)) == 24 * days * 3)


async def test_workers_learn_the_same_from_what_all_of_them_spent_and_wanted(tmp_path: Path) -> None:
    clock, path = Clock(MIDNIGHT - 3 * DAY_S), tmp_path / "ledger"
    with ExitStack() as stack:
        ledgers = [stack.enter_context(opened(path, clock, worker)) for worker in range(2)]
        await lived(path, ledgers, clock, 2, 0.25, 0.5)
        hours = read_wanted(path, MIDNIGHT - DAY_S)
        assert [start for start, _ in hours] == [int(MIDNIGHT) + hour * HOUR_S for hour in range(-24, 0)]
        assert [usd for _, usd in hours] == pytest.approx([0.75] * 24)
        found = []
        for ledger in ledgers:
            pacing = paced(path, ledger, clock)
            await pacing.learn()
            found.append(pacing.now(rules()))
        assert found[0] == found[1]
        assert found[0].price_factor == pytest.approx(18.0 / 10.0, rel=0.02)


def test_a_router_learns_at_its_start_what_was_spent_before_it(tmp_path: Path) -> None:
    """Two days ago a million was; of today's money next to nothing is left."""
    path, clock = tmp_path / "home" / "ledger.sqlite3", Clock(time.time())
    now_unix_s = clock.now_unix_s

    async def live() -> None:
        with opened(path, clock) as ledger:
            for hour in (*range(-54, -27), 0):
                clock.now_unix_s = now_unix_s + hour * HOUR_S
                await spend(ledger, str(hour), 1e6 / 24 if hour else 9.999)

    asyncio.run(live())
    with running_router(tmp_path, TABLES, {"tiny": NOWHERE}, settle=False) as router:
        # Without what it has learned a dollar would count some thirty times at most.
        until(lambda: (router.get("/spillway/status")["spend"]["pacing"]["price_factor"] or 0.0) > 1000.0)


class Day:
    """The calls of one day, each at one of two workers, whose money lasts or not. A call that is refused stays here."""

    def __init__(self, path: Path, clock: Clock, ledgers: list[Ledger]) -> None:
        self.clock, self.ledgers = clock, ledgers
        self.pacings = [paced(path, ledger, clock) for ledger in ledgers]
        self.spent: dict[str, float] = defaultdict(float)
        self.by_hour: dict[int, float] = defaultdict(float)
        self.stretches: dict[str, list[float]] = defaultdict(list)

    async def call(self, name: str, tier: str, usd: float, obeyed: Rules) -> None:
        worker, now_unix_s = len(name) % 2, self.clock()
        ledger, pacing = self.ledgers[worker], self.pacings[worker]
        await ledger.refresh()
        await pacing.learn()
        money = pacing.money(obeyed, tier)
        self.stretches[tier].append(money.stretch)
        if usd > money.left_usd:
            ledger.record(outcome(at_unix_s=now_unix_s, reason="budget", wanted_usd=usd))
            return
        await ledger.reserve(name, "cloud/nano", usd, obeyed.limits.caps)
        ledger.settle(name, usd)
        self.spent[tier] += usd
        self.by_hour[int((now_unix_s - MIDNIGHT) // HOUR_S)] += usd


async def test_a_day_that_needs_twice_its_money_has_some_at_its_end_and_lowers_only_promises_that_give_way(
    tmp_path: Path,
) -> None:
    clock, path, obeyed, step_s = Clock(MIDNIGHT - 3 * DAY_S), tmp_path / "ledger", rules(), 240
    usd = 20.0 / (DAY_S / step_s * len(SPENDING))
    with ExitStack() as stack:
        ledgers = [stack.enter_context(opened(path, clock, worker)) for worker in range(2)]
        await lived(path, ledgers, clock, 2, 10.0 / 24, 10.0 / 24)
        day = Day(path, clock, ledgers)
        for step in range(DAY_S // step_s):
            clock.now_unix_s = MIDNIGHT + (step + 0.5) * step_s
            for tier in SPENDING:
                await day.call(f"{step} {tier}", tier, usd, obeyed)
        await ledgers[0].refresh()
        assert ledgers[0].spent.day == pytest.approx(sum(day.spent.values()))
    # Premium needs no more, and standard leaves it a tenth.
    assert 9.0 <= sum(day.spent.values()) <= 10.0
    assert min(day.by_hour[hour] for hour in range(24)) >= 0.7 * 10.0 / 24
    # Each tier wanted 6.67 dollars.
    assert day.spent["bulk"] < day.spent["standard"] < day.spent["premium"]
    assert day.spent["premium"] > 0.95 * 20.0 / 3
    assert set(day.stretches["premium"]) == {1.0}
    # What is left for premium is more than the last hour needs.
    before = slice(-2 * HOUR_S // step_s)
    assert min(day.stretches["bulk"][before]) > min(day.stretches["standard"][before]) > 1.0


def test_what_it_means_is_said_in_one_line() -> None:
    obeyed = rules()
    short = Allowance({}, 1.5, {"bulk": 2.25, "standard": 1.5, "premium": 1.0})
    assert in_words(short, obeyed) == (
        "the clouds' money is short: a dollar counts 1.50 times; a first token is promised to bulk 45 s instead of 20"
        " s, standard 3 s instead of 2 s"
    )
    assert in_words(Allowance({}, math.inf, {"premium": 1.0}), obeyed) == (
        "the clouds' money is spent, so all stay here"
    )
    assert in_words(Allowance({}, 1.004, {"bulk": 1.008}), obeyed) == ""


def test_a_promise_that_is_lowered_is_what_a_decision_goes_by() -> None:
    fleet = Fleet((local(), cloud()))
    decided = [choose(ask(tier="bulk"), fleet, rules(), Money(10.0, 2.0, times)).terms for times in (1.0, 3.0)]
    assert [terms.ttft_target_s for terms in decided if terms is not None] == [20.0, 60.0]


def test_what_is_left_to_each_tier_falls_with_its_rank(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger", Clock(NOON)) as ledger:
        found = paced(tmp_path / "ledger", ledger, Clock(NOON)).now(rules())
        assert all(one < other for one, other in pairwise(found.usd_now[tier] for tier in SPENDING))
        assert found.price_factor == 1.0
