"""Where one router process sits among the workers that share its port."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seat:
    """`number` counts from 0. A router alone has no rows, and opens its own socket: `listening` is then None.

    `listening` is already bound and listens; the parent keeps it open, so it outlives this process. `rows_fd` is the
    shared memory of `router.rows`.
    """

    number: int = 0
    workers: int = 1
    listening: socket.socket | None = None
    rows_fd: int | None = None


ALONE = Seat()
