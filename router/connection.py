"""One HTTP/1.1 connection to an engine, kept alive from one answer to the next. httptools parses; nothing is decoded.

Chunks that are plain (`router.chunks`) go straight to the client's socket. The parser is not shown them: between two
chunks its state is the same whether it saw the first one or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools
import msgspec

from router.chunks import plain_chunks
from router.outbox import Outbox

INFORMATIONAL = 200


class Origin(msgspec.Struct, frozen=True):
    """Where an engine listens. `authority` is what the `host` header says, `path` what stands before `/v1`."""

    host: str
    port: int
    tls: bool
    authority: str
    path: str


class Answer(Protocol):
    """Who reads the answer to the one request under way. `wire` takes plain chunks; None where they must be read."""

    wire: Callable[[bytes], None] | None

    def head(self, status: int, content_type: str, retry_after: str | None) -> None:
        """The answer begins."""

    def piece(self, body: bytes) -> None:
        """Bytes of its body."""

    def passed(self, events: int) -> None:
        """So many events are about to go through `wire`."""

    def whole(self) -> None:
        """The last byte of it was read."""

    def lost(self, began: bool, why: str) -> None:
        """There will be no more of it. `began`: the engine had answered something."""


class Connection(asyncio.Protocol):
    """Used by one Answer at a time. `on_free` hears when it can carry the next request, `on_lost` when it is gone."""

    __slots__ = (
        "_answer",
        "_began",
        "_between_chunks",
        "_chunk_over",
        "_headers",
        "_is_whole",
        "_on_free",
        "_on_lost",
        "_outbox",
        "_parser",
        "_paused",
        "_pieces",
        "_spoiled",
        "_stays_open",
        "_until_close",
        "idle_since_s",
        "origin",
        "transport",
        "used",
    )

    def __init__(
        self,
        origin: Origin,
        outbox: Outbox,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.origin = origin
        self._outbox = outbox
        self.transport: asyncio.Transport | None = None
        self.used = False
        self.idle_since_s = 0.0
        self._on_free = on_free
        self._on_lost = on_lost
        self._answer: Answer | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._began = self._is_whole = self._until_close = self._spoiled = self._paused = False
        self._stays_open = False
        # True while the next byte is the first of a chunk's size.
        self._between_chunks = self._chunk_over = False

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def send(self, request: bytes, answer: Answer) -> None:
        if self.transport is None:
            answer.lost(False, "the connection was closed at once")
            return
        self._answer = answer
        self._began = self._is_whole = self._until_close = self._between_chunks = False
        self._headers.clear()
        self._outbox.send(self.transport, request)

    def hang_up(self) -> None:
        """Close at once. Whoever waits for an answer is not told: it is he who hangs up."""
        self._answer = None
        if self.transport is not None:
            self.transport.abort()

    def pause(self) -> None:
        """Read no more for now: what the engine sends then waits in the sockets, and at last in the engine."""
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Nothing was asked: the engine says good-bye (408), or talks out of turn.
            self.hang_up()
            return
        if self._between_chunks and (wire := answer.wire) is not None and (events := plain_chunks(data)):
            answer.passed(events)
            wire(data)
            return
        self._read(answer, data)

    def eof_received(self) -> None:
        """Closes the transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        # The parser holds on to the methods that it calls: without it there is no ring for the garbage collector.
        del self._parser
        self._on_lost(self)
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if self._until_close and exc is None:
            answer.whole()
        else:
            how = "reset" if exc else "closed"
            when = "in the middle of the answer" if self._began else "before an answer"
            answer.lost(self._began, f"the connection was {how} {when}")

    def _read(self, answer: Answer, data: bytes) -> None:
        self._began = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_whole:
                self.hang_up()
                answer.lost(True, f"its answer is not HTTP: {error}")
                return
            # What follows an answer is nobody's; but what it answered is an answer all the same.
            self._spoiled = True
        self._between_chunks = self._chunk_over and data.endswith(b"\r\n")
        if self._pieces:
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            answer.piece(body)
        # The reader may have hung up on what it read.
        if self._is_whole and self._answer is answer:
            self._finish(answer)

    def _finish(self, answer: Answer) -> None:
        self._answer = None
        if self._stays_open and self.is_open and not self._spoiled:
            self.resume()
            self.used = True
            self._on_free(self)
        elif self.transport is not None:
            self.transport.close()
        answer.whole()

    # What httptools calls.

    def on_message_begin(self) -> None:
        # A second answer to one request: whoever came next would take it for his own.
        self._spoiled = self._spoiled or self._is_whole
        self._headers.clear()
        self._chunk_over = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < INFORMATIONAL or self._answer is None or self._is_whole:
            return
        headers = self._headers
        self._until_close = b"content-length" not in headers and b"transfer-encoding" not in headers
        retry_after = headers.get(b"retry-after")
        self._answer.head(
            status,
            headers.get(b"content-type", b"application/json").decode("latin-1"),
            None if retry_after is None else retry_after.decode("latin-1"),
        )

    def on_chunk_header(self) -> None:
        self._chunk_over = False

    def on_chunk_complete(self) -> None:
        self._chunk_over = True

    def on_body(self, body: bytes) -> None:
        if not self._is_whole:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= INFORMATIONAL:
            self._is_whole = True
            # The parser knows this only now: a moment later it has forgotten the message.
            self._stays_open = self._parser.should_keep_alive()
