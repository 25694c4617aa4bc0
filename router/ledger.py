"""What every request cost and why it ran where it ran; and the money that may still be spent, by hour, day and month.

The event loop never waits for the disk: one thread owns the file (`router.books`). Rows gather for a moment and are
written together. Money is set aside on disk before a cloud call; what a crash leaves unsettled counts as spent when
the same worker opens the ledger again, so no crash makes money come back.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

import structlog
from msgspec import Struct

from router.books import Books
from router.moves import BudgetSpent, LedgerBusy, LedgerError, Reserve, Settle
from router.outcome import Outcome
from router.spilling.periods import NO_CAP, NO_CAPS, Dollars, Periods, periods_at

__all__ = ["BudgetSpent", "Ledger", "LedgerError", "Outcome"]

# Rows wait this long for others: one transaction for all of them is what makes a row cheap. A longer wait would only
# lengthen the writer's bursts, and what a killed process loses.
GATHER_S = 0.05
# Settlements that a full disk refused are tried again; until then the whole reservation counts.
RETRY_S = 1.0
# When somebody asks and the others' sum is older than this, it is looked up again for the next one who asks.
FRESH_S = 0.5
CLOSING_TRIES = 3
# On a disk that is nearly full some writes go well: what fails so soon after a failure is no news.
EPISODE_S = 10.0
# So many rows wait at most when the disk does not answer; further ones are lost and counted.
MOST_WAITING = 100_000


log = structlog.get_logger()


class _Sign(Enum):
    """Rows have come; somebody wants to know what the others have spent; write what waits and end."""

    ROWS = 1
    LOOK = 2
    STOP = 3


class _Waiting(Struct, frozen=True):
    """Somebody waits for the money to be set aside, or with None for a look at what the others have spent."""

    reserve: Reserve | None
    done: asyncio.Future[None]


_Call = _Sign | _Waiting | Settle


class Ledger:
    """The open ledger of one router process. Several may have the same file open, each with its own `worker`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, worker: int = 0) -> None:
        """Raises LedgerError."""
        self._clock = clock
        self._rows: list[Outcome] = []
        self._dropped = 0
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        # By reservation: dollars, and when they were set aside.
        self._held: dict[str, tuple[float, float]] = {}
        self._late: list[Settle] = []
        now_unix_s = clock()
        self._books = Books(path, worker, now_unix_s)
        self._was_failing, self._failed_s = False, -math.inf
        self._spent = self._books.spent(now_unix_s)
        self._looked_unix_s = self._fresh_until_unix_s = now_unix_s
        self._periods, self._own = self._spent.periods, self._spent.own
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    @property
    def lost_outcomes(self) -> int:
        """Outcomes that could not be written; the requests themselves were served."""
        return self._dropped + self._books.lost_rows

    @property
    def trouble(self) -> str:
        """Why nothing could be written when it was tried last; "" where it could."""
        trouble = self._books.trouble
        return "" if trouble is None else trouble.why

    @property
    def spent(self) -> Dollars:
        """In each running period, with what is set aside for calls under way. This worker's part is exact, the others'
        about a second old."""
        own, others = self._own_now(), self._spent.others
        return Dollars(own.hour + others.hour, own.day + others.day, own.month + others.month)

    def left_usd(self, caps: Dollars) -> float:
        """What the tightest of the caps leaves. Each request asks it."""
        own, others = self._own_now(), self._spent.others
        left = caps.day - own.day - others.day
        if caps.hour != NO_CAP:
            left = min(left, caps.hour - own.hour - others.hour)
        return left if caps.month == NO_CAP else min(left, caps.month - own.month - others.month)

    async def refresh(self) -> None:
        """Look up what the others have spent: for a reader that asks seldom. Raises LedgerError when closed."""
        self._turn(self._clock())
        await self._answer(None)

    async def reserve(self, reservation: str, target: str, usd: float, caps: Dollars = NO_CAPS) -> None:
        """Set money aside, on disk before it returns. Raises BudgetSpent or another LedgerError.

        What all workers have spent and set aside in the running hour, day and month stays within `caps`, whoever asks
        at the same time.
        """
        if not math.isfinite(usd):
            # It would make every sum that it enters worthless.
            raise LedgerError(f"{target}: {usd} is no amount that can be set aside; look at its price in stack.toml")
        now_unix_s = self._clock()
        self._turn(now_unix_s)
        self._held[reservation] = (usd, now_unix_s)
        self._own = _with(self._own, usd, usd, usd)
        try:
            await self._answer(Reserve(reservation, now_unix_s, target, usd, caps))
        except BaseException:
            # It may be on disk all the same: when the caller gave up, or the disk failed after it had written.
            self.settle(reservation, 0.0)
            raise

    def settle(self, reservation: str, usd: float) -> None:
        """Replace what was set aside by what it cost. It counts in the periods in which it was set aside."""
        now_unix_s = self._clock()
        self._turn(now_unix_s)
        held_usd, at_unix_s = self._held.pop(reservation, (0.0, now_unix_s))
        hour, day, month = ((usd if at_unix_s >= start else 0.0) - held_usd for start in _starts(self._periods))
        self._own = _with(self._own, hour, day, month)
        self._calls.put(Settle(reservation, usd))

    def record(self, outcome: Outcome) -> None:
        """Have it written within a moment. Costs the event loop next to nothing."""
        rows = self._rows
        if len(rows) >= MOST_WAITING:
            self._dropped += 1
            return
        rows.append(outcome)
        if len(rows) == 1:
            self._calls.put(_Sign.ROWS)

    def close(self) -> None:
        """Write what is waiting and stop."""
        self._calls.put(_Sign.STOP)
        self._thread.join()

    async def _answer(self, reserve: Reserve | None) -> None:
        if not self._thread.is_alive():
            raise LedgerError("the ledger is closed; the router is stopping")
        done = asyncio.get_running_loop().create_future()
        self._calls.put(_Waiting(reserve, done))
        await asyncio.shield(done)

    def _own_now(self) -> Dollars:
        now_unix_s = self._clock()
        if not self._looked_unix_s <= now_unix_s < self._fresh_until_unix_s:
            self._look_again(now_unix_s)
        return self._own

    def _look_again(self, now_unix_s: float) -> None:
        self._turn(now_unix_s)
        self._looked_unix_s = now_unix_s
        self._fresh_until_unix_s = min(now_unix_s + FRESH_S, self._periods.hour_ends)
        self._calls.put(_Sign.LOOK)

    def _turn(self, now_unix_s: float) -> None:
        if self._periods.hour <= now_unix_s < self._periods.hour_ends:
            return
        before, now = self._periods, periods_at(now_unix_s)
        # What is still held counts in every period until it is settled.
        held_usd = sum(usd for usd, _ in self._held.values())
        own = self._own
        self._own = Dollars(
            held_usd,
            own.day if now.day == before.day else held_usd,
            own.month if now.month == before.month else held_usd,
        )
        self._periods = now

    # From here on: the writer's thread. It shares with the loop's only `_calls`, `_rows`, to whose end the loop
    # appends, and what it replaces as a whole: `_spent`.

    def _write_all(self) -> None:
        calls: list[_Call] = []
        while _Sign.STOP not in calls:
            calls = self._next_calls()
            self._do_money(calls)
            self._write_rows()
            self._tell()
        for _ in range(CLOSING_TRIES):
            if self._late or self._rows:
                self._do_money([])
                self._write_rows()
        self._books.lost_rows += len(self._rows)
        self._books.close()

    def _tell(self) -> None:
        """One line for each time in which nothing can be written, however long it lasts."""
        trouble, now_s = self._books.trouble, time.monotonic()
        if trouble is not None:
            if not self._was_failing and now_s - self._failed_s > EPISODE_S:
                log.warning("the ledger cannot be written: no cloud is asked, and rows are lost", why=str(trouble))
            self._failed_s = now_s
        self._was_failing = trouble is not None

    def _next_calls(self) -> list[_Call]:
        """Sleep until something is asked, then wait for more, unless somebody waits for an answer."""
        calls: list[_Call] = []
        with suppress(queue.Empty):
            calls.append(self._calls.get(timeout=RETRY_S if self._late else None))
            until_s = time.monotonic() + GATHER_S
            while not (isinstance(calls[-1], _Waiting) or calls[-1] is _Sign.STOP):
                calls.append(self._calls.get(timeout=max(0.0, until_s - time.monotonic())))
        with suppress(queue.Empty):
            while True:
                calls.append(self._calls.get_nowait())
        return calls

    def _do_money(self, calls: Sequence[_Call]) -> None:
        """Settlements that could not be written before, then all calls in the order in which they came."""
        asked = [call for call in calls if not isinstance(call, _Sign)]
        steps = [*self._late, *(call.reserve if isinstance(call, _Waiting) else call for call in asked)]
        errors = self._carry_out([step for step in steps if step is not None])
        if steps or _Sign.LOOK in calls:
            # A look that fails leaves the last one standing.
            with suppress(LedgerError):
                self._spent = self._books.spent(self._clock())
        for call in asked:
            if isinstance(call, _Waiting):
                _resolve(call.done, errors.get(call.reserve.id) if call.reserve else None)

    def _carry_out(self, moves: Sequence[Reserve | Settle]) -> dict[str, LedgerError]:
        """Why which reservations were not made."""
        self._late = []
        try:
            return self._books.carry_out(moves) if moves else {}
        except LedgerError as error:
            self._late = [move for move in moves if isinstance(move, Settle)]
            return {move.id: error for move in moves if isinstance(move, Reserve)}

    def _write_rows(self) -> None:
        rows = self._rows
        batch = rows[:]
        if not batch:
            return
        # While another program keeps the file locked they go on waiting.
        with suppress(LedgerBusy):
            self._books.write(batch)
            del rows[: len(batch)]
        if rows:
            self._calls.put(_Sign.ROWS)


def _resolve(done: asyncio.Future[None], error: LedgerError | None) -> None:
    def resolve() -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    # A loop that has ended has nobody left who waits.
    with suppress(RuntimeError):
        done.get_loop().call_soon_threadsafe(resolve)


def _with(spent: Dollars, hour: float, day: float, month: float) -> Dollars:
    return Dollars(spent.hour + hour, spent.day + day, spent.month + month)


def _starts(periods: Periods) -> tuple[int, int, int]:
    return periods.hour, periods.day, periods.month
