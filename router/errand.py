"""A coroutine carried on by callbacks instead of an asyncio task: it runs at once, and goes on the moment it can.

A task starts one turn of the loop late, wakes up one turn late, and with its future costs about ten microseconds: a
fifth of all that a request may cost. An Errand is the same coroutine without the turns. What it awaits is a Wait; what
needs a task (other libraries, timeouts, a new connection) is awaited through `in_task`.

Whoever settles a Wait runs the coroutine that waits for it, there and then, up to its next wait. So `done` and `fail`
come last in whatever calls them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Wait(Generic[T]):
    """Settled once, with a value or with an error; whoever settles it again is not heard. Awaited by one Errand."""

    __slots__ = ("_error", "_resume", "_value", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._resume: Callable[[], None] | None = None

    def done(self, value: T) -> None:
        if not self.settled:
            self._value = value
            self._settle()

    def fail(self, error: BaseException) -> None:
        if not self.settled:
            self._error = error
            self._settle()

    def then(self, resume: Callable[[], None] | None) -> None:
        self._resume = resume

    def _settle(self) -> None:
        self.settled = True
        resume, self._resume = self._resume, None
        if resume is not None:
            resume()

    def __await__(self) -> Generator[Wait[T], None, T]:
        if not self.settled:
            yield self
        if self._error is not None:
            raise self._error
        # It was settled, so this is the value, whatever the type of T allows.
        return cast(T, self._value)


class Errand:
    """Runs `coroutine`, which lets no exception out but the CancelledError that `cancel` throws into it."""

    __slots__ = ("_coroutine", "_running", "_wait", "is_over")

    def __init__(self, coroutine: Coroutine[Wait[Any], None, None]) -> None:
        self._coroutine = coroutine
        self._wait: Wait[Any] | None = None
        self._running = False
        self.is_over = False

    def run(self) -> None:
        """Start, or go on."""
        self._drive(None)

    def cancel(self) -> None:
        """Raise CancelledError where it waits. Nothing happens when it is over, or when it is itself that calls."""
        if self.is_over or self._running:
            return
        if self._wait is not None:
            # What it waited for may still be settled; nobody must be woken by that.
            self._wait.then(None)
        self._drive(asyncio.CancelledError())

    def _drive(self, error: BaseException | None) -> None:
        self._running = True
        self._wait = None
        try:
            self._wait = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except (StopIteration, asyncio.CancelledError):
            self.is_over = True
        finally:
            self._running = False
        if self._wait is not None:
            self._wait.then(self.run)


async def in_task(coroutine: Coroutine[Any, Any, T], abandon: Callable[[T], object] | None = None) -> T:
    """The result of what only a task can run.

    If the errand is cancelled meanwhile, so is the task, and its end is awaited. Where it succeeds all the same,
    `abandon` is given the result that nobody is there to take.
    """
    wait: Wait[None] = Wait()
    task = asyncio.ensure_future(coroutine)
    task.add_done_callback(lambda _: wait.done(None))
    try:
        await wait
    except asyncio.CancelledError:
        task.cancel()
        await wait
        # How it ended is read in any case, or asyncio warns of an error that nobody waits for.
        if not task.cancelled() and task.exception() is None and abandon is not None:
            abandon(task.result())
        raise
    return task.result()
