"""Two calls for one answer: where the first is silent for long, a second is made, and whoever answers first is heard.

Both are errands of their own under the one that asks. Who is not heard is cancelled, and its end is awaited, so that
what it costs is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from router.errand import Errand, Wait

T = TypeVar("T")


class Runner(Generic[T]):
    """One call. `tell` is called when it is over: it has a result then, or an error."""

    __slots__ = ("_errand", "_tell", "error", "result")

    def __init__(self, coroutine: Coroutine[Any, Any, T], tell: Callable[[], None]) -> None:
        self.result: T | None = None
        self.error: BaseException | None = None
        self._tell = tell
        self._errand = Errand(self._carried_out(coroutine))

    @property
    def is_over(self) -> bool:
        return self.result is not None or self.error is not None

    def run(self) -> None:
        self._errand.run()

    def cancel(self) -> None:
        self._errand.cancel()

    async def _carried_out(self, coroutine: Coroutine[Any, Any, T]) -> None:
        try:
            self.result = await coroutine
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
        self._tell()


class Race(Generic[T]):
    """Belongs to the errand that runs it. `discard` is given an answer that nobody is there to hear."""

    def __init__(self, discard: Callable[[T], object]) -> None:
        self._discard = discard
        self._runners: list[Runner[T]] = []
        self._news: Wait[None] = Wait()
        self._heard: Runner[T] | None = None
        self._is_due = False

    async def run(
        self, first: Coroutine[Any, Any, T], after_s: float, second: Callable[[], Coroutine[Any, Any, T] | None]
    ) -> T:
        """`second` is asked for once the first has been silent for so long; None: there is none. An error of one is
        that of both where the other fails as well: the first's is raised."""
        timer = asyncio.get_running_loop().call_later(after_s, self._due)
        try:
            self._start(first)
            await self._until(lambda: self._is_due or self._is_over())
            if not self._is_over() and (again := second()) is not None:
                self._start(again)
            await self._until(self._is_over)
            self._heard = next((each for each in self._runners if each.result is not None), None)
        finally:
            timer.cancel()
            await self._end()
        if self._heard is None or self._heard.result is None:
            error = self._runners[0].error
            assert error is not None
            raise error
        return self._heard.result

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> None:
        runner = Runner(coroutine, self._tell)
        self._runners.append(runner)
        runner.run()

    def _is_over(self) -> bool:
        """Whether somebody has answered, or nobody will."""
        return any(each.result is not None for each in self._runners) or all(each.is_over for each in self._runners)

    async def _end(self) -> None:
        for each in self._runners:
            if each is not self._heard and not each.is_over:
                each.cancel()
        await self._until(lambda: all(each.is_over for each in self._runners))
        for each in self._runners:
            if each is not self._heard and each.result is not None:
                self._discard(each.result)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news = Wait()
            await self._news

    def _due(self) -> None:
        self._is_due = True
        self._tell()

    def _tell(self) -> None:
        self._news.done(None)
