"""From a process that runs to an engine that serves, or to why it never will."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from engines.kinds.kind import NotServableError
from engines.life.course import Course
from engines.life.lifecycle import Event
from engines.life.run import Run
from engines.starting import failure
from engines.starting.effort import Patience, effort
from engines.starting.launch import LOOPBACK

POLL_S = 0.25
# A first completion may compile kernels.
FIRST_TOKEN_S = 120.0
# A server that is there and answers nothing, or answers with another's name, for so long.
WRONG_S = 10.0
CONNECT_S = 1.0


class Arrival:
    """One run on its way. `is_wanted` says whether anybody still waits for it; `quiet_s`: how long it may do nothing.

    The log only colours the way: with a full disk there is none, and an engine that answers is ready all the same.
    """

    def __init__(self, run: Run, course: Course, quiet_s: float, is_wanted: Callable[[], bool]) -> None:
        self._run, self._course, self._is_wanted = run, course, is_wanted
        self._patience = Patience(time.monotonic(), quiet_s)
        self._wrong_since_s: float | None = None

    async def __call__(self) -> bool:
        """Follow the log and try the door until a completion comes back (then True), the process ends, nobody wants it
        any more, or nothing happens for too long (then the run is condemned)."""
        asking: asyncio.Task[bool] | None = None
        try:
            while not self._run.ended.done() and not self._run.verdict and self._is_wanted():
                if self._run.follow(self._course):
                    self._patience.heard(time.monotonic())
                asking = asking or asyncio.create_task(self._serves())
                await asyncio.wait({self._run.ended, asking}, timeout=POLL_S)
                if asking.done():
                    if await asking and self._is_wanted():
                        return True
                    asking = None
                    await asyncio.wait({self._run.ended}, timeout=POLL_S)
                self._end_if_hung()
            return False
        finally:
            if asking:
                asking.cancel()

    async def _serves(self) -> bool:
        try:
            if not await self._run.pulse.prepare(self._say):
                return await self._is_silent()
        except NotServableError as error:
            self._run.condemn(failure.not_servable(error))
            return False
        if not await self._run.pulse.is_ours():
            self._wrong("another program answers at its port", is_stranger=True)
            return False
        self._wrong_since_s = None
        return await self._run.pulse.completes(FIRST_TOKEN_S)

    def _say(self, words: str, event: Event | None = None) -> None:
        if words != self._course.progress:
            self._patience.heard(time.monotonic())
        self._course.say(words, event)

    async def _is_silent(self) -> bool:
        """One that was found and had loaded must answer: vLLM listens only once it has. Always False."""
        if self._run.is_adopted and await _listens(self._run.note.port):
            self._wrong("its server does not answer", is_stranger=False)
        else:
            self._wrong_since_s = None
        return False

    def _wrong(self, words: str, is_stranger: bool) -> None:
        now_s = time.monotonic()
        self._wrong_since_s = self._wrong_since_s or now_s
        if now_s - self._wrong_since_s > WRONG_S:
            self._run.condemn(failure.stranger(words) if is_stranger else failure.hung(words))

    def _end_if_hung(self) -> None:
        now_s = time.monotonic()
        if self._patience.wants_look(now_s):
            self._patience.saw(effort(self._run.kept.keeper_pid), now_s)
        if (quiet_s := self._patience.quiet_for_s(now_s)) is not None:
            self._run.condemn(failure.hang(self._course.progress, quiet_s))


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), CONNECT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
