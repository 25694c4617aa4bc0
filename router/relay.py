"""The way back to the client: relays a stream as it comes, ends a broken one with an error event, notices who left.

A client that leaves is noticed at once, before the first token and after it, because its request still occupies an
engine: closing the connection upstream is what frees the sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from router.attempts import broken
from router.errors import StreamBroken
from router.served import CLIENT_GONE, Doors, Served, settle
from router.sse import error_event

T = TypeVar("T")


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, or None, with `work` cancelled, when the client leaves first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        # First the work, without a pause: else it could finish in between, and nobody would settle what it opened.
        await _cancel(working)
        await _cancel(leaving)


class Relayed(Response):
    """A stream on its way. Settled exactly once, however it ends."""

    def __init__(self, doors: Doors, served: Served, arrived_s: float) -> None:
        headers = served.headers() | {"cache-control": "no-cache", "content-type": served.reply.content_type}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._doors = doors
        self._served = served
        self._arrived_s = arrived_s
        self._status = CLIENT_GONE
        self._error: str | None = "the client left"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pumping = asyncio.ensure_future(self._pump(send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({pumping, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if pumping.done():
                await pumping
        finally:
            await self._let_go(leaving, pumping)

    async def _let_go(self, *tasks: asyncio.Future[None]) -> None:
        try:
            for task in tasks:
                await _cancel(task)
            await self._served.reply.close()
        finally:
            settle(self._doors, self._served, self._arrived_s, self._status, self._error)

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for event in self._served.reply.rest(self._served.ask.wants_usage):
                await send({"type": "http.response.body", "body": event, "more_body": True})
            self._status, self._error = 200, None
        except StreamBroken as error:
            told = broken(error)
            self._status, self._error = told.status, told.message
            await send({"type": "http.response.body", "body": error_event(told), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Future[Any]) -> None:
    """Cancel and wait until it has let go of what it held. How it ended is read so that nobody warns of it later."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
