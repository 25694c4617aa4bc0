"""Another program, run to its end on one core, and what it cost. The one door to the other generators."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 900.0
SHOWN_LINES = 12


@dataclass(frozen=True, slots=True)
class Spent:
    """`cpu_s` is user and system time, of the program and of all that it started and waited for."""

    status: int
    seconds: float
    cpu_s: float


def run(
    command: Sequence[str], log: Path, *, core: int | None, environment: Mapping[str, str], statuses: Sequence[int]
) -> Spent:
    """Raises ValueError with the end of its output where it ends with another status, or not in time."""
    pinned = [*command] if core is None else ["taskset", "--cpu-list", str(core), *command]
    began_s, before_s = time.monotonic(), _cpu_s()
    with log.open("w") as output:
        try:
            done = subprocess.run(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                timeout=LIMIT_S,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise ValueError(f"{command[0]} has not run: {error}") from error
    if done.returncode not in statuses:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
        raise ValueError(f"{command[0]} ended with status {done.returncode}:\n{last}")
    return Spent(done.returncode, time.monotonic() - began_s, _cpu_s() - before_s)


def _cpu_s() -> float:
    """Of all children that were waited for until now, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
