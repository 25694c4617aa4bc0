"""Ports for tests that must know one before the process that takes it is there."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LEAST = 10_000
MOST = 65_535


def unused_port() -> int:
    """A loopback port that is free and stays so.

    From its own range the kernel gives a port to whoever asks for any and to every connection, those of the tests that
    run at the same time included. A port outside of it waits for its taker, however long that needs to start.
    """
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = range(LEAST, first) or range(last + 1, MOST) or range(LEAST, MOST)
    while not is_free(port := random.choice(ports)):
        pass
    return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
