"""What is sent in one turn of the loop goes out together, once many requests are under way.

A send to a process that sleeps has to wake it, which takes the kernel as long as all the rest of the send. Sent one
behind the other, after everything that came in was read, a batch finds its readers awake: at 64 connections that is an
eighth of what a request costs. A request that has the router for itself would only wait for it, and is sent at once.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

# Requests under way from which on a batch is worth the extra turn of the loop.
MANY = 8


class Running(Protocol):
    """A request under way."""

    def stop(self) -> None:
        """End it now."""


class Outbox:
    """Belongs to one event loop. A request is in `running` from its start to its end.

    Who writes to a transport by another way calls `flush` first.
    """

    __slots__ = ("_waiting", "running")

    def __init__(self) -> None:
        self.running: set[Running] = set()
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        if not self._waiting:
            if len(self.running) < MANY:
                transport.write(data)
                return
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append((transport, data))

    def flush(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                transport.write(data)
