"""What every request cost and why it ran where it ran, in SQLite; and the money that may still be spent today.

The only importer of sqlite3. One thread owns the connection. Money is set aside on disk before a cloud call; what a
crash leaves unsettled counts as spent when the ledger is opened again, so no crash makes money come back.
"""

from __future__ import annotations

import asyncio
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path


class LedgerError(Exception):
    """The ledger cannot be written: no money can be set aside, so nothing may go to a cloud."""


class BudgetSpent(LedgerError):
    """What is spent and set aside today, by all routers on this ledger, leaves no room for this call."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one request. `usd` is what it cost, 0 for local targets. Times in seconds from arrival."""

    request_id: str
    at_unix_s: float
    target: str
    model: str
    tier: str
    task: str | None
    tenant: str | None
    feature: str | None
    reason: str
    attempts: int
    status: int
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    usd: float
    ttft_s: float | None
    e2e_s: float


LARGEST_BATCH = 500
COLUMNS = tuple(field.name for field in fields(Outcome))
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS outcome ({", ".join(COLUMNS)});
CREATE INDEX IF NOT EXISTS outcome_at ON outcome (at_unix_s);
CREATE TABLE IF NOT EXISTS reservation (id TEXT PRIMARY KEY, at_unix_s REAL, target TEXT, usd REAL, state TEXT);
"""
INSERT = f"INSERT INTO outcome VALUES ({', '.join('?' * len(COLUMNS))})"
RESERVE = "INSERT INTO reservation VALUES (?, ?, ?, ?, 'held')"
SETTLE = "UPDATE reservation SET state = 'settled', usd = ? WHERE id = ?"
EXPIRE = "UPDATE reservation SET state = 'expired' WHERE state = 'held'"
SPENT = "SELECT coalesce(sum(usd), 0) FROM reservation WHERE at_unix_s >= ?"


@dataclass(frozen=True, slots=True)
class _Write:
    statement: str
    values: tuple[object, ...]
    done: asyncio.Future[None] | None = None


class Ledger:
    """The open ledger. `spent_today_usd` includes what is set aside for calls under way."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, worker: int = 0) -> None:
        self._path = path
        self._worker = worker
        self._clock = clock
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._held: dict[str, float] = {}
        self._lost = 0
        self._day, self._settled_usd = self._open()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    @property
    def lost_outcomes(self) -> int:
        """Outcomes that could not be written; the requests themselves were served."""
        return self._lost

    @property
    def spent_today_usd(self) -> float:
        self._turn_day()
        return self._settled_usd + sum(self._held.values())

    async def reserve(self, reservation: str, target: str, usd: float, limit_usd: float = math.inf) -> None:
        """Set money aside, on disk before it returns. Raises BudgetSpent or another LedgerError."""
        if self.spent_today_usd + usd > limit_usd:
            raise BudgetSpent(f"{usd:.6f} more than {limit_usd:.6f} dollars a day")
        self._held[reservation] = usd
        done = asyncio.get_running_loop().create_future()
        self._writes.put(_Write(RESERVE, (reservation, self._clock(), target, usd), done))
        try:
            await asyncio.shield(done)
        except BaseException:
            self.settle(reservation, 0.0)
            raise

    def settle(self, reservation: str, usd: float) -> None:
        """Replace what was set aside by what it cost."""
        self._turn_day()
        self._held.pop(reservation, None)
        self._settled_usd += usd
        self._writes.put(_Write(SETTLE, (usd, reservation)))

    def record(self, outcome: Outcome) -> None:
        self._writes.put(_Write(INSERT, astuple(outcome)))

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._writes.put(None)
        self._thread.join()

    def _turn_day(self) -> None:
        today = _day_start(self._clock())
        if today != self._day:
            self._day, self._settled_usd = today, 0.0

    def _open(self) -> tuple[float, float]:
        today = _day_start(self._clock())
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(SCHEMA)
                connection.execute(EXPIRE)
                spent = float(connection.execute(SPENT, (today,)).fetchone()[0])
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"{self._path}: {error}; free space there or remove the file to start a new one"
            ) from error
        return today, spent

    def _write_all(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        # Money that was set aside survives a power cut too; what waits is written together, so it costs little.
        connection.execute("PRAGMA synchronous=FULL")
        while (first := self._writes.get()) is not None:
            self._write([first, *self._waiting()], connection)
        connection.close()

    def _waiting(self) -> list[_Write]:
        waiting: list[_Write] = []
        with suppress(queue.Empty):
            while len(waiting) < LARGEST_BATCH:
                write = self._writes.get_nowait()
                if write is None:
                    self._writes.put(None)
                    break
                waiting.append(write)
        return waiting

    def _write(self, batch: list[_Write], connection: sqlite3.Connection) -> None:
        errors: list[LedgerError | None]
        try:
            connection.execute("BEGIN")
            errors = [self._execute(write, connection) for write in batch]
            connection.execute("COMMIT")
        except sqlite3.Error as cause:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            errors = [LedgerError(f"{self._path}: {cause}")] * len(batch)
        for write, error in zip(batch, errors, strict=True):
            self._lost += error is not None and write.statement == INSERT
            if write.done is not None:
                write.done.get_loop().call_soon_threadsafe(_resolve, write.done, error)

    def _execute(self, write: _Write, connection: sqlite3.Connection) -> LedgerError | None:
        try:
            connection.execute(write.statement, write.values)
        except (sqlite3.Error, OverflowError, UnicodeError) as cause:
            return LedgerError(f"{self._path}: {cause}")
        return None


def _resolve(done: asyncio.Future[None], error: LedgerError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _day_start(now_unix_s: float) -> float:
    """Midnight UTC: one border for all, whatever the host's time zone."""
    return now_unix_s - now_unix_s % 86400
