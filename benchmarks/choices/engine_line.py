"""The bare client: connections to the engine as asyncio protocols that parse with httptools and call back."""

import asyncio
from typing import NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import httptools

from benchmarks.choices.relay import URL


class Head(NamedTuple):
    """The start of an answer; `length` is None for a stream."""

    status: int
    content_type: bytes
    length: int | None


class Sink(Protocol):
    """Who asked. `received` comes at most once per read of the socket, `broken` instead of the rest."""

    def received(self, head: Head | None, body: bytes, done: bool) -> None: ...
    def broken(self) -> None: ...


class Line(asyncio.Protocol):
    """One connection to the engine, one exchange at a time; it puts itself back into the pool after each."""

    transport: asyncio.Transport

    def __init__(self, idle: "list[Line]") -> None:
        self._idle = idle
        self._sink: Sink | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._content_type = b""
        self._length: int | None = None
        self._keeps_alive = False
        self._head: Head | None = None
        self._body: list[bytes] = []
        self._done = False

    def send(self, sink: Sink, request: bytes) -> None:
        self._sink = sink
        self.transport.write(request)

    def hang_up(self) -> None:
        self._sink = None
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport, so this cannot be checked.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        if self._sink is not None:
            self._sink.broken()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()
            return
        sink, head, body, done = self._sink, self._head, b"".join(self._body), self._done
        if sink is None or not (head or body or done):
            return
        self._head, self._done = None, False
        self._body.clear()
        # Back in the pool before the sink hears of the end, which may ask at once again.
        if done:
            self._sink = None
            if self._keeps_alive:
                self._idle.append(self)
            else:
                self.transport.close()
        sink.received(head, body, done)

    def on_message_begin(self) -> None:
        self._content_type, self._length = b"application/json", None

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._content_type = value
        elif name == b"content-length":
            self._length = int(value)

    # The parser forgets the framing with the end of the message and then says that every connection must close.
    def on_headers_complete(self) -> None:
        self._keeps_alive = self._parser.should_keep_alive()
        self._head = Head(self._parser.get_status_code(), self._content_type, self._length)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._done = True


class Lines:
    """The pool: the last connection used is the next one taken."""

    def __init__(self) -> None:
        parts = urlsplit(URL)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._start = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n".encode()
        self._idle: list[Line] = []

    def request(self, body: bytes) -> bytes:
        return b"%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (self._start, len(body), body)

    def take(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line.transport.is_closing():
                return line
        return None

    async def dial(self) -> Line:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self._idle), self._host, self._port)
        return line
