"""One request of the hot route and the response to it, on the client's connection. A Sink for what targets send.

Takes the place of uvicorn's own cycle of request and response, so that keep-alive, pipelining, `100-continue` and the
drain at the end stay uvicorn's; what goes out is written here, in as few pieces as can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from router.ask import Endpoint
from router.chunks import LAST_CHUNK, framed
from router.errors import ApiError
from router.sse import error_event

log = structlog.get_logger()

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CHUNKED = b"transfer-encoding: chunked\r\n"
FAULT = ApiError(500, "internal_error", "the router failed; its log has the traceback (`spillway logs router`)")
STOPPING = ApiError(503, "shutting_down", "the router is being stopped and cannot wait any longer; ask again")


class Flow(Protocol):
    """Whoever sends a stream, to be told when its client reads too slowly."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Exchange(RequestResponseCycle):
    """`answer` is the coroutine that answers it: with `respond` or `refuse`, or with `begin`, `write` ... `end`.

    `wire` takes chunks of the stream as they are; None before the first `write`, and for clients that know no chunks.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        headers: Mapping[str, str],
        answer: Callable[[Exchange], Awaitable[None]],
        **cycle: Any,
    ) -> None:
        super().__init__(**cycle)
        self.endpoint = endpoint
        self.headers = headers
        self.arrived_s = time.monotonic()
        self.wire: Callable[[bytes], None] | None = None
        self._knows_chunks = self.scope["http_version"] != "1.0"
        self._answer = answer
        self._task: asyncio.Task[None] | None = None
        self._source: Flow | None = None
        self._unsent_head = b""

    async def run_asgi(self, _app: object) -> None:
        """What uvicorn runs as the task of this request. Nothing escapes it."""
        self._task = asyncio.current_task()
        try:
            if not self.disconnected:
                await self._answer(self)
        except asyncio.CancelledError:
            # The client left, or the time of the drain is over. Who held something has let go of it on the way here.
            self._give_up(STOPPING)
        except Exception:
            log.exception("the router failed", path=self.endpoint)
            self._give_up(FAULT)
        finally:
            # The cycle, its connection and its task hold each other; none of it is left to the garbage collector.
            self._task = self._source = self.wire = None
            self.body = bytearray()
            self.on_response = _nothing

    def leave(self) -> None:
        """The client is gone: whoever works for it stops now."""
        if self._task is not None and not self.response_complete:
            self._task.cancel()

    def pause(self) -> None:
        if self._source is not None:
            self._source.pause()

    def resume(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def read_body(self, most_bytes: int) -> bytes:
        """The whole body. Raises ApiError 413 as soon as it is known to be too long, not after it was read."""
        stated = self.headers.get("content-length", "")
        self._check_size(int(stated) if stated.isdigit() else 0, most_bytes)
        while self.more_body:
            if self.waiting_for_100_continue:
                self.waiting_for_100_continue = False
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
            self._check_size(len(self.body), most_bytes)
        self.flow.resume_reading()
        return bytes(self.body)

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """A whole response. `lines` are header lines, each with its line end."""
        self.response_started = True
        self._send(b"%b%bcontent-length: %d\r\n\r\n%b" % (self._head(status), lines, len(body), body))
        self._finish()

    def refuse(self, error: ApiError, lines: bytes = b"") -> None:
        """An error in the OpenAI envelope."""
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
        if self.flow.write_paused:
            source.pause()

    def write(self, events: bytes) -> None:
        self._send(self._take_head() + (framed(events) if self._knows_chunks else events))
        self.wire = self.transport.write if self._knows_chunks else None

    def end(self, events: bytes) -> None:
        self.wire = None
        last = (framed(events) if events else b"") + LAST_CHUNK if self._knows_chunks else events
        self._send(self._take_head() + last)
        self._finish()

    def _give_up(self, error: ApiError) -> None:
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self.end(error_event(error))
        else:
            self.refuse(error)

    def _check_size(self, size_bytes: int, most_bytes: int) -> None:
        if size_bytes > most_bytes:
            message = f"the body is longer than {most_bytes} bytes ([limits] body_bytes)"
            raise ApiError(413, "body_too_large", message)

    def _head(self, status: int) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in self.default_headers])
        return STATUS_LINES[status] + lines + (b"" if self.keep_alive else b"connection: close\r\n")

    def _take_head(self) -> bytes:
        head, self._unsent_head = self._unsent_head, b""
        return head

    def _send(self, data: bytes) -> None:
        if not self.disconnected:
            self.transport.write(data)

    def _finish(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _nothing() -> None:
    """Stands where uvicorn's callback stood."""
