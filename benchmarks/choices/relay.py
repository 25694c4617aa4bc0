"""A relay as a raw ASGI application over any HTTP client, and what a client must offer for it."""

import asyncio
import os
from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

URL = os.environ.get("STUB_URL", "http://127.0.0.1:18000") + "/v1/chat/completions"
PORT = int(os.environ.get("PORT", "18300"))
JSON = {"content-type": "application/json"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Answer(NamedTuple):
    """What came back: the body's length in bytes where the engine gave one, else None and the answer is a stream."""

    status: int
    content_type: str
    length: int | None
    pieces: AsyncIterable[bytes]

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", self.content_type.encode())]
        if self.length is not None:
            headers.append((b"content-length", b"%d" % self.length))
        return headers


def length_of(value: str | None) -> int | None:
    return None if value is None else int(value)


# Sends one body to URL; leaving the context before the answer's end hangs up on the engine.
Post = Callable[[bytes], AbstractAsyncContextManager[Answer]]
# Opens the client's pool in the running loop and closes it again.
OpenClient = Callable[[], AbstractAsyncContextManager[Post]]


class Relay:
    """The ASGI application. It holds its client from the lifespan's startup to its shutdown."""

    def __init__(self, open_client: OpenClient) -> None:
        self._open_client = open_client
        self._post: Post | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._relay(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._open_client() as self._post:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _relay(self, receive: Receive, send: Send) -> None:
        body = await whole_body(receive)
        answering = asyncio.current_task()
        assert answering is not None

        # The next message after the body can only be the client's leaving.
        def left(watch: asyncio.Task[Message]) -> None:
            if not watch.cancelled():
                answering.cancel()

        watch = asyncio.ensure_future(receive())
        watch.add_done_callback(left)
        try:
            await self._answer(body, send)
        except asyncio.CancelledError:
            if not watch.done():
                raise
        finally:
            watch.remove_done_callback(left)
            watch.cancel()

    async def _answer(self, body: bytes, send: Send) -> None:
        assert self._post is not None
        async with self._post(body) as answer:
            await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers()})
            missing = answer.length
            async for piece in answer.pieces:
                if missing is not None:
                    missing -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": missing != 0})
            if missing != 0:
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def whole_body(receive: Receive) -> bytes:
    message = await receive()
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    pieces = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        pieces.append(message.get("body", b""))
    return b"".join(pieces)
