"""What the processes of this machine use: CPU, memory, file descriptors, threads, and what others take from us.

The one door to the process table for measurements. It must not know what is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

# Others that use less of a core than this do not disturb a measurement.
QUIET_SHARE = 0.10
STEAL_SHARE = 0.05
LOOK_S = 1.0
PAUSE_S = 3.0
KERNEL_PARENTS = (0, 2)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the process table: CPU seconds of every process, and what the host took from this machine."""

    at_s: float
    cpu_s: Mapping[int, float]
    steal_s: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """A process and all its descendants."""

    rss_bytes: int
    descriptors: int
    threads: int


def look() -> Look:
    """Now. Kernel threads are left out: they work for the load too."""
    found: dict[int, float] = {}
    for process in psutil.process_iter(["ppid", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None and process.info["ppid"] not in KERNEL_PARENTS:
            found[process.pid] = times.user + times.system
    return Look(time.monotonic(), found, float(psutil.cpu_times().steal))


def share(before: Look, after: Look, pids: Iterable[int]) -> float:
    """Of one core, what these processes used between two looks."""
    spent = sum(after.cpu_s[pid] - before.cpu_s.get(pid, 0.0) for pid in pids if pid in after.cpu_s)
    return spent / (after.at_s - before.at_s)


def foreign_share(before: Look, after: Look, ours: Iterable[int]) -> float:
    """Of one core, what all other processes used."""
    return share(before, after, set(after.cpu_s) - set(ours))


def steal_share(before: Look, after: Look) -> float:
    """Of one core, what the host gave to other machines."""
    return (after.steal_s - before.steal_s) / (after.at_s - before.at_s)


def family(pid: int) -> list[psutil.Process]:
    """A process and its descendants; empty when it has gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def footprint(pid: int) -> Footprint:
    """Of a process and its descendants. Raises ValueError when it has gone or is another user's."""
    rss_bytes = descriptors = threads = 0
    members = family(pid)
    for member in members:
        try:
            with member.oneshot():
                rss_bytes += member.memory_info().rss
                threads += member.num_threads()
            descriptors += member.num_fds()
        except psutil.AccessDenied as error:
            raise ValueError(f"Process {member.pid} belongs to somebody else: its memory cannot be read.") from error
        except psutil.NoSuchProcess:
            continue
    if not rss_bytes:
        raise ValueError(f"Process {pid} does not run (any more).")
    return Footprint(rss_bytes, descriptors, threads)


def wait_quiet(ours: Callable[[], Iterable[int]], limit_s: float, say: Callable[[str], None]) -> None:
    """Wait until other processes leave the machine alone, or so long."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        before = look()
        time.sleep(LOOK_S)
        busy = foreign_share(before, look(), ours())
        if busy < QUIET_SHARE:
            return
        say(f"others use {busy:.2f} of a core: waiting")
        time.sleep(PAUSE_S)


def cores() -> tuple[int, int] | None:
    """One core for the router and one for the load, None where we have only one."""
    ours = sorted(os.sched_getaffinity(0))
    return (ours[0], ours[1]) if len(ours) > 1 else None


def cores_of(pid: int) -> list[int]:
    """Where a process may run. Raises ValueError when it has gone."""
    try:
        return psutil.Process(pid).cpu_affinity() or []
    except psutil.NoSuchProcess as error:
        raise ValueError(f"Process {pid} does not run: --pid must name the router.") from error


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Processes started in the block stay on that core; None changes nothing."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
