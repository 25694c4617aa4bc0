"""The one door from the router to engines over HTTP. Maps every foreign error to ours; knows no rule.

Our own client on asyncio and httptools, because the fastest library of the kind takes longer for a token than all else
that is done for it here (see benchmarks/results/choices.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from functools import cache, lru_cache
from urllib.parse import urlsplit

import msgspec
import orjson

from router.ask import Ask
from router.connection import Connection, Origin
from router.engine_reply import EngineReply, Stale
from router.errand import in_task
from router.errors import TargetUnavailable
from router.forward import engine_body
from router.outbox import Outbox
from router.patience import Patience
from router.routing.fleet import Target
from router.tables.keys import engine_key
from router.tables.limits import Limits
from router.whole import OK

# vLLM closes idle connections after 5 s; we must be first, or a request meets a closed one.
IDLE_S = 2.0
SILENT = "silence"


class ServedModel(msgspec.Struct, frozen=True):
    """A model as an engine lists it; the context is None where the engine does not say."""

    name: str
    context_tokens: int | None


class Upstream:
    """HTTP to engines, with connections kept alive for a while. Belongs to one event loop."""

    def __init__(self, limits: Limits, outbox: Outbox) -> None:
        # An edit of stack.toml changes them.
        self.limits = limits
        self._outbox = outbox
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.hang_up()
        self._idle.clear()

    async def open(self, ask: Ask, target: Target, patience: Patience) -> EngineReply:
        """Send the Ask and wait for its first token, or for all of an answer that does not stream.

        Raises TargetUnavailable, RequestRefused or ContextExceeded. Cancelling it hangs up.
        """
        origin = origin_of(target.url or "")
        request = _request(origin, ask, engine_body(ask, target.served_name, target.kind), target.key_env)
        while True:
            connection = self._kept(origin)
            if connection is None:
                dialled = self._dial_in_time(origin, target.name, patience)
                connection = await in_task(dialled, Connection.hang_up)
            reply = EngineReply(ask, target, patience, connection)
            connection.send(request, reply)
            try:
                await reply.opened
            except Stale:
                continue
            except BaseException:
                await reply.close()
                raise
            return reply

    async def models(self, url: str) -> tuple[ServedModel, ...]:
        """What the server at `url` serves. Raises TargetUnavailable, with the cause SILENT where it took the question
        and said nothing."""
        origin = origin_of(url)
        request = f"GET {origin.path}/v1/models HTTP/1.1\r\nhost: {origin.authority}\r\n\r\n".encode()
        while True:
            connection = self._kept(origin) or await self._dial(origin, url)
            page = _Page(url, connection.used)
            connection.send(request, page)
            try:
                async with asyncio.timeout(self.limits.connect_s):
                    status, body = await page.read
                break
            except Stale:
                continue
            except TimeoutError as error:
                connection.hang_up()
                raise TargetUnavailable(url, SILENT, "GET /v1/models was not answered in time") from error
        if status != OK:
            raise TargetUnavailable(url, str(status), "GET /v1/models did not answer 200")
        return _served(url, body)

    def _kept(self, origin: Origin) -> Connection | None:
        """The connection that was used last: the others may then grow old and be closed."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_open and time.monotonic() - connection.idle_since_s < IDLE_S:
                return connection
            connection.hang_up()
        return None

    async def _dial_in_time(self, origin: Origin, target: str, patience: Patience) -> Connection:
        """Where the request has less time than a connection may take, it is the request's own limit that ends it."""
        try:
            async with asyncio.timeout(patience.first_s):
                return await self._dial(origin, target)
        except TimeoutError as error:
            message = f"no connection within {patience.first_s:.3g} s"
            raise TargetUnavailable(target, patience.cause, message, was_reached=False) from error

    async def _dial(self, origin: Origin, target: str) -> Connection:
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(origin, self._outbox, self._put_back, self._open.discard),
                    origin.host,
                    origin.port,
                    ssl=_tls() if origin.tls else None,
                )
        except TimeoutError as error:
            message = f"no connection within {self.limits.connect_s:.3g} s ([limits] connect_s)"
            raise TargetUnavailable(target, "connect", message, was_reached=False) from error
        except OSError as error:
            raise TargetUnavailable(target, "connect", _words(error), was_reached=False) from error
        if connection.transport is not None:
            self._open.add(connection)
        return connection

    def _put_back(self, connection: Connection) -> None:
        connection.idle_since_s = time.monotonic()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_S, self._close_old)

    def _close_old(self) -> None:
        """Close what nobody used for a while. Runs only while there is something to close."""
        oldest_s = time.monotonic() - IDLE_S
        for idle in self._idle.values():
            for connection in [each for each in idle if each.idle_since_s <= oldest_s or not each.is_open]:
                idle.remove(connection)
                connection.hang_up()
        again = any(self._idle.values())
        self._sweep = asyncio.get_running_loop().call_later(IDLE_S, self._close_old) if again else None


class _Page:
    """Collects a small answer: `read` gives (status, body)."""

    def __init__(self, url: str, reused: bool) -> None:
        self.wire: Callable[[bytes], None] | None = None
        self.read: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._url = url
        self._reused = reused
        self._status = 0
        self._body = b""

    def head(self, status: int, _content_type: str, _retry_after: str | None) -> None:
        self._status = status

    def piece(self, body: bytes) -> None:
        self._body += body

    def passed(self, _events: int) -> None:
        raise AssertionError("nothing passes a page by")

    def whole(self) -> None:
        if not self.read.done():
            self.read.set_result((self._status, self._body))

    def lost(self, began: bool, why: str) -> None:
        if not self.read.done():
            stale = self._reused and not began
            self.read.set_exception(Stale() if stale else TargetUnavailable(self._url, "connect", why))


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@lru_cache(maxsize=1024)
def origin_of(url: str) -> Origin:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls, parts.netloc, parts.path.rstrip("/"))


@lru_cache(maxsize=1024)
def _request_line(origin: Origin, endpoint: str) -> bytes:
    head = f"POST {origin.path}{endpoint} HTTP/1.1\r\nhost: {origin.authority}\r\n"
    return f"{head}accept: */*\r\ncontent-type: application/json\r\nx-request-id: ".encode()


def _request(origin: Origin, ask: Ask, body: bytes, key_env: str | None) -> bytes:
    key = "" if key_env is None else f"\r\nauthorization: Bearer {engine_key(key_env)}"
    trace = "".join(f"\r\n{name}: {value}" for name, value in ask.trace) if ask.trace else ""
    rest = f"{ask.request_id}{key}{trace}\r\ncontent-length: {len(body)}\r\n\r\n"
    return b"%b%b%b" % (_request_line(origin, ask.endpoint), rest.encode("latin-1"), body)


def _words(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens at its address"
    if isinstance(error, socket.gaierror):
        return "the name of its host is unknown"
    if isinstance(error, ssl.SSLError):
        return f"its certificate or its TLS is not accepted: {error}"
    return f"{type(error).__name__}: {error}"


def _served(url: str, body: bytes) -> tuple[ServedModel, ...]:
    try:
        listed = orjson.loads(body)["data"]
        return tuple(ServedModel(str(each["id"]), each.get("max_model_len")) for each in listed)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise TargetUnavailable(url, "malformed", "GET /v1/models is not an OpenAI list of models") from error
