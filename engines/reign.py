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
from engines.processes.process import ProcessId, Record, read_records
from engines.processes.record import read_record, record_path
from engines.processes.succession import REVIVED_VARIABLE
from engines.routerlife import code_digest
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
    record: Path
    is_succession: bool
    reviver: tuple[str, ...] = (sys.executable, "-m", "engines.supervisor")

    @classmethod
    def begin(cls) -> Self:
        """Raises Refused where another supervisor runs, or the end was ordered, or there is no plan."""
        home = state_home()
        is_revival = os.environ.pop(REVIVED_VARIABLE, None) is not None
        _take_lock(home)
        if is_revival and not record_path(home, SUPERVISOR).exists():
            raise Refused(f"the stack in {home} was stopped")
        try:
            plan = from_json(plan_path(home).read_text(encoding="utf-8"))
        except (OSError, PlanError) as error:
            raise Refused(str(error)) from error
        # From here on others know us: what they tell before we can listen must not end us.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Whatever a killed keeper leaves becomes a child of ours, and ours only.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        is_succession = any(_lives_on(record) for record in read_records(home))
        record = write_own_record(home)
        _sign(record)
        return cls(home, plan, record, is_succession)

    def living(self) -> tuple[Record, ...]:
        """The records of what an earlier supervisor started and still runs."""
        return tuple(record for record in read_records(self.home) if _lives_on(record))

    def abdicate(self) -> None:
        """Nobody shall follow."""
        self.record.unlink(missing_ok=True)


def _lives_on(record: Record) -> bool:
    return record.name != SUPERVISOR and record.keeper.lives()


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


def _sign(record: Path) -> None:
    """Write down which version rules. On a full disk it is unknown, and the next `spillway up` replaces it."""
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        partial = record.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({**told, "note": version()}), encoding="utf-8")
        partial.replace(record)
    except (OSError, ValueError):
        return


def version() -> str:
    """Changes with our code."""
    return f"{code_digest('engines')[:32]}-{code_digest('router')[:32]}"


def is_of_this_version(home: Path) -> bool:
    """Whether the supervisor of this home runs the code that is here."""
    record = read_record(record_path(home, SUPERVISOR))
    return record is not None and record.note == version()


def supervisor_command(replaced: ProcessId | None) -> list[str]:
    words = [TAKE_OVER, str(replaced.pid), str(replaced.ticks)] if replaced else []
    return [sys.executable, "-m", "engines.supervisor", *words]


def environment(user: Mapping[str, str], home: Path) -> dict[str, str]:
    return {**user, "SPILLWAY_HOME": str(home)}
