"""Money of the hour, the day and the month: one transaction keeps all three, whoever asks at once and whatever dies."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from router.books import Books
from router.ledger import BudgetSpent
from router.moves import Reserve, Settle
from router.spilling.periods import Dollars, periods_at
from tests.ledgers import Clock, opened, rows

ROOT = Path(__file__).parents[1]
LAST_SECOND = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC).timestamp()
MARCH = LAST_SECOND + 1
HOUR_S, DAY_S = 3600, 86_400
PERIODS = ("hour", "day", "month")
# Asks for three cents again and again, at most so much of each period, and settles most of it for a cent. One that is
# to die has three cents set aside before the others begin, and kills itself while it asks for more. The clock stands
# still, so that no hour ends while they run.
SPENDER = """
import asyncio, os, signal, sys
from pathlib import Path
from router.ledger import BudgetSpent, Ledger
from router.spilling.periods import Dollars

async def spend(path, worker, hour, day, month, dies):
    ledger = Ledger(Path(path), lambda: 1_772_366_400.0, int(worker))
    caps = Dollars(float(hour), float(day), float(month))
    if dies == "die":
        await ledger.reserve("first", "cloud/nano", 0.03, caps)
    print("ready", flush=True)
    sys.stdin.readline()
    if dies == "die":
        more = asyncio.ensure_future(ledger.reserve("second", "cloud/nano", 0.03, caps))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)
    for number in range(60):
        try:
            await ledger.reserve(f"{worker}-{number}", "cloud/nano", 0.03, caps)
        except BudgetSpent as error:
            print(error.period, flush=True)
            break
        if number % 3:
            ledger.settle(f"{worker}-{number}", 0.01)
    ledger.close()

asyncio.run(spend(*sys.argv[1:]))
"""
STILL_UNIX_S = 1_772_366_400.0
EARLIER = """
CREATE TABLE reservation (id TEXT PRIMARY KEY, at_unix_s REAL, target TEXT, usd REAL, state TEXT, owner INTEGER);
CREATE TABLE spend (day INTEGER, owner INTEGER, usd REAL, PRIMARY KEY (day, owner));
CREATE TRIGGER reserved AFTER INSERT ON reservation BEGIN
    INSERT INTO spend VALUES (CAST(new.at_unix_s / 86400 AS INTEGER), new.owner, new.usd)
    ON CONFLICT DO UPDATE SET usd = usd + excluded.usd; END;
INSERT INTO reservation VALUES ('now', {now}, 'cloud/nano', 0.5, 'settled', 0);
INSERT INTO reservation VALUES ('this day', {now} - 7200, 'cloud/nano', 1.0, 'settled', 1);
INSERT INTO reservation VALUES ('this month', {now} - 864000, 'cloud/nano', 2.0, 'settled', 0);
INSERT INTO reservation VALUES ('last month', {now} - 2678400, 'cloud/nano', 4.0, 'settled', 0);
"""


def race(path: Path, caps: Dollars, ends: tuple[str, ...]) -> list[str]:
    """What each spender says at its end: which budget was spent, or nothing where it died."""
    with ExitStack() as running:
        spenders = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SPENDER, str(path), str(worker), *map(str, astuple(caps)), end],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for worker, end in enumerate(ends)
        ]
        outputs = [spender.stdout for spender in spenders if spender.stdout is not None]
        assert [output.readline() for output in outputs] == ["ready\n"] * len(ends)
        for spender in spenders:
            assert spender.stdin is not None
            spender.stdin.write("go\n")
            spender.stdin.flush()
        return [output.read().strip() for output in outputs]


@pytest.mark.parametrize(
    ("caps", "period"),
    [
        (Dollars(0.5, 10.0, 10.0), "hour"),
        (Dollars(10.0, 0.5, 10.0), "day"),
        (Dollars(10.0, 10.0, 0.5), "month"),
    ],
    ids=PERIODS,
)
def test_processes_that_ask_at_once_and_die_never_pass_a_cap(tmp_path: Path, caps: Dollars, period: str) -> None:
    path = tmp_path / "ledger"
    assert race(path, caps, ("stay", "die", "stay")) == [period, "", period]
    ((spent_usd, held_usd),) = rows(path, "SELECT sum(usd), sum(usd * (state = 'held')) FROM reservation")
    assert isinstance(spent_usd, float)
    assert isinstance(held_usd, float)
    # All but what has no room for one more, and what the dead one held counts.
    assert 0.47 - 1e-9 < spent_usd <= 0.5
    assert held_usd > 0.0
    with opened(path, Clock(STILL_UNIX_S), worker=1) as again:
        assert again.spent.hour == again.spent.day == again.spent.month == pytest.approx(spent_usd)


async def test_money_comes_back_with_the_period_that_was_spent_and_no_other(tmp_path: Path) -> None:
    clock, caps = Clock(LAST_SECOND - 2 * HOUR_S), Dollars(1.0, 2.0, 2.5)
    with opened(tmp_path / "ledger", clock) as ledger:
        for name, usd, later_s in (("a", 1.0, HOUR_S), ("b", 1.0, HOUR_S)):
            await ledger.reserve(name, "cloud/nano", usd, caps)
            ledger.settle(name, usd)
            with pytest.raises(BudgetSpent):
                await ledger.reserve("more", "cloud/nano", 0.25, caps)
            clock.now_unix_s += later_s
        assert (ledger.spent, ledger.left_usd(caps)) == (Dollars(0.0, 2.0, 2.0), 0.0)
        with pytest.raises(BudgetSpent, match=r"2.000000 of today's 2.00 are"):
            await ledger.reserve("more", "cloud/nano", 0.25, caps)
        # A new hour and a new day, but also a new month.
        clock.now_unix_s = MARCH
        assert ledger.left_usd(caps) == 1.0
        await ledger.reserve("c", "cloud/nano", 1.0, caps)


async def test_a_month_that_is_spent_is_named_though_the_hour_is_new(tmp_path: Path) -> None:
    clock, caps = Clock(MARCH), Dollars(1.0, 1.0, 1.5)
    with opened(tmp_path / "ledger", clock) as ledger:
        await ledger.reserve("a", "cloud/nano", 1.0, caps)
        ledger.settle("a", 1.0)
        clock.now_unix_s += 2 * DAY_S
        with pytest.raises(BudgetSpent, match=r"1.000000 of this month's 1.50 are") as caught:
            await ledger.reserve("b", "cloud/nano", 1.0, caps)
        assert caught.value.period == "month"
        await ledger.reserve("b", "cloud/nano", 0.5, caps)


async def test_what_runs_over_the_end_of_an_hour_counts_in_both_until_it_is_settled(tmp_path: Path) -> None:
    clock, path, caps = Clock(MARCH + HOUR_S - 1), tmp_path / "ledger", Dollars(1.0, 9.0, 9.0)
    with opened(path, clock) as one, opened(path, clock, worker=1) as other:
        await one.reserve("a", "cloud/nano", 0.75, caps)
        clock.now_unix_s += 2
        assert one.spent == Dollars(0.75, 0.75, 0.75)
        for ledger in (one, other):
            with pytest.raises(BudgetSpent):
                await ledger.reserve("b", "cloud/nano", 0.5, caps)
        one.settle("a", 0.25)
        assert one.spent == Dollars(0.0, 0.25, 0.25)
        await one.reserve("b", "cloud/nano", 1.0, caps)


@pytest.mark.parametrize("second", [0.0, 0.4, 0.9999])
async def test_the_turn_of_a_period_is_the_same_in_the_file_and_in_memory(tmp_path: Path, second: float) -> None:
    clock, path = Clock(LAST_SECOND + second), tmp_path / "ledger"
    with opened(path, clock) as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
        ledger.settle("a", 0.5)
        assert ledger.spent == Dollars(0.5, 0.5, 0.5)
    starts = periods_at(LAST_SECOND)
    assert rows(path, "SELECT period, start, usd FROM spent ORDER BY start DESC") == [
        (period, getattr(starts, period), 0.5) for period in PERIODS
    ]
    with opened(path, clock) as again:
        assert again.spent == Dollars(0.5, 0.5, 0.5)


@settings(max_examples=25)
@given(
    moves=st.lists(
        st.tuples(st.floats(0, 40 * DAY_S), st.floats(0, 3), st.none() | st.floats(0, 3), st.integers(0, 1)),
        max_size=12,
    )
)
def test_the_sums_are_those_of_the_reservations(
    moves: list[tuple[float, float, float | None, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, end = tmp_path_factory.mktemp("sums") / "ledger", MARCH + 20 * DAY_S
    workers = [Books(path, worker, end - 40 * DAY_S) for worker in range(2)]
    caps = Dollars(1e9, 1e9, 1e9)
    for number, (ago_s, usd, cost_usd, worker) in enumerate(moves):
        at = end - ago_s
        assert workers[worker].carry_out([Reserve(str(number), at, "cloud/nano", usd, caps)]) == {}
        workers[1 - worker].carry_out([Settle(str(number), usd if cost_usd is None else cost_usd)])
    starts, found = periods_at(end), workers[0].spent(end)
    for period in PERIODS:
        expected = [0.0, 0.0]
        for ago_s, usd, cost_usd, worker in moves:
            expected[worker] += (usd if cost_usd is None else cost_usd) * (end - ago_s >= getattr(starts, period))
        assert [getattr(found.own, period), getattr(found.others, period)] == pytest.approx(expected, abs=1e-9)
    for each in workers:
        each.close()


async def test_a_ledger_that_knew_days_only_is_taken_over_with_its_sums(tmp_path: Path) -> None:
    path, now = tmp_path / "ledger", MARCH + 20 * DAY_S + 12 * HOUR_S
    with closing(sqlite3.connect(path)) as old:
        old.executescript(EARLIER.format(now=now))
    for _ in range(2):
        with opened(path, Clock(now)) as ledger:
            assert ledger.spent == Dollars(0.5, 1.5, 3.5)
    with opened(path, Clock(now)) as ledger:
        await ledger.reserve("new", "cloud/nano", 0.25)
        assert ledger.spent == Dollars(0.75, 1.75, 3.75)
    with opened(path, Clock(now)) as ledger:
        assert ledger.spent == Dollars(0.75, 1.75, 3.75)
