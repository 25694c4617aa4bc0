"""Another program, run to its end on one core, and what it cost. The one door to the other generators."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LIMIT_S = 900.0
EVERY_S = 0.1
SHOWN_LINES = 12


@dataclass(frozen=True, slots=True)
class Spent:
    """`cpu_s` is user and system time, of the program and of all that it started and waited for."""

    status: int
    seconds: float
    cpu_s: float


def run(
    command: Sequence[str],
    log: Path,
    *,
    core: int | None,
    environment: Mapping[str, str],
    statuses: Sequence[int],
    look: Callable[[int], None] = lambda _pid: None,
) -> Spent:
    """`look` is called with its process id ten times a second.

    Raises ValueError with the end of its output where it ends with another status, or not in time.
    """
    pinned = [*command] if core is None else ["taskset", "--cpu-list", str(core), *command]
    began_s, before_s = time.monotonic(), _cpu_s()
    with log.open("w") as output:
        try:
            process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise ValueError(f"{command[0]} has not run: {error}") from error
        status = _ended(process, look)
    if status is None or status not in statuses:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
        raise ValueError(f"{command[0]} ended with status {status}:\n{last}")
    return Spent(status, time.monotonic() - began_s, _cpu_s() - before_s)


def cpu_s_of(pid: int) -> float:
    """User and system time until now of a process and of all that it has started; 0 where it has gone."""
    try:
        process = psutil.Process(pid)
        # What a process has waited for is among its own times, and lives no more.
        return sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0.0


def _ended(process: subprocess.Popen[bytes], look: Callable[[int], None]) -> int | None:
    """Its status; None where it did not end in time, and is killed."""
    try:
        for _ in range(int(LIMIT_S / EVERY_S)):
            try:
                return process.wait(EVERY_S)
            except subprocess.TimeoutExpired:
                look(process.pid)
        return None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _cpu_s() -> float:
    """Of all children that were waited for until now, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
