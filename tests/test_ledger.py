"""The ledger: money set aside and settled, the turn of the day, and what is left after a kill or on a full disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ledger import Ledger, LedgerError
from tests.ledgers import Clock, opened, rows

ROOT = Path(__file__).parents[1]
MIDNIGHT = 86_400.0 * 20_000
NOON = MIDNIGHT - 43_200.0
# Sets money aside and settles a part of it, says so, and waits to be killed.
CHILD = """
import asyncio, sys
from pathlib import Path
from router.ledger import Ledger

async def spend():
    ledger = Ledger(Path(sys.argv[1]))
    for number in range(10):
        await ledger.reserve(f"r{number}", "cloud/nano", 0.5)
    for number in range(4):
        ledger.settle(f"r{number}", 0.1)
    await ledger.reserve("last", "cloud/nano", 0.25)
    print("ready", flush=True)
    sys.stdin.read()

asyncio.run(spend())
"""
# After the first reservation no file of this process may grow any more: what a full disk does to a writer.
FULL_DISK = """
import asyncio, resource, structlog, sys
from pathlib import Path
from router.ledger import Ledger, LedgerError

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def spend():
    path = Path(sys.argv[1])
    ledger = Ledger(path)
    await ledger.reserve("first", "cloud/nano", 0.5)
    ledger.settle("first", 0.25)
    await ledger.reserve("second", "cloud/nano", 0.5)
    size = max(each.stat().st_size for each in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    before = ledger.spent.day
    try:
        for number in range(1000):
            before = ledger.spent.day
            await ledger.reserve(f"more-{number}", "cloud/nano", 0.01)
    except LedgerError as error:
        print(error)
        assert sys.argv[1] not in error.why
    print(before, ledger.spent.day)
    ledger.close()

asyncio.run(spend())
"""


async def test_money_set_aside_counts_until_it_is_settled(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger") as ledger:
        assert ledger.spent.day == 0
        await ledger.reserve("a", "cloud/nano", 0.5)
        await ledger.reserve("b", "cloud/nano", 0.25)
        assert ledger.spent.day == pytest.approx(0.75)
        ledger.settle("a", 0.125)
        assert ledger.spent.day == pytest.approx(0.375)
        ledger.settle("b", 0.0)
        assert ledger.spent.day == pytest.approx(0.125)


async def test_money_is_on_disk_before_the_call(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
        assert rows(path, "SELECT id, target, usd, state FROM reservation") == [("a", "cloud/nano", 0.5, "held")]


async def test_a_day_is_counted_by_itself(tmp_path: Path) -> None:
    clock = Clock(NOON)
    with opened(tmp_path / "ledger", clock) as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
        ledger.settle("a", 0.5)
        clock.now_unix_s = MIDNIGHT - 0.001
        assert ledger.spent.day == 0.5
        clock.now_unix_s = MIDNIGHT
        assert ledger.spent.day == 0
        await ledger.reserve("b", "cloud/nano", 0.125)
        assert ledger.spent.day == 0.125


async def test_a_call_over_midnight_is_never_forgotten_while_it_runs(tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT - 1)
    with opened(tmp_path / "ledger", clock) as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
        clock.now_unix_s = MIDNIGHT + 1
        assert ledger.spent.day == 0.5
        ledger.settle("a", 0.25)
        assert ledger.spent.day <= 0.25


@given(
    calls=st.lists(st.tuples(st.floats(0, 10), st.none() | st.floats(0, 10)), max_size=8),
)
def test_reopening_gives_the_same_sum(
    calls: list[tuple[float, float | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "ledger"

    async def spend() -> float:
        with opened(path) as ledger:
            for number, (reserved_usd, cost_usd) in enumerate(calls):
                await ledger.reserve(str(number), "cloud/nano", reserved_usd)
                if cost_usd is not None:
                    ledger.settle(str(number), cost_usd)
            return ledger.spent.day

    spent_usd = asyncio.run(spend())
    assert spent_usd == pytest.approx(sum(reserved if cost is None else cost for reserved, cost in calls))
    with opened(path) as again:
        assert again.spent.day == pytest.approx(spent_usd)


def test_what_a_killed_router_left_unsettled_counts_as_spent(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.kill()
    with opened(path) as ledger:
        assert ledger.spent.day == pytest.approx(4 * 0.1 + 6 * 0.5 + 0.25)
        states = rows(path, "SELECT state, count(*) FROM reservation GROUP BY state ORDER BY state")
        assert states == [("expired", 7), ("settled", 4)]


def test_a_full_disk_refuses_new_money_and_keeps_what_was_settled(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    error, sums = ended.stdout.splitlines()
    before_usd, after_usd = map(float, sums.split())
    assert str(path) in error
    assert 0.75 <= before_usd == pytest.approx(after_usd)
    with opened(path) as ledger:
        assert ledger.spent.day == pytest.approx(before_usd)


@pytest.mark.parametrize("place", ["file/ledger", "folder", "text"])
def test_a_place_that_cannot_hold_a_ledger_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("Dear diary, this is no database. " * 100)
    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)


def test_a_folder_that_nobody_may_write_to_is_named() -> None:
    # The kernel's own folder refuses everyone, the super-user too.
    with pytest.raises(LedgerError, match="/proc/spillway/ledger"):
        Ledger(Path("/proc/spillway/ledger"))


async def test_a_thousand_reservations_at_once_add_up(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        await asyncio.gather(*(ledger.reserve(f"r{number}", "cloud/nano", 0.25) for number in range(1000)))
        assert ledger.spent.day == 250.0
        for number in range(0, 1000, 2):
            ledger.settle(f"r{number}", 0.125)
        assert ledger.spent.day == 187.5
    with opened(path) as again:
        assert again.spent.day == 187.5
        assert again.lost_outcomes == 0


async def test_a_caller_that_gives_up_leaves_nothing_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        setting_aside = asyncio.ensure_future(ledger.reserve("a", "cloud/nano", 0.5))
        await asyncio.sleep(0)
        setting_aside.cancel()
        with pytest.raises(asyncio.CancelledError):
            await setting_aside
        assert ledger.spent.day == 0
    assert rows(path, "SELECT usd, state FROM reservation") == [(0.0, "settled")]


async def test_a_closed_ledger_refuses_money_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "ledger") as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
    with pytest.raises(LedgerError, match="closed"):
        await asyncio.wait_for(ledger.reserve("b", "cloud/nano", 0.5), timeout=5)
    assert ledger.spent.day == 0.5
