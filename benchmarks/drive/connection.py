"""One keep-alive connection to the endpoint: sends a request, feeds its Exchange with what comes back.

The one door to the endpoint under load. It must not know why a request is sent or what its answer is worth.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol, cast

import httptools

from benchmarks.drive.exchange import Exchange
from benchmarks.drive.progress import Progress
from benchmarks.figures.errors import Failure

# A server may close an idle connection in the very moment in which it is used again: the request was never read then,
# and is sent once more. One that hangs up on a connection in use fails, and that is counted.
IDLE_S = 0.25
RACE_S = 0.1
FIRST_FINAL = 200


class Owner(Protocol):
    """Who keeps connections."""

    def made(self, connection: Connection) -> None:
        """It is open; it is not there before."""

    def freed(self, connection: Connection) -> None:
        """It can be asked the next."""

    def gone(self, connection: Connection) -> None:
        """It never can again."""

    def refused(self, exchange: Exchange) -> None:
        """This request was never read, and must be sent on another connection."""


class Connection(asyncio.Protocol):
    """A connection, and the request under way on it."""

    def __init__(self, progress: Progress, owner: Owner) -> None:
        self._progress = progress
        self._owner = owner
        self._parts: list[bytes] = []
        # A list takes what the parser finds without a call of Python.
        self.on_body = self._parts.append
        self._headers: dict[bytes, bytes] = {}
        self._is_whole = self._has_begun = self._was_idle = self._ends_by_close = self._keeps = False
        self._exchange: Exchange | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.is_lost = False
        self.idle_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._progress.connections += 1
        self._owner.made(self)

    def ask(self, exchange: Exchange) -> None:
        """Send its request. Only on a connection that is free."""
        self._headers = {}
        self._is_whole = self._has_begun = self._ends_by_close = False
        self._exchange = exchange
        self._was_idle = 0.0 < self.idle_since_s < exchange.sent_s - IDLE_S
        exchange.abandon = self._transport.abort
        self._transport.write(exchange.raw)

    def close(self) -> None:
        """Hang up. What is under way is dropped without a verdict."""
        self._exchange = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        now_s = monotonic()
        exchange = self._exchange
        if exchange is None or self._parser is None:
            # Said without having been asked: nothing that follows could be trusted.
            self._transport.abort()
            return
        self._has_begun = True
        wrong = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            wrong = error
        if self._parts:
            self._progress.events += exchange.body.take(self._parts, now_s)
            self._parts.clear()
        if wrong is not None:
            self._fail(now_s, Failure.FRAMING, f"the answer is not HTTP: {wrong.__context__ or wrong}")
        elif self._is_whole:
            self._end(exchange, now_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        """From the parser."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """From the parser."""
        if self._exchange is None or self._parser is None:
            return
        if self._is_whole:
            raise httptools.HttpParserError("two answers to one request")
        status = self._parser.get_status_code()
        if status < FIRST_FINAL:
            return
        headers = self._headers
        self._ends_by_close = b"content-length" not in headers and b"transfer-encoding" not in headers
        self._exchange.head(status, headers)

    def on_message_complete(self) -> None:
        """From the parser: the framing of the body says that it is whole."""
        if self._parser is not None and self._parser.get_status_code() < FIRST_FINAL:
            self._headers = {}
        else:
            self._is_whole = True
            # The parser forgets it as soon as it is back.
            self._keeps = self._parser is not None and self._parser.should_keep_alive()

    def connection_lost(self, error: Exception | None) -> None:
        """The endpoint has hung up, or we have."""
        now_s = monotonic()
        self.is_lost = True
        self._progress.connections -= 1
        self._owner.gone(self)
        exchange = self._exchange
        if exchange is not None and not exchange.is_over:
            if self._ends_by_close and error is None:
                self._exchange = None
                exchange.complete(now_s)
            elif self._was_idle and not self._has_begun and now_s - exchange.sent_s < RACE_S:
                self._exchange = None
                self._owner.refused(exchange)
            else:
                what = "in the middle of the answer" if self._has_begun else "before the answer"
                failure = Failure.FRAMING if self._has_begun else Failure.CONNECTION
                self._fail(now_s, failure, f"the connection was lost {what}: {error or 'closed by the endpoint'}")
        # The parser and we hold each other, and no collector runs during a measurement.
        self._parser = None

    def _end(self, exchange: Exchange, now_s: float) -> None:
        self._exchange = None
        self.idle_since_s = now_s
        # Free before the verdict, so that a user who asks again at once finds a connection.
        if self._keeps:
            self._owner.freed(self)
        else:
            self._transport.close()
        exchange.complete(now_s)

    def _fail(self, now_s: float, failure: Failure, message: str) -> None:
        exchange, self._exchange = self._exchange, None
        self._transport.abort()
        if exchange is not None:
            exchange.fail(now_s, failure, message)
