"""The client's connection: uvicorn's HTTP protocol, with a way of its own for the hot route.

A POST to one of the completion endpoints becomes an Exchange; every other URL goes to the ASGI application. Requests
that do not come to an end, and heads without one, are refused here: no application has seen them yet.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, ClassVar, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from router.answer import answer
from router.ask import Endpoint
from router.errors import ApiError
from router.exchange import Exchange, last_words
from router.head import endpoint_of, fields_read
from router.linger import Linger, Unread
from router.offer import without_offer
from router.served import Doors

MOST_HEAD_BYTES = 64 * 1024
MOST_FIELDS = 1000
NOT_COUNTED = -1
LAST_CHANCE_S = 1


class Front(HttpToolsProtocol):
    """One client connection. The application's lifespan sets `doors` in `app_state`."""

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
        self.outbox = doors.outbox
        self._running: Exchange | None = None
        self._next: Exchange | None = None
        # A request that has begun and is not whole: in its head, or in its body.
        self._in_head = self._in_body = False
        self._head_bytes = NOT_COUNTED
        self._is_last = False
        self._receive_timer: asyncio.TimerHandle | None = None
        # Why the connection ends, once those who asked before have been answered.
        self._refused: ApiError | None = None
        self._unread: Unread
        self._idle_since_s = time.monotonic()
        self._idle_timer: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._unread = Unread(self.transport, self._receive_s)
        # Who connects and says nothing may stay no longer than who has been answered.
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        self._parse(data)
        # Begun only now: most bodies are whole by now, and what is answered inside the parser could close it.
        begun, self._next = self._next, None
        if begun is not None and not self.transport.is_closing():
            self._start_asgi_task(begun, self.app)
        if self._in_head or self._in_body:
            self._wait_for_the_rest(len(data))
        elif self._receive_timer is not None:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._unread.forget()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        running, self._running = self._running, None
        if running is not None:
            running.leave()
        super().connection_lost(exc)
        # The last request and its connection hold each other; neither is left to the garbage collector. None is what
        # uvicorn begins with.
        self.cycle = cast(RequestResponseCycle, None)

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
        self._in_head, self._head_bytes = True, NOT_COUNTED
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            # This head is read again, see `router.offer`.
            return
        self._in_head, self._in_body = False, True
        endpoint = endpoint_of(self.url)
        if endpoint is None or self.parser.get_method() != b"POST":
            self._leave_to_uvicorn()
            return
        exchange = self._exchange(endpoint)
        before, self.cycle = self.cycle, cast(RequestResponseCycle, exchange)
        if before is None or before.response_complete:
            self._next = exchange
        else:
            # Sent before the last answer was whole: its turn comes after that.
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _leave_to_uvicorn(self) -> None:
        """Only the requests that go to the application get the scope that uvicorn makes for one."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and not self._is_last

    def on_message_complete(self) -> None:
        if self._in_body:
            self._in_body = False
            super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserError:
                message = "what came is not HTTP, or can be read in two ways; nothing of it was read: send HTTP/1.1"
                self._refuse(ApiError(400, "invalid_http", message))
                return
            except httptools.HttpParserUpgrade as offer:
                data = self._read_again(data[offer.args[0] :])

    def _read_again(self, rest: bytes) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        self.parser = httptools.HttpRequestParser(self)
        if method != b"CONNECT":
            line = b"%b %b HTTP/%b" % (method, self.url, version.encode())
            return without_offer(line, self.headers, rest)
        self._refuse(ApiError(400, "invalid_http", "this is no proxy; send GET or POST"))
        return b""

    # What uvicorn calls.

    def _start_asgi_task(self, cycle: RequestResponseCycle | Exchange, app: Any) -> None:
        if self._unread.timer is not None:
            # The answer that comes now has limits of its own.
            self._unread.forget()
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
            self._unread.watch()
            return
        if self.flow.write_paused:
            self._unread.watch()
        self._idle_since_s = time.monotonic()
        if self.pipeline or self._refused is not None:
            # Not at once: each answer would be given inside the one before it, as deep as there are requests.
            self.loop.call_soon(self._go_on)
        else:
            self.flow.resume_reading()

    def _go_on(self) -> None:
        if self.transport.is_closing():
            return
        self._stop_waiting()
        if self._in_head or self._in_body:
            self._wait_for_the_rest(0)
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refused is not None:
            self._say_and_close(self._refused)

    def shutdown(self) -> None:
        """The router stops. Who has begun to ask is still answered, and who has just connected may be about to."""
        self._is_last = True
        self.outbox.flush()
        if self.cycle is None:
            self.timeout_keep_alive, self._idle_since_s = LAST_CHANCE_S, time.monotonic()
            self._close_if_idle()
        elif not self._in_head:
            super().shutdown()

    def read_on(self) -> None:
        if not self.pipeline:
            self.flow.resume_reading()

    def common_headers(self) -> bytes:
        """The header lines of every response; uvicorn makes them anew each second, for the date in them."""
        headers = self.server_state.default_headers
        if headers is not Front._common[0]:
            Front._common = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return Front._common[1]

    def _exchange(self, endpoint: Endpoint) -> Exchange:
        knows_chunks = self.parser.get_http_version() != "1.0"
        keep_alive = knows_chunks and not self._is_last and self.parser.should_keep_alive()
        return Exchange(self, endpoint, fields_read(self.headers), knows_chunks, keep_alive)

    # Requests that do not come to an end.

    def _wait_for_the_rest(self, size_bytes: int) -> None:
        """A head has one limit for all of it, however it trickles; a body between two pieces, or in all if refused."""
        if self._in_head:
            # In the piece in which it begins, what stands before it may be any number of other requests.
            self._head_bytes = 0 if self._head_bytes == NOT_COUNTED else self._head_bytes + size_bytes
        elif not self.cycle.response_complete:
            self._stop_waiting()
        # Fields may follow a body in chunks as well.
        if self._head_bytes > MOST_HEAD_BYTES or len(self.headers) > MOST_FIELDS:
            message = f"the head is longer than {MOST_HEAD_BYTES} bytes or {MOST_FIELDS} fields"
            self._refuse(ApiError(431, "head_too_large", message))
        elif self._receive_timer is None:
            self._receive_timer = self.loop.call_later(self._receive_s, self._waited_too_long)

    def _close_if_idle(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        idle_s = 0.0 if busy or self._in_head or self._in_body else time.monotonic() - self._idle_since_s
        if idle_s < self.timeout_keep_alive:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive - idle_s, self._close_if_idle)
        else:
            self.transport.close()
            self._unread.watch()

    def _stop_waiting(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _waited_too_long(self) -> None:
        self._receive_timer = None
        if self.flow.read_paused:
            # It is we who do not read: the next request waits for its turn.
            self._wait_for_the_rest(0)
        else:
            message = f"the request did not come to an end within {self._receive_s:.3g} s ([limits] receive_s)"
            self._refuse(ApiError(408, "request_timeout", message))

    def _refuse(self, error: ApiError) -> None:
        """Answer and close, once all that was asked before on this connection is answered."""
        self._stop_waiting()
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete
        if not answered and (self.pipeline or not self._in_body):
            if self._in_body:
                # Its head was read already: it stands at the end of the queue.
                self.pipeline.popleft()
            self._refused = self._refused or error
        elif self._in_body and cycle.response_started:
            self.linger()
        else:
            self._say_and_close(error)

    def _say_and_close(self, error: ApiError) -> None:
        if not self.transport.is_closing():
            self.outbox.flush()
            self.transport.write(last_words(error, self.common_headers()))
            self.linger()

    def linger(self) -> None:
        """Close, once the client has read what was written last. Nothing that it sends is heard any more."""
        self._stop_waiting()
        self._in_head = self._in_body = False
        self._next = self._refused = None
        self.pipeline.clear()
        if self._running is not None:
            self._running.leave()
        Linger(self.transport, self.connection_lost)
