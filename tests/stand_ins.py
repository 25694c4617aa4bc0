"""Starts the stand-in cloud and the fake engine as real processes for tests; the port is one the kernel gave."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StandIn:
    """A running process and the root of its addresses, without `/v1`."""

    url: str
    process: subprocess.Popen[str]

    def switch(self, mode: str, **more: Any) -> None:
        """Let it misbehave for the next request."""
        body = json.dumps({"mode": mode, "for_requests": 1} | more).encode()
        urllib.request.urlopen(f"{self.url}/_switch", data=body, timeout=10).close()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_stats", timeout=10) as response:
            return dict(json.load(response))


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
