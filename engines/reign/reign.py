"""Who is the supervisor of a home: one at a time, by a lock that the kernel gives back, and how one follows another.

The record says who it was. As long as it lies there, a supervisor that is dead is to be followed by the next, which
takes over what runs; whoever ends in order removes it first.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engines.home import SUPERVISOR, lock_path, plan_path, write_own_record
from engines.plan import Plan, PlanError, from_json
from engines.processes.keeper import PR_SET_CHILD_SUBREAPER
from engines.processes.record import ProcessId, Record, read_records, record_path
from engines.processes.remains import bury
from engines.reign.routerlife import code_digest
from engines.snapshot import state_home

# How `spillway up` tells the next supervisor to take the place of the one that runs: its pid and start.
TAKE_OVER = "--take-over"
LOCK_WAIT_S = 10.0
LOCK_PAUSE_S = 0.01


class Refused(Exception):
    """There is nothing to do here; the message says why."""


@dataclass(slots=True)
class Reign:
    """The right to be the supervisor of `home`, held until the process ends. `is_succession`: another was before it and
    did not end in order, so that what it ran may run still."""

    home: Path
    plan: Plan
    is_succession: bool
    has_record: bool = True
    reviver: tuple[str, ...] = (sys.executable, "-m", "engines.supervisor")

    @classmethod
    def begin(cls) -> Self:
        """Raises Refused where another supervisor runs, or the end was ordered, or there is no plan."""
        home = state_home()
        _take_lock(home)
        try:
            plan = from_json(plan_path(home).read_text(encoding="utf-8"))
        except (OSError, PlanError) as error:
            raise Refused(str(error)) from error
        # From here on others know us: what they tell before we can listen must not end us.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Whatever a killed keeper leaves becomes a child of ours, and ours only.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        has_record = _write_record(home)
        _sign(home)
        found = [each for each in read_records(home) if each.name != SUPERVISOR]
        for each in found:
            if not each.keeper.lives():
                # Its child is dead then; what that may have left is nobody's any more.
                bury(home, each)
        is_succession = any(each.keeper.lives() for each in found)
        return cls(home, plan, is_succession, has_record)

    def living(self) -> tuple[Record, ...]:
        """The records of what an earlier supervisor started and still runs."""
        found = read_records(self.home)
        return tuple(each for each in found if each.name != SUPERVISOR and each.keeper.lives())

    def abdicate(self) -> None:
        """Nobody shall follow."""
        record_path(self.home, SUPERVISOR).unlink(missing_ok=True)

    def keep_record(self) -> bool:
        """Write down who rules where a full disk has kept us from it. False where the end was ordered meanwhile."""
        if not record_path(self.home, SUPERVISOR).exists():
            return False
        self.has_record = _write_record(self.home)
        return True


def _take_lock(home: Path) -> None:
    """For the life of the process: nobody closes it."""
    try:
        lock = os.open(lock_path(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(str(error)) from error
    before = _to_be_replaced()
    if before:
        # Its engines must not notice: what is killed cannot stop anything, and we are there at once.
        before.tell(signal.SIGKILL)
    deadline_s = time.monotonic() + (LOCK_WAIT_S if before else 0.0)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise Refused(f"another supervisor runs in {home}") from None
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def _to_be_replaced() -> ProcessId | None:
    words = sys.argv[1:]
    return ProcessId(int(words[1]), int(words[2])) if words[:1] == [TAKE_OVER] else None


def _write_record(home: Path) -> bool:
    """Whether it is written. Where there is the record of the one before, that one keeps the place for us until the
    disk has room. Raises Refused where there is none."""
    try:
        write_own_record(home)
    except OSError as error:
        if not record_path(home, SUPERVISOR).exists():
            raise Refused(f"no record of the supervisor can be written: {error}") from error
        return False
    return True


def _sign(home: Path) -> None:
    """Write down which version rules. On a full disk it is unknown, and the next `spillway up` replaces it."""
    try:
        _version_path(home).write_text(json.dumps([os.getpid(), version()]), encoding="utf-8")
    except OSError:
        return


def _version_path(home: Path) -> Path:
    return home / "supervisor.version"


def version() -> str:
    """Changes with our code."""
    return f"{code_digest('engines', 'ground')[:32]}-{code_digest('router', 'ground')[:32]}"


def is_of_this_version(home: Path, running: ProcessId) -> bool:
    """Whether the supervisor of this home runs the code that is here."""
    try:
        return bool(json.loads(_version_path(home).read_text(encoding="utf-8")) == [running.pid, version()])
    except (OSError, ValueError):
        return False


def supervisor_command(replaced: ProcessId | None) -> list[str]:
    words = [TAKE_OVER, str(replaced.pid), str(replaced.ticks)] if replaced else []
    return [sys.executable, "-m", "engines.supervisor", *words]


def environment(user: Mapping[str, str], home: Path) -> dict[str, str]:
    return {**user, "SPILLWAY_HOME": str(home)}
