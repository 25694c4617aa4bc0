"""The ledger's file: a row for each request, and the money of hours, days and months. The only importer of sqlite3.

Synchronous, for one thread; several processes may have the same file open. Each change of money is one transaction
that keeps the others out from its first look to its end, so that all of them together keep a limit.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec.structs import astuple

from router.moves import LedgerBusy, LedgerError, Reserve, Settle, Spent, refused
from router.outcome import COLUMNS, Outcome
from router.spilling.periods import DAY_S, HOUR_S, Dollars, Periods, periods_at

# How long one process waits for another one that writes; they hold the file for some ten milliseconds.
PATIENCE_S = 2.0
AGAIN_S = 0.02
# SQLite lets go of Python's lock in each statement, and getting it back from a busy event loop takes up to 5 ms: so
# few statements with many rows each, yet not so many that filling one in keeps the loop waiting.
MOST_ROWS = 256
SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS outcome ({', '.join(COLUMNS)})",
    "CREATE INDEX IF NOT EXISTS outcome_at ON outcome (at_unix_s)",
    "CREATE TABLE IF NOT EXISTS reservation (id TEXT PRIMARY KEY, at_unix_s REAL, target TEXT, usd REAL, state TEXT)",
    "CREATE TABLE IF NOT EXISTS wanted (start INTEGER PRIMARY KEY, usd REAL)",
)
# An older file has fewer columns. Rows of comparisons are few, and found without a look at all the others.
HAS_COLUMNS = "SELECT name FROM pragma_table_info('outcome')"
ADD_COLUMN = "ALTER TABLE outcome ADD COLUMN {}"
INDEX_ARMS = "CREATE INDEX IF NOT EXISTS outcome_arm ON outcome (arm) WHERE arm IS NOT NULL"
ARMS = "SELECT DISTINCT arm FROM outcome WHERE arm IS NOT NULL AND at_unix_s >= ?"
# Those in one of the arms, and those whose copies are.
COMPARED = f"""SELECT {", ".join(COLUMNS)} FROM outcome WHERE at_unix_s >= ?1 AND (arm IN (?2, ?3) OR request_id IN
    (SELECT shadow_of FROM outcome WHERE arm = ?3 AND at_unix_s >= ?1))"""
HAS_OWNER = "SELECT count(*) FROM pragma_table_info('reservation') WHERE name = 'owner'"
ADD_OWNER = "ALTER TABLE reservation ADD COLUMN owner INTEGER NOT NULL DEFAULT 0"
# A period is told by its first second. The sums are kept beside the reservations: a look at them takes as long at the
# end of a month as at its beginning.
DAY = f"CAST(at_unix_s / {DAY_S} AS INTEGER) * {DAY_S}"
STARTS = {
    "hour": f"CAST(at_unix_s / {HOUR_S} AS INTEGER) * {HOUR_S}",
    "day": DAY,
    "month": f"CAST(strftime('%s', {DAY}, 'unixepoch', 'start of month') AS INTEGER)",
}


def _adding(usd: str) -> str:
    """So much more in each period of the new row."""
    rows = [
        f"('{period}', {start.replace('at_unix_s', 'new.at_unix_s')}, new.owner, {usd})"
        for period, start in STARTS.items()
    ]
    return f"INSERT INTO spent VALUES {', '.join(rows)} ON CONFLICT DO UPDATE SET usd = usd + excluded.usd"


# What stayed at home for want of money, by hour. A sum, so that it is found as fast in weeks of rows.
SUM_WANTED = f"""CREATE TRIGGER IF NOT EXISTS wanted AFTER INSERT ON outcome WHEN new.wanted_usd IS NOT NULL BEGIN
    INSERT INTO wanted VALUES ({STARTS["hour"].replace("at_unix_s", "new.at_unix_s")}, new.wanted_usd)
    ON CONFLICT DO UPDATE SET usd = usd + excluded.usd; END"""
WANTED = """SELECT start, sum(usd) FROM (SELECT start, usd FROM spent WHERE period = 'hour' AND start >= ?1
    UNION ALL SELECT start, usd FROM wanted WHERE start >= ?1) GROUP BY start ORDER BY start"""
# They need all columns.
INDICES = (
    INDEX_ARMS,
    SUM_WANTED,
    "CREATE INDEX IF NOT EXISTS reservation_at ON reservation (at_unix_s)",
    "CREATE INDEX IF NOT EXISTS reservation_held ON reservation (at_unix_s) WHERE state = 'held'",
)
# An older file has sums of days alone.
HAS_SUMS = "SELECT count(*) FROM sqlite_master WHERE name = 'spent'"
SUMS = (
    "DROP TRIGGER IF EXISTS reserved",
    "DROP TRIGGER IF EXISTS settled",
    "DROP TABLE IF EXISTS spend",
    "CREATE TABLE spent (period TEXT, start INTEGER, owner INTEGER, usd REAL, PRIMARY KEY (period, start, owner))",
    f"CREATE TRIGGER reserved AFTER INSERT ON reservation BEGIN {_adding('new.usd')}; END",
    f"CREATE TRIGGER settled AFTER UPDATE OF usd ON reservation BEGIN {_adding('new.usd - old.usd')}; END",
    *(
        f"INSERT INTO spent SELECT '{period}', {start}, owner, sum(usd) FROM reservation GROUP BY 2, owner"
        for period, start in STARTS.items()
    ),
)
# Nobody else expires what belongs to a worker that was never started again; after a day no call still runs.
EXPIRE = "UPDATE reservation SET state = 'expired' WHERE state = 'held' AND (owner = ? OR at_unix_s < ?)"
RESERVE = "INSERT INTO reservation (id, at_unix_s, target, usd, state, owner) VALUES (?, ?, ?, ?, 'held', ?)"
SETTLE = "UPDATE reservation SET state = 'settled', usd = ? WHERE id = ?"
SPENT = """SELECT period, owner = ?, usd FROM spent WHERE (period = 'hour' AND start = ?)
    OR (period = 'day' AND start = ?) OR (period = 'month' AND start = ?)"""
# What began before a period and still runs counts in it too: nobody knows yet what it costs. What nobody has settled
# for a whole period, or for a day, does not run any more.
HELD_OVER = (
    "SELECT at_unix_s, owner = ?, usd FROM reservation WHERE state = 'held' AND at_unix_s >= ? AND at_unix_s < ?"
)
RUNS_ON_S = {"hour": HOUR_S, "day": DAY_S, "month": DAY_S}
ONE_ROW = f"({', '.join('?' * len(COLUMNS))})"
INSERT = {
    1 << power: f"INSERT INTO outcome ({', '.join(COLUMNS)}) VALUES {', '.join([ONE_ROW] * (1 << power))}"
    for power in range(MOST_ROWS.bit_length())
}
BAD_VALUE = (OverflowError, UnicodeError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)


class Books:
    """The open file, for the worker of this number. What that worker's last life left unsettled counts as spent."""

    def __init__(self, path: Path, worker: int, now_unix_s: float) -> None:
        self._path = path
        self._worker = worker
        self.lost_rows = 0
        # Why nothing could be written when it was tried last; None where it could.
        self.trouble: LedgerError | None = None
        with self._our_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Money that was set aside survives a power cut; rows survive only the end of the process, which spares
            # a wait for the disk each time.
            self._money = self._connected("FULL")
            self._rows = self._connected("NORMAL")
        with self._transaction(self._money):
            self._prepare(now_unix_s)

    def close(self) -> None:
        for connection in (self._rows, self._money):
            connection.close()

    def spent(self, now_unix_s: float) -> Spent:
        with self._our_errors():
            return self._spent(periods_at(now_unix_s))

    def carry_out(self, moves: Sequence[Reserve | Settle]) -> dict[str, LedgerError]:
        """All in one transaction, on disk when it returns: which could not be done and why. Raises LedgerError."""
        with self._transaction(self._money):
            errors = [(move.id, self._carry_out(move)) for move in moves]
        return {name: error for name, error in errors if error is not None}

    def write(self, rows: Sequence[Outcome]) -> None:
        """Write them, or count them as lost. Raises LedgerBusy."""
        lost = 0
        try:
            with self._transaction(self._rows):
                for some in _portions(rows):
                    lost += self._insert(some)
        except LedgerBusy:
            raise
        except LedgerError:
            lost = len(rows)
        self.lost_rows += lost

    def _connected(self, synchronous: str) -> sqlite3.Connection:
        # Opened by one thread and then used by another one, never by two at once.
        connection = sqlite3.connect(self._path, PATIENCE_S, isolation_level=None, check_same_thread=False)
        _enter_wal(connection)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        return connection

    def _prepare(self, now_unix_s: float) -> None:
        day = int(now_unix_s // DAY_S)
        connection = self._money
        for statement in SCHEMA:
            connection.execute(statement)
        there = {name for (name,) in connection.execute(HAS_COLUMNS)}
        for column in COLUMNS:
            if column not in there:
                connection.execute(ADD_COLUMN.format(column))
        if connection.execute(HAS_OWNER).fetchone() == (0,):
            connection.execute(ADD_OWNER)
        for statement in INDICES:
            connection.execute(statement)
        if connection.execute(HAS_SUMS).fetchone() == (0,):
            for statement in SUMS:
                connection.execute(statement)
        connection.execute(EXPIRE, (self._worker, (day - 1) * DAY_S))

    def _spent(self, periods: Periods) -> Spent:
        starts = {"hour": periods.hour, "day": periods.day, "month": periods.month}
        usd = {period: [0.0, 0.0] for period in starts}
        for period, own, part in self._money.execute(SPENT, (self._worker, *starts.values())):
            usd[period][own] += part
        for at_unix_s, own, part in self._money.execute(HELD_OVER, (self._worker, periods.day - DAY_S, periods.hour)):
            for period, start in starts.items():
                if start - RUNS_ON_S[period] <= at_unix_s < start:
                    usd[period][own] += part
        others, mine = ({period: each[own] for period, each in usd.items()} for own in (False, True))
        return Spent(periods, own=Dollars(**mine), others=Dollars(**others))

    def _carry_out(self, move: Reserve | Settle) -> LedgerError | None:
        try:
            if isinstance(move, Reserve):
                return self._reserve(move)
            self._money.execute(SETTLE, (move.usd, move.id))
        except (*BAD_VALUE, sqlite3.IntegrityError) as cause:
            return LedgerError(str(cause), self._path)
        return None

    def _reserve(self, wish: Reserve) -> LedgerError | None:
        error = refused(wish, self._spent(periods_at(wish.at_unix_s)))
        if error is not None:
            return error
        self._money.execute(RESERVE, (wish.id, wish.at_unix_s, wish.target, wish.usd, self._worker))
        return None

    def _insert(self, rows: Sequence[Outcome]) -> int:
        """How many could not be written. A row with a value that SQLite does not take is left out alone."""
        try:
            self._rows.execute(INSERT[len(rows)], list(chain.from_iterable(map(astuple, rows))))
        except BAD_VALUE:
            return 1 if len(rows) == 1 else sum(self._insert((row,)) for row in rows)
        return 0

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Nobody else writes from its beginning to its end."""
        try:
            with self._our_errors():
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    yield
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except LedgerError as error:
            self.trouble = error
            raise
        self.trouble = None

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if _is_busy(error):
                raise LedgerBusy("another program keeps it locked", self._path, "end that program") from error
            why = str(error) if isinstance(error, sqlite3.Error) else error.strerror or type(error).__name__
            advice = "free space there or remove the file to start a new one"
            raise LedgerError(why, self._path, advice) from error


def read_compared(path: Path, arms: tuple[str, str], since_unix_s: float) -> list[Outcome]:
    """Rows of a comparison's arms, control and trial, and of the requests that were copied. Raises LedgerError."""
    return [Outcome(*row) for row in _read(path, COMPARED, (since_unix_s, *arms))]


def read_arms(path: Path, since_unix_s: float) -> list[str]:
    """The arms that there are rows of. Raises LedgerError."""
    return sorted(str(arm) for (arm,) in _read(path, ARMS, (since_unix_s,)))


def read_wanted(path: Path, since_unix_s: float) -> list[tuple[int, float]]:
    """What hours since then, each told by its first second, have cost, and would have if money had not been short.
    Raises LedgerError."""
    return [(int(start), float(usd)) for start, usd in _read(path, WANTED, (since_unix_s,))]


def _read(path: Path, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    """Of a ledger that somebody else may be writing. One that is too old to have compared anything has no rows."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", PATIENCE_S, uri=True)) as connection:
            there = {name for (name,) in connection.execute(HAS_COLUMNS)}
            return connection.execute(query, values).fetchall() if there.issuperset(COLUMNS) else []
    except sqlite3.Error as error:
        raise LedgerError(f"cannot be read ({error})", path, "name the ledger.sqlite3 of a router's home") from error


def _portions(rows: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Cut into lengths that there is a statement for: powers of two, so that the rest takes few statements too."""
    start = 0
    while left := len(rows) - start:
        size = min(MOST_ROWS, 1 << (left.bit_length() - 1))
        yield rows[start : start + size]
        start += size


def _enter_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for its turn here when several processes open a new file together, so this does."""
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > until_s:
                raise
        time.sleep(AGAIN_S)


def _is_busy(error: Exception) -> bool:
    name = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
