"""The processes of one stage: who is the supervisor, who keeps whom, what is below them, and who is left over.

The one door to processes for the suite. Found by the supervisor's records and by what a process was started with;
signalled only by pid and start time together, and only below what is ours.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SUPERVISOR = "supervisor"
ROUTER = "router"
# vLLM names its processes so (0.33, v1/engine/core.py and v1/executor/multiproc_executor.py).
CORE = "VLLM::EngineCore"
WORKER = "VLLM::Worker"
START_FIELD = 19
# Where they are found in most systems: alone, beside the older version.
CONTROL_GROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
GONE_S = 10.0
LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A pid and the tick at which it started: together they name one process for good."""

    pid: int
    ticks: int

    def lives(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        return ticks_of(self.pid) == self.ticks

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        if self.lives():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True)
class Record:
    """What the supervisor's home says of one keeper and its child."""

    name: str
    keeper: Process
    child: Process | None
    scratch: str | None


def ticks_of(pid: int) -> int | None:
    """When a process started, in ticks since boot; None where none lives."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[START_FIELD])


class Kin:
    """All processes that came of one home. Remembers folders and shared memory that were theirs at any look."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._scratch: set[str] = set()
        self._segments: set[int] = set()
        self._keepers: set[Process] = set()

    def records(self) -> dict[str, Record]:
        """By name; a torn record is left out."""
        found = (_record_in(path) for path in sorted((self._home / "processes").glob("*.json")))
        return {record.name: record for record in found if record}

    def supervisor(self) -> Process:
        """Raises ValueError where none lives."""
        return self.keeper(SUPERVISOR)

    def keeper(self, name: str) -> Process:
        """Of the record of that name. Raises ValueError where none lives."""
        record = self.records().get(name)
        if record is None or not record.keeper.lives():
            raise ValueError(f"{name} does not run by the records of {self._home}")
        return record.keeper

    def below(self, name: str, title: str) -> Process:
        """The first process below the keeper of `name` with this title. Raises ValueError where there is none."""
        for process in sorted(_children(self.keeper(name)), key=lambda each: each.pid):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(title) and (ticks := ticks_of(process.pid)) is not None:
                    return Process(process.pid, ticks)
        raise ValueError(f"no process {title} below the keeper of {name}")

    def look(self) -> None:
        """Remember what is theirs now, so that it can be missed when they are gone."""
        records = self.records().values()
        self._scratch |= {record.scratch for record in records if record.scratch}
        self._keepers |= {record.keeper for record in records}
        self._segments |= _mapped(self.members())

    def members(self) -> set[int]:
        """Every living process that was started with this home, or with a scratch folder of its engines."""
        self._scratch |= {record.scratch for record in self.records().values() if record.scratch}
        marks = {("SPILLWAY_HOME", str(self._home))} | {("TMPDIR", scratch) for scratch in self._scratch}
        ours = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
        return {pid for pid in psutil.pids() if pid not in ours and _is_marked(pid, marks)}

    def expected(self) -> set[int]:
        """Supervisor, living keepers, and all below them."""
        heads = [record.keeper for record in self.records().values() if record.keeper.lives()]
        return {head.pid for head in heads} | {child.pid for head in heads for child in _children(head)}

    def strays(self) -> tuple[str, ...]:
        """What is there and belongs to nobody: processes, records of the dead, folders, shared memory; in words."""
        records = self.records()
        # Members first: a process that starts between the two looks is then no stray.
        members, expected = self.members(), self.expected()
        dead = [name for name, record in records.items() if not record.keeper.lives()]
        ends = [path.name for path in (self._home / "processes").glob("*") if path.suffix != ".json"]
        held = {record.scratch for record in records.values()}
        folders = [folder for folder in self._scratch - held if Path(folder).exists()]
        unused = self._segments - _mapped(members)
        return (
            *(f"process {pid}: {_title(pid)}" for pid in sorted(members - expected)),
            *(f"record of {name}, whose keeper is dead" for name in dead),
            *(f"record {name}" for name in ends),
            *(f"folder {folder}" for folder in folders),
            *(f"shared memory {name}" for name in _named(unused)),
            *(f"control group {group}" for keeper in self._keepers if not keeper.lives() for group in _groups(keeper)),
        )


def until_gone(process: Process, limit_s: float = GONE_S) -> None:
    """Raises ValueError if it still lives after so long."""
    deadline_s = time.monotonic() + limit_s
    while process.lives():
        if time.monotonic() > deadline_s:
            raise ValueError(f"process {process.pid} still lives {limit_s:g} s after it was killed")
        time.sleep(LOOK_S)


def _record_in(path: Path) -> Record | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        child = None if not raw["child"] or raw["child"][1] is None else Process(*raw["child"])
        return Record(raw["name"], Process(*raw["keeper"]), child, raw["scratch"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _children(head: Process) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process(head.pid).children(recursive=True)
    return []


def _is_marked(pid: int, marks: set[tuple[str, str]]) -> bool:
    try:
        return not marks.isdisjoint(psutil.Process(pid).environ().items())
    except psutil.Error:
        return False


def _mapped(pids: Iterable[int]) -> set[int]:
    """Inodes of the shared memory that these processes map."""
    found: set[int] = set()
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/maps").read_bytes().splitlines()
            found |= {int(line.split()[4]) for line in lines if b" /dev/shm/" in line}
    return found


def _named(inodes: set[int]) -> list[str]:
    with suppress(OSError):
        return sorted(entry.name for entry in os.scandir("/dev/shm") if inodes and entry.inode() in inodes)
    return []


def _groups(keeper: Process) -> list[str]:
    """Control groups that a keeper made for its child: they are called after both, and after its pid."""
    found = (Path(root).glob(f"spillway-*-{keeper.pid}") for root in CONTROL_GROUPS)
    return [str(path) for paths in found for path in paths]


def _title(pid: int) -> str:
    with suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())[:80]
    return "gone"
