"""One request and its answer between two bare protocols: bytes in one callback, bytes out of the same."""

import asyncio
from collections.abc import Callable

from benchmarks.choices.engine_line import Head, Line, Lines

BROKEN = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Exchange:
    """It writes to the client's transport itself and calls `ended` once the whole answer is written."""

    def __init__(self, transport: asyncio.Transport, lines: Lines, ended: Callable[[], None]) -> None:
        self._transport = transport
        self._lines = lines
        self._ended = ended
        self._line: Line | None = None
        self._dial: asyncio.Task[None] | None = None
        self._begun = self._chunked = False

    def ask(self, body: bytes) -> None:
        request = self._lines.request(body)
        self._line = self._lines.take()
        if self._line is None:
            self._dial = asyncio.ensure_future(self._ask_anew(request))
        else:
            self._line.send(self, request)

    async def _ask_anew(self, request: bytes) -> None:
        try:
            self._line = await self._lines.dial()
        except OSError:
            self.broken()
        else:
            self._line.send(self, request)

    def received(self, head: Head | None, body: bytes, done: bool) -> None:
        written = b""
        if head is not None:
            self._begun, self._chunked = True, head.length is None
            written = head_bytes(head)
        if self._chunked and body:
            written += b"%x\r\n%b\r\n" % (len(body), body)
        elif body:
            written += body
        if self._chunked and done:
            written += b"0\r\n\r\n"
        self._transport.write(written)
        if done:
            self._ended()

    def broken(self) -> None:
        if self._begun:
            self._transport.abort()
        else:
            self._transport.write(BROKEN)
            self._transport.close()

    def leave(self) -> None:
        if self._line is not None:
            self._line.hang_up()
        elif self._dial is not None:
            self._dial.cancel()

    # A slow client stops the reading of its own answer only.
    def pause(self) -> None:
        if self._line is not None:
            self._line.transport.pause_reading()

    def resume(self) -> None:
        if self._line is not None and not self._line.transport.is_closing():
            self._line.transport.resume_reading()


def head_bytes(head: Head) -> bytes:
    framing = b"transfer-encoding: chunked" if head.length is None else b"content-length: %d" % head.length
    return b"HTTP/1.1 %d \r\ncontent-type: %b\r\n%b\r\n\r\n" % (head.status, head.content_type, framing)
