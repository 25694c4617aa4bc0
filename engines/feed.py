"""The Unix socket on which the supervisor publishes Snapshots: one line of JSON each tick to everyone connected.

Knows sockets, not what a Snapshot says. A slow reader is cut off rather than waited for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from engines.snapshot import FEED_NAME, Snapshot, SnapshotError, feed_address, from_json

MOST_UNREAD_BYTES = 1024 * 1024


class FeedError(Exception):
    """Nobody publishes on the socket, or what comes is no Snapshot."""


class Feed:
    """The publishing end. One writer: the supervisor's tick."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.StreamWriter] = set()
        self._latest = b""

    async def open(self) -> None:
        """Bind, replacing what a killed supervisor left. The caller holds the home's lock, so nobody else is bound."""
        (self._home / FEED_NAME).unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with feed_address(self._home) as name:
                bound.bind(name)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._welcome, sock=bound)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._readers.add(writer)
        writer.write(self._latest)
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            self._drop(writer)

    def publish(self, snapshot: Snapshot) -> None:
        self._latest = snapshot.to_json()
        for writer in list(self._readers):
            if writer.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                self._drop(writer)
            else:
                writer.write(self._latest)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._readers.discard(writer)
        writer.transport.abort()

    async def close(self) -> None:
        for writer in list(self._readers):
            self._drop(writer)
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        (self._home / FEED_NAME).unlink(missing_ok=True)


def follow(home: Path, silence_s: float = 5.0) -> Iterator[Snapshot]:
    """Snapshots as they come, for the command line. Raises FeedError when nobody publishes or the feed falls silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(silence_s)
        try:
            with feed_address(home) as name:
                connected.connect(name)
            with connected.makefile("rb") as lines:
                yield from (from_json(line) for line in lines)
        except (OSError, SnapshotError) as error:
            raise FeedError(f"the supervisor in {home} does not answer: {error}") from error
    raise FeedError("the supervisor has ended")
