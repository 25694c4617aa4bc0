"""Host memory and the processor cores that we may use. The only use of psutil outside the command line."""

from __future__ import annotations

import os

import psutil

from engines.snapshot import HostView


def read_host() -> HostView:
    memory = psutil.virtual_memory()
    return HostView(total_bytes=memory.total, available_bytes=memory.available)


def usable_cores() -> tuple[int, ...]:
    """The cores that this process may run on, by number."""
    return tuple(sorted(os.sched_getaffinity(0)))
