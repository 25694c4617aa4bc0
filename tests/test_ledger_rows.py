"""Rows of requests: all of them, in order, whatever one of them holds, and as many as a kill or a full disk allows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from router import books
from router.ledger import LedgerError
from router.moves import LedgerBusy
from router.outcome import COLUMNS, Outcome
from tests.ledgers import opened, request_ids, rows
from tests.routers import until
from tests.specimens import outcome

ROOT = Path(__file__).parents[1]
# What SQLite cannot take: an integer of more than 64 bits, half of a surrogate pair, a thing that is no value.
BAD = [{"prompt_tokens": 2**70}, {"error": "\ud800"}, {"tenant": ("a", "b")}]
# Writes a row every half millisecond or so, says when there were a thousand, and goes on until it is killed.
CHILD = """
import sys, time
from pathlib import Path
from router.ledger import Ledger
from tests.specimens import outcome

ledger = Ledger(Path(sys.argv[1]))
number = 0
while True:
    ledger.record(outcome(request_id=str(number), at_unix_s=time.time()))
    number += 1
    time.sleep(0.0005)
    if number == 1000:
        print("many", flush=True)
"""
# No file of this process may grow any more, and later it may again: a full disk, and then room.
FULL_DISK = """
import resource, structlog, sys
from pathlib import Path
from router.ledger import Ledger
from tests.routers import until
from tests.specimens import outcome

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
ledger = Ledger(Path(sys.argv[1]))
ledger.record(outcome(request_id="before"))
ledger.close()
ledger = Ledger(Path(sys.argv[1]))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
for number in range(300):
    ledger.record(outcome(request_id=f"lost-{number}"))
until(lambda: ledger.lost_outcomes == 300)
assert ledger.trouble
assert sys.argv[1] not in ledger.trouble
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
ledger.record(outcome(request_id="after"))
ledger.close()
print(ledger.lost_outcomes)
"""


@given(count=st.integers(0, 700))
def test_all_rows_are_written_in_the_order_in_which_they_came(
    count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "ledger"
    with opened(path) as ledger:
        for number in range(count):
            ledger.record(outcome(request_id=str(number)))
    assert request_ids(path) == [str(number) for number in range(count)]


def test_rows_reach_the_disk_while_the_router_runs(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        ledger.record(outcome(request_id="first"))
        until(lambda: request_ids(path) == ["first"])
        # The writer sleeps by now, and is woken again.
        ledger.record(outcome(request_id="second"))
        until(lambda: request_ids(path) == ["first", "second"])


def test_outcomes_can_be_read_with_any_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    wild = outcome(task="coding", usd=0.5, error='it "broke"; DROP TABLE outcome')
    with opened(path) as ledger:
        ledger.record(wild)
        ledger.record(outcome(request_id="req-2", ttft_s=None))
    first, second = rows(path, f"SELECT {', '.join(COLUMNS)} FROM outcome ORDER BY request_id")
    assert first == astuple(wild)
    assert second[COLUMNS.index("ttft_s")] is None


@pytest.mark.parametrize("bad", BAD, ids=["integer", "text", "thing"])
@pytest.mark.parametrize("others", [0, 1, 300])
def test_a_row_that_cannot_be_written_takes_no_other_with_it(
    tmp_path: Path, bad: dict[str, object], others: int
) -> None:
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        for number in range(others):
            ledger.record(outcome(request_id=str(number)))
        ledger.record(outcome(request_id="bad", **bad))
        for number in range(others, 2 * others):
            ledger.record(outcome(request_id=str(number)))
    assert ledger.lost_outcomes == 1
    assert request_ids(path) == [str(number) for number in range(2 * others)]


async def test_nothing_is_lost_while_another_program_keeps_the_file_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "PATIENCE_S", 0.01)
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        await ledger.reserve("a", "cloud/nano", 0.5)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.settle("a", 0.25)
            for number in range(300):
                ledger.record(outcome(request_id=str(number)))
            # The rows are tried after the first one, and so before the second one is refused.
            for name in ("b", "c"):
                with pytest.raises(LedgerError, match=f"{path}.*locked"):
                    await ledger.reserve(name, "cloud/nano", 0.5)
            other.execute("COMMIT")
        until(lambda: len(request_ids(path)) == 300)
    assert ledger.lost_outcomes == 0
    assert rows(path, "SELECT id, usd, state FROM reservation") == [("a", 0.25, "settled")]


def test_rows_that_could_not_be_written_need_no_other_call_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = books.Books.write
    tries: list[int] = []

    def locked_at_first(self: books.Books, batch: Sequence[Outcome]) -> None:
        tries.append(len(batch))
        if len(tries) == 1:
            raise LedgerBusy("another program keeps it locked")
        write(self, batch)

    monkeypatch.setattr(books.Books, "write", locked_at_first)
    path = tmp_path / "ledger"
    with opened(path) as ledger:
        ledger.record(outcome(request_id="early"))
        until(lambda: request_ids(path) == ["early"])
    assert tries == [1, 1]


def test_a_killed_router_loses_only_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "many\n"
        child.kill()
    written = request_ids(path)
    assert written == [str(number) for number in range(len(written))]
    # Two rows a millisecond at most, and nothing but the last 0.2 s may be missing.
    assert len(written) >= 600


def test_a_full_disk_costs_rows_but_not_those_that_come_when_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "300\n", ended.stderr
    assert request_ids(path) == ["before", "after"]
    [line] = [line for line in ended.stderr.splitlines() if "the ledger cannot be written" in line]
    assert str(path) in line
