"""A ledger of an older Spillway: it goes on, with its rows, and gets the columns that it does not have."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from router.outcome import COLUMNS
from tests.ledgers import opened, rows
from tests.specimens import outcome

ROOT = Path(__file__).parents[1]
# As it was before requests were compared.
OLD_COLUMNS = COLUMNS[: COLUMNS.index("route")]
OLD_ROW = (
    "old",
    1000.0,
    "local/tiny",
    "tiny",
    "bulk",
    "coding",
    "team",
    None,
    "tier",
    1,
    200,
    None,
    7,
    8,
    0.5,
    0.1,
    1.0,
)
# Opens the file together with others and writes a row.
WORKER = """
import sys
from pathlib import Path
from router.ledger import Ledger
from tests.specimens import outcome

print("ready", flush=True)
sys.stdin.readline()
ledger = Ledger(Path(sys.argv[1]), worker=int(sys.argv[2]))
ledger.record(outcome(request_id="worker-" + sys.argv[2], arm="new/trial"))
ledger.close()
print(ledger.lost_outcomes)
"""


def older_ledger(folder: Path) -> Path:
    path = folder / "ledger"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"CREATE TABLE outcome ({', '.join(OLD_COLUMNS)})")
        connection.execute(f"INSERT INTO outcome VALUES ({', '.join('?' * len(OLD_ROW))})", OLD_ROW)
    return path


def test_an_older_file_keeps_its_rows_and_takes_new_ones(tmp_path: Path) -> None:
    path = older_ledger(tmp_path)
    with opened(path) as ledger:
        ledger.record(outcome(request_id="new", route="night", arm="qwen/trial", shadow_of="old"))
    assert ledger.lost_outcomes == 0
    old, new = rows(path, f"SELECT {', '.join(COLUMNS)} FROM outcome ORDER BY rowid")
    assert old == (*OLD_ROW, *[None] * (len(COLUMNS) - len(OLD_COLUMNS)))
    assert new[len(OLD_COLUMNS) :] == ("night", "qwen/trial", "old", *[None] * (len(COLUMNS) - len(OLD_COLUMNS) - 3))


def test_a_file_whose_columns_stand_in_another_order_is_written_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"CREATE TABLE outcome ({', '.join(reversed(COLUMNS))}, from_elsewhere)")
    with opened(path) as ledger:
        ledger.record(outcome(request_id="mine", tier="bulk", arm="a/control"))
    assert rows(path, "SELECT request_id, tier, arm, from_elsewhere FROM outcome") == [
        ("mine", "bulk", "a/control", None)
    ]


def test_several_workers_may_find_an_older_file_at_once(tmp_path: Path) -> None:
    path = older_ledger(tmp_path)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    said = [worker.communicate("go\n", timeout=30)[0] for worker in workers]
    assert said == ["0\n"] * 3
    written = rows(path, "SELECT request_id FROM outcome WHERE arm = 'new/trial' ORDER BY request_id")
    assert written == [("worker-0",), ("worker-1",), ("worker-2",)]
