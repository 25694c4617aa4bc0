"""The client's connection: uvicorn's HTTP protocol, with a way of its own for the hot route.

A POST to one of the completion endpoints becomes an Exchange; every other URL goes to the ASGI application. Requests
that do not come to an end, and heads without one, are refused here: no application has seen them yet.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, ClassVar, cast

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from router.answer import answer
from router.ask import HINT_PREFIX, Endpoint
from router.errors import ApiError
from router.exchange import STATUS_LINES, Exchange
from router.served import Doors

HOT = {endpoint.value.encode(): endpoint for endpoint in Endpoint}
# What is read of a request's headers; the others are not even decoded.
READ = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"expect",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
    }
)
HINTS = HINT_PREFIX.encode()
MOST_HEAD_BYTES = 64 * 1024


class Front(HttpToolsProtocol):
    """One client connection. The application's lifespan sets `doors` and `running` in `app_state`."""

    _common: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        doors: Doors = app_state["doors"]
        self._answer = partial(answer, doors)
        self._receive_s = doors.watch.rules.limits.receive_s
        self.running: set[Exchange] = app_state["running"]
        self._running: Exchange | None = None
        self._next: Exchange | None = None
        # A request that has begun and is not whole: in its head, or in its body.
        self._in_head = self._in_body = False
        self._head_bytes = 0
        self._receive_timer: asyncio.TimerHandle | None = None
        self._idle_since_s = time.monotonic()
        self._idle_timer: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        # Who connects and says nothing may stay no longer than who has been answered.
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Begun only now: most bodies are whole by now, and what is answered inside the parser could close it.
        begun, self._next = self._next, None
        if begun is not None:
            self._start_asgi_task(begun, self.app)
        if self._in_head or self._in_body:
            self._wait_for_the_rest(len(data))
        elif self._receive_timer is not None:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        running, self._running = self._running, None
        if running is not None:
            running.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._running is not None:
            self._running.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._running is not None:
            self._running.resume()

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        endpoint = HOT.get(self.url.partition(b"?")[0])
        if endpoint is None or self.parser.get_method() != b"POST":
            super().on_headers_complete()
            return
        exchange = self._exchange(endpoint)
        before, self.cycle = self.cycle, cast(RequestResponseCycle, exchange)
        if before is None or before.response_complete:
            self._next = exchange
        else:
            # Sent before the last answer was whole: its turn comes after that.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    # What uvicorn calls.

    def _start_asgi_task(self, cycle: RequestResponseCycle | Exchange, app: Any) -> None:
        if isinstance(cycle, Exchange):
            self._running = cycle
            cycle.run(self._answer)
        else:
            self._running = None
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """As uvicorn's, but that the timer of an idle connection runs on and is looked at when it fires."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since_s = time.monotonic()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, or could be read in two ways (two lengths, a length and chunks), is answered and closed."""
        self._refuse(ApiError(400, "invalid_http", f"{msg} Nothing of it was read; send HTTP/1.1"))

    def common_headers(self) -> bytes:
        """The header lines of every response; uvicorn makes them anew each second, for the date in them."""
        headers = self.server_state.default_headers
        if headers is not Front._common[0]:
            Front._common = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return Front._common[1]

    def _exchange(self, endpoint: Endpoint) -> Exchange:
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in self.headers
            if name in READ or name.startswith(HINTS)
        }
        knows_chunks = self.parser.get_http_version() != "1.0"
        return Exchange(self, endpoint, headers, knows_chunks, knows_chunks and self.parser.should_keep_alive())

    # Requests that do not come to an end.

    def _wait_for_the_rest(self, size_bytes: int) -> None:
        """A head has one limit for all of it, however it trickles; a body has it between two pieces."""
        if self._in_head:
            self._head_bytes += size_bytes
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(ApiError(431, "head_too_large", f"the head is longer than {MOST_HEAD_BYTES} bytes"))
                return
        else:
            self._stop_waiting()
        if self._receive_timer is None:
            self._receive_timer = self.loop.call_later(self._receive_s, self._waited_too_long)

    def _close_if_idle(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        idle_s = 0.0 if busy or self._in_head or self._in_body else time.monotonic() - self._idle_since_s
        if idle_s < self.timeout_keep_alive:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive - idle_s, self._close_if_idle)
        else:
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _waited_too_long(self) -> None:
        self._receive_timer = None
        if self.flow.read_paused:
            # It is we who do not read: the next request waits for its turn.
            self._wait_for_the_rest(0)
            return
        message = f"the request did not come to an end within {self._receive_s:.3g} s ([limits] receive_s)"
        self._refuse(ApiError(408, "request_timeout", message))

    def _refuse(self, error: ApiError) -> None:
        """Answer, unless another answer is under way on this connection, and close."""
        cycle = self.cycle
        self._stop_waiting()
        if not self.transport.is_closing() and (cycle is None or not cycle.response_started or cycle.response_complete):
            body = orjson.dumps(error.envelope())
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINES[error.status] + head + body)
        self.transport.close()
