"""The Unix socket on which the supervisor publishes Snapshots, one line of JSON each tick, and hears routers' Reports.

Knows sockets, not what a Snapshot says. A slow reader is cut off rather than waited for.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engines.snapshot import (
    FEED_NAME,
    EngineUse,
    Report,
    Snapshot,
    feed_address,
    report_from_json,
)

MOST_UNREAD_BYTES = 1024 * 1024


class Feed:
    """The publishing end. One writer: the supervisor's tick."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.StreamWriter] = set()
        # The newest Report of each router process that is connected; whoever only reads has none.
        self._reports: dict[asyncio.StreamWriter, Report] = {}
        self._wanted: Counter[str] = Counter()
        self._latest = b""

    async def open(self) -> None:
        """Bind, replacing what a killed supervisor left. The caller holds the home's lock, so nobody else is bound.
        Opened again, it goes on with those who are connected."""
        (self._home / FEED_NAME).unlink(missing_ok=True)
        if self._server:
            self._server.close()
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
            while line := await reader.readline():
                report = checked(report_from_json(line))
                self._reports[writer] = report
                self._wanted.update(report.wanted)
        except (ConnectionError, ValueError, TypeError, OverflowError):
            # ValueError and the like: not a Report, or a line without an end. Whoever says that is not heard any more.
            pass
        finally:
            self._drop(writer)

    def use(self, url: str) -> EngineUse:
        """What all routers together have at the engine of this URL."""
        found = [report.uses[url] for report in self._reports.values() if url in report.uses]
        return EngineUse(
            in_flight=sum(use.in_flight for use in found),
            unstarted=sum(use.unstarted for use in found),
            longest_prompt_tokens=max((use.longest_prompt_tokens for use in found), default=0),
            oldest_wait_s=max((use.oldest_wait_s for use in found), default=0.0),
        )

    def heard(self, sequence: int) -> bool:
        """Whether every router that is connected has heard the Snapshot of this number, or a later one."""
        return all(report.sequence >= sequence for report in self._reports.values())

    @property
    def has_routers(self) -> bool:
        """Whether any router is connected that has told what it does."""
        return bool(self._reports)

    def take_wanted(self) -> Mapping[str, int]:
        """How many requests wanted a sleeping engine, by model, since this was asked last."""
        wanted, self._wanted = self._wanted, Counter()
        return wanted

    def publish(self, snapshot: Snapshot) -> None:
        self._latest = snapshot.to_json()
        for writer in list(self._readers):
            if writer.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                self._drop(writer)
            else:
                writer.write(self._latest)

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._readers.discard(writer)
        self._reports.pop(writer, None)
        writer.transport.abort()

    async def close(self) -> None:
        for writer in list(self._readers):
            self._drop(writer)
        if self._server:
            self._server.close()
            await self._server.wait_closed()
        (self._home / FEED_NAME).unlink(missing_ok=True)


def checked(report: Report) -> Report:
    """The same with counts that are numbers, because drains and the search for hangs reckon with them. Raises
    ValueError, TypeError or OverflowError for others."""
    return replace(report, uses={str(url): _counts(use) for url, use in report.uses.items()})


def _counts(use: EngineUse) -> EngineUse:
    counted = EngineUse(
        in_flight=int(use.in_flight),
        unstarted=int(use.unstarted),
        longest_prompt_tokens=int(use.longest_prompt_tokens),
        oldest_wait_s=float(use.oldest_wait_s),
    )
    if min(counted.in_flight, counted.unstarted) < 0 or not math.isfinite(counted.oldest_wait_s):
        raise ValueError(f"not counts of requests: {use}")
    return counted
