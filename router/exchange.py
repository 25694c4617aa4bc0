"""One request of the hot route and the response to it, on the client's connection. A Sink for what targets send.

Stands where uvicorn has its own cycle of request and response, so that keep-alive, pipelining and the drain at the end
stay uvicorn's; what goes out is written here, in as few pieces as can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import orjson
import structlog
from uvicorn.protocols.http.flow_control import FlowControl

from router.ask import Endpoint
from router.chunks import LAST_CHUNK, framed
from router.errand import Errand, Wait
from router.errors import ApiError
from router.outbox import Outbox
from router.sse import error_event

log = structlog.get_logger()

# Also of the statuses that nobody has named: an engine may refuse a request with any.
PHRASES = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES = {status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)}
CHUNKED = b"transfer-encoding: chunked\r\n"
FAULT = ApiError(500, "internal_error", "the router failed; its log has the traceback (`spillway logs router`)")
STOPPING = ApiError(503, "shutting_down", "the router is being stopped and cannot wait any longer; ask again")


class Flow(Protocol):
    """Whoever sends a stream, to be told when its client reads too slowly."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Client(Protocol):
    """The connection that the request came on."""

    transport: asyncio.Transport
    flow: FlowControl
    outbox: Outbox

    def common_headers(self) -> bytes:
        """The header lines of every response, each with its line end."""

    def read_on(self) -> None:
        """This request is whole; another one that came with it waits for its turn, and what follows in the socket."""

    def linger(self) -> None:
        """Close, though the client may still be sending."""

    def on_response_complete(self) -> None:
        """The next request may be answered."""


class Bell:
    """What uvicorn rings when more of the body is there, or when it is whole."""

    __slots__ = ("_wait",)

    def __init__(self) -> None:
        self._wait: Wait[None] | None = None

    def set(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.done(None)

    async def rung(self) -> None:
        self._wait = Wait()
        await self._wait


# The bell of a request whose body came with its head, as most do: nobody waits for it.
SILENT = Bell()


class Exchange:
    """`answer` is the coroutine that answers it: with `respond` or `refuse`, or with `begin`, `write` ... `end`.

    `wire` takes chunks of the stream as they are; None before the first `write`, and for clients that know no chunks.
    `body`, `more_body`, `message_event`, `keep_alive` and `response_complete` are what uvicorn uses of a cycle.
    """

    __slots__ = (
        "_answer",
        "_client",
        "_errand",
        "_expects_100",
        "_knows_chunks",
        "_source",
        "_unsent_head",
        "arrived_s",
        "body",
        "disconnected",
        "endpoint",
        "headers",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "wire",
    )

    def __init__(
        self, client: Client, endpoint: Endpoint, headers: Mapping[str, str], knows_chunks: bool, keep_alive: bool
    ) -> None:
        self.endpoint = endpoint
        self.headers = headers
        self.arrived_s = time.monotonic()
        self.wire: Callable[[bytes], None] | None = None
        self.body = bytearray()
        self.more_body = True
        self.message_event = SILENT
        self.keep_alive = keep_alive
        self.disconnected = self.response_started = self.response_complete = False
        self._client = client
        self._errand: Errand | None = None
        # A client that knows no chunks knows no informational response either.
        self._expects_100 = "expect" in headers and knows_chunks and headers["expect"].lower() == "100-continue"
        self._knows_chunks = knows_chunks
        self._source: Flow | None = None
        self._unsent_head = b""

    def run(self, answer: Callable[[Exchange], Coroutine[Any, Any, None]]) -> None:
        self._client.outbox.running.add(self)
        self._errand = Errand(self._run(answer))
        self._errand.run()

    def leave(self) -> None:
        """The client is gone: whoever works for it stops now."""
        self.disconnected = True
        self.stop()

    def stop(self) -> None:
        """The client is gone, or the time of the drain is over."""
        if self._errand is not None and not self.response_complete:
            self._errand.cancel()

    def pause(self) -> None:
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def read_body(self, most_bytes: int) -> bytes:
        """The whole body. Raises ApiError 413 as soon as it is known to be too long, not after it was read."""
        stated = self.headers.get("content-length", "")
        check_size(int(stated) if stated.isdigit() else 0, most_bytes)
        while self.more_body:
            check_size(len(self.body), most_bytes)
            if self._expects_100:
                self._expects_100 = False
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._client.flow.resume_reading()
            self.message_event = Bell()
            await self.message_event.rung()
        check_size(len(self.body), most_bytes)
        self._client.read_on()
        return bytes(self.body)

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole response. `lines` are header lines, each with its line end."""
        self.response_started = True
        data = b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head(status), lines, len(body), body)
        if self.keep_alive and not self.disconnected:
            self._client.outbox.send(self._client.transport, data)
        else:
            self._send(data)
        self._finish()

    def refuse(self, error: ApiError, lines: bytes = b"") -> None:
        """An error in the OpenAI envelope."""
        if self._expects_100 and self.more_body:
            # It may send its body now or not: what comes next could be either that or another request.
            self.keep_alive = False
        own = "".join(f"{name}: {value}\r\n" for name, value in error.headers().items())
        body = orjson.dumps(error.envelope())
        self.respond(error.status, b"content-type: application/json\r\n%b%b" % (own.encode(), lines), body)

    def begin(self, lines: bytes, source: Flow) -> None:
        """The head of a stream; it goes out together with the first events. `source` is told when to pause."""
        self.response_started = True
        if not self._knows_chunks:
            # The end of the connection is the end of the stream.
            self.keep_alive = False
        self._source = source
        self._unsent_head = b"%b%b%b\r\n" % (self._head(200), lines, CHUNKED if self._knows_chunks else b"")
        if self._client.flow.write_paused:
            source.pause()

    def write(self, events: bytes) -> None:
        self._send(self._take_head() + (framed(events) if self._knows_chunks else events))
        self.wire = self._client.transport.write if self._knows_chunks else None

    def end(self, events: bytes) -> None:
        self.wire = None
        last = (framed(events) if events else b"") + LAST_CHUNK if self._knows_chunks else events
        self._send(self._take_head() + last)
        self._finish()

    async def _run(self, answer: Callable[[Exchange], Coroutine[Any, Any, None]]) -> None:
        try:
            await answer(self)
        except asyncio.CancelledError:
            # Who held something has let go of it on the way here.
            self._give_up(STOPPING)
        except Exception:
            log.exception("the router failed", path=self.endpoint)
            self._give_up(FAULT)
        finally:
            self._client.outbox.running.discard(self)
            # The exchange, its errand and its source hold each other; none is left to the garbage collector.
            self._errand = self._source = self.wire = None
            self.body = bytearray()

    def _give_up(self, error: ApiError) -> None:
        if self.disconnected or self.response_complete or self._client.transport.is_closing():
            return
        if self.response_started:
            self.end(error_event(error))
        else:
            self.refuse(error)

    def _head(self, status: int) -> bytes:
        common = self._client.common_headers()
        return STATUS_LINES[status] + common + (b"" if self.keep_alive else b"connection: close\r\n")

    def _take_head(self) -> bytes:
        head, self._unsent_head = self._unsent_head, b""
        return head

    def _send(self, data: bytes) -> None:
        if not self.disconnected:
            self._client.outbox.flush()
            self._client.transport.write(data)

    def _finish(self) -> None:
        self.response_complete = True
        if self.disconnected:
            return
        if not self.keep_alive:
            self._close()
        self._client.on_response_complete()

    def _close(self) -> None:
        if self.more_body:
            self._client.linger()
        else:
            self._client.transport.close()


def last_words(error: ApiError, common_headers: bytes) -> bytes:
    """A whole response, after which the connection is closed."""
    body = orjson.dumps(error.envelope())
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINES[error.status] + common_headers + head + body


def check_size(size_bytes: int, most_bytes: int) -> None:
    """Of a body. Raises ApiError 413."""
    if size_bytes > most_bytes:
        message = f"the body is longer than {most_bytes} bytes ([limits] body_bytes)"
        raise ApiError(413, "body_too_large", message)
