"""Several router processes on one ledger: one budget, kept exactly, and nobody touches another one's money."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from router.ledger import BudgetSpent, LedgerError
from tests.ledgers import Clock, a_day, opened, rows
from tests.routers import until
from tests.specimens import outcome

ROOT = Path(__file__).parents[1]
MIDNIGHT = 86_400.0 * 20_000
# Opens the ledger with all the others, and when told to, asks for an eighth of a dollar again and again while it
# writes rows; every third one turns out to be free.
WORKER = """
import asyncio, sys
from pathlib import Path
from router.ledger import BudgetSpent, Ledger
from tests.ledgers import a_day
from tests.specimens import outcome

async def ask(ledger, name, given):
    try:
        await ledger.reserve(name, "cloud/nano", 0.125, a_day(5.0))
        given.append(name)
    except BudgetSpent:
        pass

async def spend(worker):
    ledger = Ledger(Path(sys.argv[1]), worker=worker)
    print("ready", flush=True)
    sys.stdin.readline()
    given = []
    for turn in range(20):
        for number in range(30):
            ledger.record(outcome(request_id=f"{worker}-{turn}-{number}"))
        await asyncio.gather(*(ask(ledger, f"{worker}-{turn}-{number}", given) for number in range(5)))
    print(len(given), flush=True)
    if sys.argv[3] == "close":
        ledger.close()
    else:
        sys.stdin.readline()

asyncio.run(spend(int(sys.argv[2])))
"""
WORKERS = 4
OLD_SCHEMA = """
CREATE TABLE reservation (id TEXT PRIMARY KEY, at_unix_s REAL, target TEXT, usd REAL, state TEXT);
INSERT INTO reservation VALUES ('today', {today}, 'cloud/nano', 0.5, 'settled');
INSERT INTO reservation VALUES ('crashed', {today}, 'cloud/nano', 0.25, 'held');
INSERT INTO reservation VALUES ('yesterday', {yesterday}, 'cloud/nano', 4.0, 'settled');
"""


def race(path: Path, end: str) -> list[int]:
    """How many reservations each worker was given."""
    with ExitStack() as running:
        workers = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, str(path), str(number), end],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(WORKERS)
        ]
        assert said(workers) == ["ready"] * WORKERS
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        given = [int(text) for text in said(workers)]
        if end == "kill":
            for worker in workers:
                worker.kill()
        return given


def said(workers: Sequence[subprocess.Popen[str]]) -> list[str]:
    return [worker.stdout.readline().strip() for worker in workers if worker.stdout is not None]


def test_workers_that_ask_at_once_stay_within_one_budget_and_use_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    given = race(path, "close")
    assert sum(given) == 40
    assert rows(path, "SELECT count(*), sum(usd) FROM reservation") == [(40, 5.0)]
    assert rows(path, "SELECT count(*), count(DISTINCT request_id) FROM outcome") == [(2400, 2400)]


def test_a_worker_that_starts_again_expires_its_own_money_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    given = race(path, "kill")
    with opened(path, worker=2) as ledger:
        assert ledger.spent.day == 5.0
    states = rows(path, "SELECT owner, state, count(*) FROM reservation GROUP BY owner, state ORDER BY owner")
    assert states == [
        (number, "expired" if number == 2 else "held", count) for number, count in enumerate(given) if count
    ]


async def test_what_others_spend_is_seen_and_leaves_less(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as one, opened(path, worker=1) as other:
        await other.reserve("b", "cloud/nano", 0.5)
        until(lambda: one.spent.day == 0.5)
        await one.reserve("a", "cloud/nano", 0.25, caps=a_day(0.75))
        assert one.spent.day == 0.75
        with pytest.raises(BudgetSpent, match=r"0.125000 .* 0.750000 of today's 0.75 "):
            await one.reserve("c", "cloud/nano", 0.125, caps=a_day(0.75))
        other.settle("b", 0.125)
        until(lambda: one.spent.day == 0.375)
        await one.reserve("c", "cloud/nano", 0.125, caps=a_day(0.75))
    assert rows(path, "SELECT id, usd FROM reservation ORDER BY id") == [("a", 0.25), ("b", 0.125), ("c", 0.125)]


async def test_who_asks_seldom_can_look_first(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT)
    with opened(tmp_path / "ledger", clock) as one, opened(tmp_path / "ledger", clock, worker=1) as other:
        await other.reserve("b", "cloud/nano", 0.5)
        await one.refresh()
        assert one.spent.day == 0.5


async def test_money_that_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        with pytest.raises(BudgetSpent):
            await ledger.reserve("a", "cloud/nano", 0.5, caps=a_day(0.25))
        for usd in (math.nan, math.inf):
            with pytest.raises(LedgerError, match="cloud/nano"):
                await ledger.reserve("a", "cloud/nano", usd)
        assert ledger.spent.day == 0
    assert rows(path, "SELECT * FROM reservation") == []


async def test_a_reservation_that_cannot_be_written_takes_no_other_with_it(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger") as ledger:
        made = await asyncio.gather(
            *(ledger.reserve(name, "cloud/nano", 0.5) for name in ("a", "\ud800", "b")), return_exceptions=True
        )
        assert [type(each) for each in made] == [type(None), LedgerError, type(None)]
        assert ledger.spent.day == 1.0


async def test_calls_of_others_that_run_over_midnight_count_until_they_are_settled(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT - 1)
    path = tmp_path / "ledger"
    with opened(path, clock) as one, opened(path, clock, worker=1) as other:
        await other.reserve("b", "cloud/nano", 0.5)
        other.settle("settled", 0.0)
        clock.now_unix_s = MIDNIGHT + 1
        with pytest.raises(BudgetSpent):
            await one.reserve("a", "cloud/nano", 0.5, caps=a_day(0.75))
        other.settle("b", 0.25)
        await other.refresh()
        await one.reserve("a", "cloud/nano", 0.75, caps=a_day(0.75))
        assert one.spent.day == 0.75
        assert other.spent.day == 0


async def test_a_worker_that_never_came_back_does_not_hold_money_for_ever(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT)
    path = tmp_path / "ledger"
    with opened(path, clock, worker=3) as gone:
        await gone.reserve("a", "cloud/nano", 0.5)
    for days, spent_usd, state in ((0, 0.5, "held"), (1, 0.5, "held"), (2, 0.0, "expired")):
        clock.now_unix_s = MIDNIGHT + days * 86_400.0
        with opened(path, clock) as ledger:
            assert ledger.spent.day == spent_usd
        assert rows(path, "SELECT state FROM reservation") == [(state,)]


async def test_a_ledger_from_before_there_were_workers_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD_SCHEMA.format(today=MIDNIGHT + 1, yesterday=MIDNIGHT - 1))
    with opened(path, Clock(MIDNIGHT + 2)) as ledger:
        assert ledger.spent.day == 0.75
        with pytest.raises(BudgetSpent):
            await ledger.reserve("new", "cloud/nano", 0.5, caps=a_day(1.0))
        await ledger.reserve("new", "cloud/nano", 0.25, caps=a_day(1.0))
        ledger.record(outcome())
    with opened(path, Clock(MIDNIGHT + 2)) as again:
        assert again.spent.day == 1.0
    assert rows(path, "SELECT id, state, owner FROM reservation WHERE id <> 'yesterday' ORDER BY id") == [
        ("crashed", "expired", 0),
        ("new", "expired", 0),
        ("today", "settled", 0),
    ]
