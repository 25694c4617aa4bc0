"""The state folder: what lies where, and ending whatever of ours still runs according to its records.

`end_all` works without the supervisor's help, so that a stack whose supervisor was killed can be put away too.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engines.plan import Plan, PlanError, from_json
from engines.processes.orphans import unlink
from engines.processes.record import ProcessId, Record, read_record, read_records, record_path, records_folder
from engines.processes.remains import bury
from engines.processes.succession import REVIVED_VARIABLE
from engines.snapshot import FEED_NAME

SUPERVISOR = "supervisor"
# The router's and then an engine's grace, and a margin for sweeping; more if a record tells of a longer one.
SUPERVISOR_PATIENCE_S = 90.0
KEEPER_PATIENCE_S = 40.0
MARGIN_S = 10.0
KILL_PATIENCE_S = 5.0
ALONE_PATIENCE_S = 120.0
PAUSE_S = 0.05
# Keepers that were just starting when the supervisor ended write their records a moment later.
PASSES = 3


def logs_folder(home: Path) -> Path:
    return home / "logs"


def plan_path(home: Path) -> Path:
    """The plan of the supervisor that runs, or ran last."""
    return home / "plan.json"


def last_plan(home: Path) -> Plan | None:
    """The plan of the supervisor that runs, or ran last; None if there is none that this version can read."""
    try:
        return from_json(plan_path(home).read_text(encoding="utf-8"))
    except (OSError, PlanError):
        return None


def measured_path(home: Path) -> Path:
    """What engines told on good starts; the supervisor writes it, plans read it."""
    return home / "measured.json"


def lock_path(home: Path) -> Path:
    """Held by the supervisor for as long as it lives."""
    return home / "supervisor.lock"


def make_home(home: Path) -> None:
    for folder in (home, logs_folder(home), records_folder(home)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_own_record(home: Path) -> Path:
    """The calling process's record as supervisor; whoever stops in order removes it first, so that no keeper starts the
    next one. Raises SystemExit if a keeper started this process and the stack was taken down meanwhile, OSError if the
    disk is full."""
    path = record_path(home, SUPERVISOR)
    pid = os.getpid()
    own = ProcessId.of(pid)
    ids = [pid, own.ticks if own else 0]
    with _alone(home):
        if os.environ.pop(REVIVED_VARIABLE, None) and not path.exists():
            raise SystemExit(f"the stack in {home} was taken down while a keeper started its next supervisor")
        # Who stops has no record any more, but can be found as the holder of the lock.
        lock_path(home).write_text(json.dumps(ids), encoding="utf-8")
        told = {"name": SUPERVISOR, "keeper": ids, "child": ids, "command": [], "scratch": None}
        _replace(path, json.dumps(told))
    return path


def _replace(path: Path, text: str) -> None:
    """The whole text, or what was there before."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        unlink(str(partial))
        raise


def running_supervisor(home: Path) -> ProcessId | None:
    """The supervisor of this home, if it lives; also one that is stopping and has no record any more."""
    record = read_record(record_path(home, SUPERVISOR))
    return next(
        (each for each in (record.keeper if record else None, _lock_holder(home)) if each and each.lives()), None
    )


def _lock_holder(home: Path) -> ProcessId | None:
    try:
        pid, ticks = json.loads(lock_path(home).read_text(encoding="utf-8"))
        return ProcessId(int(pid), int(ticks))
    except (OSError, ValueError, TypeError):
        return None


def end_all(home: Path) -> int:
    """Stop supervisor, router and engines, then whatever of them is left; how many processes were found running.

    TERM to the supervisor does it all; only when that fails, or when there is none, are keepers told, and then what
    they leave is swept. A second call waits for the first. Without the supervisor's record no keeper revives it.
    """
    if not home.is_dir():
        return 0
    with _alone(home):
        found = _end_supervisor(home)
        for _ in range(PASSES):
            if not (records := read_records(home)):
                break
            found += _end_keepers(home, records)
        for path in records_folder(home).glob("*.*"):
            unlink(str(path))
        (home / FEED_NAME).unlink(missing_ok=True)
    return found


def _end_supervisor(home: Path) -> int:
    supervisor = running_supervisor(home)
    if supervisor:
        # Told first: were we killed between the two, a supervisor that nobody knows would go on.
        _tell_term(supervisor)
    unlink(str(record_path(home, SUPERVISOR)))
    longest_s = max((record.grace_s for record in read_records(home)), default=0.0)
    if supervisor and not wait_gone(supervisor, max(SUPERVISOR_PATIENCE_S, 2 * longest_s + MARGIN_S)):
        supervisor.tell(signal.SIGKILL)
        wait_gone(supervisor, KILL_PATIENCE_S)
    return int(supervisor is not None)


def _end_keepers(home: Path, records: Sequence[Record]) -> int:
    living = [record for record in records if record.keeper.lives()]
    for record in living:
        _tell_term(record.keeper)
    began_s = time.monotonic()
    for record in living:
        patience_s = max(KEEPER_PATIENCE_S, record.grace_s + MARGIN_S) - (time.monotonic() - began_s)
        if not wait_gone(record.keeper, max(0.0, patience_s)):
            record.keeper.tell(signal.SIGKILL)
            wait_gone(record.keeper, KILL_PATIENCE_S)
    left = [bury(home, record) for record in records]
    return sum(record in living or swept for record, swept in zip(records, left, strict=True))


def _tell_term(process: ProcessId) -> None:
    """TERM, and go on if somebody has stopped it."""
    process.tell(signal.SIGTERM)
    process.tell(signal.SIGCONT)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """While this lasts, nobody else takes this stack down or writes down that he is its supervisor. Where folders
    cannot be locked, and beyond a limit, it goes on without."""
    folder = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline_s = time.monotonic() + ALONE_PATIENCE_S
        while not _locked(folder) and time.monotonic() < deadline_s:
            time.sleep(PAUSE_S)
        yield
    finally:
        os.close(folder)


def _locked(folder: int) -> bool:
    """Whether waiting for the lock is over."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def wait_gone(process: ProcessId, patience_s: float) -> bool:
    """Waits until a process ends, without polling; False if it still lives after `patience_s`."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if process.lives():
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(patience_s * 1000)
        return not process.lives()
    finally:
        os.close(fd)
