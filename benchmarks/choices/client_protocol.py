# /// script
# requires-python = ">=3.11"
# dependencies = ["httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""The bare client behind the coroutines that ASGI wants: what ASGI costs once the client costs little."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.choices.engine_line import Head, Line, Lines
from benchmarks.choices.relay import Answer, Post
from benchmarks.choices.shell import serve

HIGH_WATER_BYTES = 65536


class Inbox:
    """What arrived and was not yet taken. It stops reading from the engine while a slow client's share is full."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pieces: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self._broken = False
        self.head: Head | None = None
        self.done = False

    def received(self, head: Head | None, body: bytes, done: bool) -> None:
        self.head = head or self.head
        self.done = done
        if body:
            self._pieces.append(body)
            if not done and sum(map(len, self._pieces)) > HIGH_WATER_BYTES:
                self._line.transport.pause_reading()
        self._wake()

    def broken(self) -> None:
        self._broken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def more(self) -> None:
        if not self._broken:
            self._line.transport.resume_reading()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._broken:
            raise ConnectionError("the engine hung up before the end of its answer")

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            if self._pieces:
                piece = b"".join(self._pieces)
                self._pieces.clear()
                yield piece
            elif self.done:
                return
            else:
                await self.more()


@asynccontextmanager
async def open_client() -> AsyncIterator[Post]:
    lines = Lines()

    @asynccontextmanager
    async def post(body: bytes) -> AsyncIterator[Answer]:
        line = lines.take() or await lines.dial()
        inbox = Inbox(line)
        line.send(inbox, lines.request(body))
        try:
            while inbox.head is None:
                await inbox.more()
            status, content_type, length = inbox.head
            yield Answer(status, content_type.decode(), length, inbox.pieces())
        finally:
            if not inbox.done:
                line.hang_up()

    yield post


if __name__ == "__main__":
    serve(open_client)
