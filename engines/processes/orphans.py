"""Which processes descend from which, how to end them all, and the temporary files that they leave.

Reads /proc directly: standard library only and small, because every keeper loads it. Knows nothing of engines.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping

SHARED_MEMORY = "/dev/shm"
# Linux, include/linux/sched.h
PF_EXITING = 0x00000004


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; with the pid it names one process for good. None: no such."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def is_dying(pid: int) -> bool:
    """Whether a KILL is on its way to a process, or it is being taken down already: it will do nothing any more."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            pending = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd:", "ShdPnd:"))]
    except (OSError, ValueError, IndexError):
        return False
    fields = _stat(pid)
    is_exiting = fields is not None and bool(int(fields[6]) & PF_EXITING)
    return is_exiting or any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, so that [0] is the state, [1] the parent, [3] the session."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def descendants(root: int, skip: Iterable[int] = ()) -> set[int]:
    """Every process below `root`, zombies included, without those in `skip` and what is below them."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found: set[int] = set()
    queue, skipped = [root], set(skip)
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in skipped]
        found.update(below)
        queue += below
    return found


def session_members(session: int) -> set[int]:
    """Every living process of a session, for the rare case that keeper and supervisor were both killed."""
    return {pid for pid in _all_pids() if (fields := _stat(pid)) and fields[0] != "Z" and int(fields[3]) == session}


def marked_members(mark: str) -> set[int]:
    """Every process that was started with this variable (`KEY=value`) in its environment, whatever its session."""
    found: set[int] = set()
    for pid in _all_pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if mark.encode() in file.read().split(b"\0"):
                    found.add(pid)
        except OSError:
            continue
    return found


def cull(pids: set[int], trackers_too: bool) -> None:
    """SIGKILL processes; Python's resource trackers only when told to, or when they are stopped.

    A tracker ends by itself as soon as its users are gone, and removes their shared memory before it does.
    """
    for pid in pids:
        if trackers_too or not _is_tracker(pid) or _is_stopped(pid):
            tell(pid, signal.SIGKILL)


def tell(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _is_stopped(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] in "Tt"


def _is_tracker(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"multiprocessing.resource_tracker" in file.read()
    except OSError:
        return False


def mapped_segments(pids: Iterable[int]) -> set[int]:
    """The inodes of the shared memory that these processes have mapped.

    Inodes because a semaphore is mapped under a name that it no longer has. The engine's own clean-up forgets some of
    them even in an ordered stop, and all of them when it is killed.
    """
    found: set[int] = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", "rb") as file:
                found.update(int(line.split()[4]) for line in file if b" /dev/shm/" in line)
        except OSError:
            continue
    return found


def segments() -> set[int]:
    """The inodes of all shared memory that there is."""
    return {entry.inode() for entry in _shared_memory()}


def named_segments(inodes: set[int]) -> dict[str, int]:
    """The names that these still have, with their inodes: the two together are never another's."""
    return {entry.name: entry.inode() for entry in _shared_memory() if entry.inode() in inodes}


def still_there(named: Mapping[str, int]) -> set[int]:
    """The inodes of those that have not gone since."""
    return {entry.inode() for entry in _shared_memory() if named.get(entry.name) == entry.inode()}


def remove_segments(inodes: set[int]) -> None:
    """Remove shared memory by inode, unless it is another user's or a process still has it mapped."""
    if not inodes:
        return
    wanted = inodes - mapped_segments(_all_pids())
    for entry in _shared_memory():
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if found.st_ino in wanted and found.st_uid == os.getuid():
            unlink(entry.path)


def _shared_memory() -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(SHARED_MEMORY))
    except OSError:
        return []


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except OSError:
        return


def remove_tree(root: str) -> None:
    """Remove a folder of temporary files and sockets, as far as it goes."""
    for folder, folders, files in os.walk(root, topdown=False):
        for name in files:
            unlink(os.path.join(folder, name))
        for name in folders:
            path = os.path.join(folder, name)
            unlink(path) if os.path.islink(path) else _rmdir(path)
    _rmdir(root)


def _rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        return
