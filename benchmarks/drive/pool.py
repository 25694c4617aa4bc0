"""The connections of a run: one for each request under way, kept and used again. Opened as they are needed, no cap.

It must not know what is asked or when.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic

from benchmarks.drive.connection import Connection
from benchmarks.drive.endpoint import Endpoint
from benchmarks.drive.exchange import Exchange
from benchmarks.drive.progress import Progress
from benchmarks.figures.errors import Failure

# Servers commonly close idle connections after five seconds; a request must not meet that moment.
KEPT_S = 2.0
# What a process has open besides its connections.
OTHER_FILES = 64
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint's address once it is resolved, and how to trust it."""

    host: str
    port: int
    name: str
    trust: ssl.SSLContext | None = None


class Pool:
    """The one owner of the connections. `failed` hears of what ends the whole run: no more files can be opened."""

    def __init__(self, place: Place, progress: Progress, failed: Callable[[Exception], None]) -> None:
        self._place = place
        self._progress = progress
        self._failed = failed
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def send(self, exchange: Exchange) -> None:
        """On the connection that was free last, or on a new one."""
        oldest_s = monotonic() - KEPT_S
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost and connection.idle_since_s > oldest_s:
                connection.ask(exchange)
                return
            if not connection.is_lost:
                connection.close()
        self._dial(exchange)

    async def close(self) -> None:
        """Hang up everywhere."""
        for dial in list(self._dials):
            dial.cancel()
        for connection in list(self._all):
            connection.close()
        while self._all:
            # Hanging up takes a turn of the event loop.
            await asyncio.sleep(0)
        self._idle.clear()

    def made(self, connection: Connection) -> None:
        """From a connection, when it is open."""
        self._all.add(connection)

    def freed(self, connection: Connection) -> None:
        """From a connection whose answer is read."""
        self._idle.append(connection)

    def gone(self, connection: Connection) -> None:
        """From a connection that is closed."""
        self._all.discard(connection)

    def refused(self, exchange: Exchange) -> None:
        """From a connection that was closed before the request was read."""
        self._dial(exchange)

    def _dial(self, exchange: Exchange) -> None:
        dial = self._loop.create_task(self._connect(exchange))
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)
        exchange.abandon = partial(_cancel, dial)

    async def _connect(self, exchange: Exchange) -> None:
        place = self._place
        name = place.name if place.trust else None
        try:
            _, connection = await self._loop.create_connection(
                partial(Connection, self._progress, self), place.host, place.port, ssl=place.trust, server_hostname=name
            )
        except OSError as error:
            if error.errno in TOO_MANY_FILES:
                self._failed(too_many_files(self._progress.connections))
            exchange.fail(monotonic(), Failure.CONNECTION, f"cannot connect to {place.name}:{place.port}: {error}")
        else:
            connection.ask(exchange)


def _cancel(dial: asyncio.Task[None]) -> None:
    dial.cancel()


def too_many_files(connections: int) -> ValueError:
    """More connections are needed than files may be open."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return ValueError(
        f"This process may open {most} files, and {connections} connections are not enough for this load: "
        "raise the hard limit (`ulimit -Hn`), or measure a smaller load."
    )


def make_room(connections: int) -> None:
    """Raise the limit of open files as far as it goes. Raises ValueError where so many connections need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and connections + OTHER_FILES > hard:
        raise ValueError(
            f"{connections} connections need more files than the {hard} that this process may open: "
            "raise the hard limit (`ulimit -Hn`), or measure a smaller load."
        )


async def place_of(endpoint: Endpoint) -> Place:
    """Resolve it, once for all requests: the first of its addresses that accepts a connection.

    Raises ValueError where the name is unknown or nothing listens.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ValueError(f"{endpoint.root}: the name {endpoint.host!r} is not known ({error}).") from error
    trust = ssl.create_default_context() if endpoint.is_secure else None
    why: OSError | None = None
    for *_, address in found:
        host = str(address[0])
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, host, endpoint.port)
        except OSError as error:
            why = error
        else:
            transport.abort()
            return Place(host, endpoint.port, endpoint.host, trust)
    raise ValueError(f"Nothing answers at {endpoint.root} ({why}): start it, or name another --url.")
