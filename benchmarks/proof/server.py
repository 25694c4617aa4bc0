"""The harness's own stand-ins as processes on a core of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

STOP_S = 10.0


@contextmanager
def stand_in(verb: str, options: Sequence[str] = (), *, core: int | None = None) -> Iterator[str]:
    """The address, without `/v1`, of `python -m benchmarks VERB` while the block runs. Raises ValueError."""
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command = [*pinned, sys.executable, "-m", "benchmarks", verb, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if " at " not in line:
            raise ValueError(f"`{' '.join(command)}` did not start; its reason stands above.")
        yield line.split(" at ")[-1].strip().removesuffix("/v1")
    finally:
        process.terminate()
        process.communicate(timeout=STOP_S)


def pace(url: str, *, first_s: float, gap_s: float) -> None:
    """How fast the stub engine speaks: to its first token, and from token to token."""
    for name, seconds in (("first", first_s), ("delay", gap_s)):
        with urllib.request.urlopen(f"{url}/_stub/{name}/{round(seconds * 1e6)}") as answer:
            answer.read()


def counts(url: str) -> Mapping[str, int]:
    """What the stub engine has done until now; the tokens of an answer count when it ends."""
    with urllib.request.urlopen(f"{url}/_stub/stats") as answer:
        found: dict[str, int] = json.load(answer)
    return found
