"""The answer of a cloud to one request: events that its SDK hands over one by one, passed on as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from router.errand import in_task
from router.errors import StreamBroken, TargetUnavailable
from router.patience import Patience
from router.quotas.learned import Told
from router.reply import Reading, Sink


class CloudReply:
    """`events` is the stream, if it is one; `release` lets go of the cloud, and is called once."""

    def __init__(
        self,
        reading: Reading,
        patience: Patience,
        body: bytes | None,
        events: AsyncGenerator[bytes, None] | None,
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self.target = reading.target
        self.content_type = "application/json" if events is None else "text/event-stream; charset=utf-8"
        self.body = body
        self.reading = reading
        # What its headers say of the provider's limits.
        self.told: Told | None = None
        self._patience = patience
        self._events = events
        self._release = release
        self._held = b""
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def until_first_token(self) -> None:
        """Raises TargetUnavailable if the stream fails before it has begun. A whole answer has begun already."""
        try:
            while self._events is not None and not self.reading.started:
                self._held += await self._next(self._events)
        except StreamBroken as error:
            raise TargetUnavailable(error.target, error.cause, error.message) from error

    async def relay(self, sink: Sink) -> None:
        await in_task(self._relay(sink))

    async def close(self) -> None:
        await in_task(self.let_go())

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    async def _relay(self, sink: Sink) -> None:
        assert self._events is not None, "a whole answer has nothing to relay"
        ready, self._held = self._held, b""
        while not self.reading.ended:
            if ready:
                sink.write(ready)
            if not self._may_read.is_set():
                await self._until_read()
            ready = await self._in_time(self._events)
        sink.end(ready)

    def abandon(self) -> None:
        """Let go of it later, when nobody waits."""
        self._letting_go = asyncio.ensure_future(self.let_go())

    async def let_go(self) -> None:
        try:
            if self._events is not None:
                await self._events.aclose()
        finally:
            await self._release()

    async def _until_read(self) -> None:
        """Unread events stay in the SDK's connection: its own flow control slows the cloud down."""
        try:
            async with asyncio.timeout(max(0.0, self._patience.whole_until_s - time.monotonic())):
                await self._may_read.wait()
        except TimeoutError as error:
            raise StreamBroken(self.target, "whole_answer", "the answer was not read in time") from error

    async def _in_time(self, events: AsyncGenerator[bytes, None]) -> bytes:
        left_s = self._patience.whole_until_s - time.monotonic()
        limit_s, cause = min((left_s, "whole_answer"), (self._patience.silence_s, "silence"))
        try:
            async with asyncio.timeout(max(0.0, limit_s)):
                return await self._next(events)
        except TimeoutError as error:
            message = f"no event within {limit_s:.3g} s" if cause == "silence" else "the answer was not whole in time"
            raise StreamBroken(self.target, cause, message) from error

    async def _next(self, events: AsyncGenerator[bytes, None]) -> bytes:
        """What the next event lets through. Raises StreamBroken when there is none, or when it says so."""
        event = await anext(events, None)
        if event is None:
            self.reading.over()
            ready = b""
        else:
            ready = self.reading.feed(event)
        if self.reading.failure is not None:
            raise self.reading.failure
        return ready
