"""Where one router process sits among the workers that share its port, and what it owes its parent."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass

from router.port import BACKLOG, address

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Seat:
    """`number` counts from 0. A router alone has no rows, and opens its own socket: `listening` is then None.

    `listening` is bound but does not listen before `announce`; the parent keeps it open, so it outlives this process.
    `rows_fd` and `shown_fd` are the shared memory of `router.rows` and `router.shown`, `ready_fd` a pipe to the parent,
    `rules_fd` what `router.tables.kept` keeps for whoever sits here next.
    """

    number: int = 0
    workers: int = 1
    listening: socket.socket | None = None
    rows_fd: int | None = None
    shown_fd: int | None = None
    ready_fd: int | None = None
    rules_fd: int | None = None


ALONE = Seat()


@dataclass(frozen=True, slots=True)
class Place:
    """A Seat as the parent writes it on a worker's command line: descriptors by number.

    `rules_fd` has the validated rules as JSON that were obeyed last, so that a worker that is started again lives by
    the same rules as its siblings, whatever has become of stack.toml.
    """

    number: int
    workers: int
    parent: int
    listening_fd: int
    rows_fd: int
    shown_fd: int
    rules_fd: int
    ready_fd: int

    def text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def fds(self) -> tuple[int, ...]:
        return self.listening_fd, self.rows_fd, self.shown_fd, self.rules_fd, self.ready_fd


def take(place: Place) -> Seat:
    """Sit down: from now on this process gets a TERM when its parent dies. Ends the process if that has happened."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != place.parent:
        sys.exit(1)
    listening = socket.socket(fileno=place.listening_fd)
    return Seat(place.number, place.workers, listening, place.rows_fd, place.shown_fd, place.ready_fd, place.rules_fd)


def announce(seat: Seat, listening: socket.socket) -> None:
    """Requests are taken from now on. One who is alone tells the user; a worker tells its parent, who tells once."""
    listening.listen(BACKLOG)
    if seat.ready_fd is None:
        print(f"router at {address(listening)}", flush=True)
    else:
        os.write(seat.ready_fd, bytes([seat.number]))
