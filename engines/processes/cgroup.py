"""A control group of its own for one child, where this machine lets us make one (cgroup v2, writable); else nothing.

It ends a tree that forks faster than it is culled, and tells whom the kernel killed for lack of memory. Standard
library only and small, because every keeper loads it. Facts: Linux, Documentation/admin-guide/cgroup-v2.rst
(`cgroup.kill` since 5.14) and mm/oom_kill.c (`oom_kill` of /proc/vmstat counts every victim of the machine).
"""

from __future__ import annotations

import os

# Alone, or beside the older version.
ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
OWN = "/proc/self/cgroup"
VMSTAT = "/proc/vmstat"
MEMORY_EVENTS = "memory.events"


def make(name: str) -> str | None:
    """The folder of a new group below our own; None where we may not make one, or could not kill it."""
    parent = _own_group()
    if parent is None:
        return None
    group = os.path.join(parent, name)
    try:
        os.mkdir(group, 0o755)
    except OSError:
        return None
    if os.path.exists(os.path.join(group, "cgroup.kill")):
        return group
    remove(group)
    return None


def _own_group() -> str | None:
    try:
        with open(OWN, encoding="utf-8") as file:
            paths = [line.rstrip("\n").partition("::")[2] for line in file if line.startswith("0::")]
    except OSError:
        return None
    roots = [root for root in ROOTS if os.path.exists(os.path.join(root, "cgroup.procs"))]
    return os.path.join(roots[0], paths[0].lstrip("/")) if roots and paths else None


def enter(group: str, nice: int) -> None:
    """Put the calling process there. Where groups share the processors out, the group is as nice as its session."""
    _write(group, "cpu.weight.nice", str(nice))
    _write(group, "cgroup.procs", "0")


def members(group: str) -> set[int]:
    """Who is in the group; nobody if there is none of that name."""
    try:
        with open(os.path.join(group, "cgroup.procs"), encoding="utf-8") as file:
            return {int(line) for line in file}
    except (OSError, ValueError):
        return set()


def kill(group: str) -> None:
    """KILL to all that is in the group, at once: nobody in it forks away."""
    _write(group, "cgroup.kill", "1")


def remove(group: str) -> None:
    """Remove a group that nobody is in any more."""
    try:
        os.rmdir(group)
    except OSError:
        return


class OomCount:
    """Whether the kernel killed for lack of memory: in the group, else anywhere on the machine, and then lately.

    `is_exact` where the group itself is counted, so that any victim is ours.
    """

    def __init__(self, group: str | None) -> None:
        own = os.path.join(group, MEMORY_EVENTS) if group else ""
        self.is_exact = bool(group) and _counted(own) is not None
        self._path = own if self.is_exact else VMSTAT
        self._older = self._newer = _counted(self._path)

    def look(self) -> None:
        """Now and then. The look before the last one counts, because a large process takes long to die."""
        if not self.is_exact:
            self._older, self._newer = self._newer, _counted(self._path)

    def has_grown(self) -> bool:
        now = _counted(self._path)
        return now is not None and self._older is not None and now > self._older


def _counted(path: str) -> int | None:
    try:
        with open(path, encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), None)
    except (OSError, ValueError, IndexError):
        return None


def _write(group: str, name: str, text: str) -> None:
    """Not every group has every file, and not every kernel lets us."""
    try:
        with open(os.path.join(group, name), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return
