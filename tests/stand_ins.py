"""Starts the stand-in cloud and the fake engine as real processes for tests; the port is one the kernel gave."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StandIn:
    """A running process and the root of its addresses, without `/v1`."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def standing_in(verb: str, *options: str) -> Iterator[StandIn]:
    """`python -m benchmarks VERB OPTIONS` until the block is left. Its first line says where it listens."""
    command = [sys.executable, "-m", "benchmarks", verb, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield StandIn(line.split(" at ")[-1].strip().removesuffix("/v1"), process)
        finally:
            process.terminate()
