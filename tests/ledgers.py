"""Ledgers for tests: opened until a block is left, with a clock that stands still, and read as anybody would."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from msgspec.structs import replace

from router.ledger import Ledger
from router.spilling.periods import NO_CAPS, Dollars


def a_day(usd: float) -> Dollars:
    """So much may be spent in a day."""
    return replace(NO_CAPS, day=usd)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now_unix_s: float) -> None:
        self.now_unix_s = now_unix_s

    def __call__(self) -> float:
        return self.now_unix_s


@contextmanager
def opened(path: Path, clock: Clock | None = None, worker: int = 0) -> Iterator[Ledger]:
    ledger = Ledger(path, clock, worker) if clock else Ledger(path, worker=worker)
    try:
        yield ledger
    finally:
        ledger.close()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def request_ids(path: Path) -> list[str]:
    """Of all rows, in the order in which they were written."""
    return [str(name) for (name,) in rows(path, "SELECT request_id FROM outcome ORDER BY rowid")]
