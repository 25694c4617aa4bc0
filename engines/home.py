"""The state folder: what lies where, and ending whatever of ours still runs according to its records.

`end_all` works without the supervisor's help, so that a stack whose supervisor was killed can be put away too.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from pathlib import Path

from engines.plan import Plan, PlanError, from_json
from engines.processes.orphans import (
    cull,
    mapped_segments,
    marked_members,
    remove_segments,
    remove_tree,
    session_members,
)
from engines.processes.process import ProcessId, Record, read_records, records_folder
from engines.snapshot import FEED_NAME

SUPERVISOR = "supervisor"
# The router's and then an engine's grace, and a margin for sweeping.
SUPERVISOR_PATIENCE_S = 90.0
KEEPER_PATIENCE_S = 40.0
SWEEP_PATIENCE_S = 10.0
TRACKER_PATIENCE_S = 3.0
PAUSE_S = 0.05


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
    """The calling process's record as supervisor."""
    pid = os.getpid()
    own = ProcessId.of(pid)
    ids = [pid, own.ticks if own else 0]
    path = records_folder(home) / f"{SUPERVISOR}.json"
    path.write_text(json.dumps({"name": SUPERVISOR, "keeper": ids, "child": ids, "command": [], "scratch": None}))
    return path


def running_supervisor(home: Path) -> ProcessId | None:
    """The supervisor of this home, if it lives."""
    found = next((record.keeper for record in read_records(home) if record.name == SUPERVISOR), None)
    return found if found and found.lives() else None


def end_all(home: Path) -> int:
    """Stop supervisor, router and engines, then whatever of them is left; how many processes were found running.

    TERM to the supervisor does it all; only when that fails are keepers told, and then sessions swept.
    """
    found = 0
    supervisor = running_supervisor(home)
    if supervisor:
        found += 1
        if not _end(supervisor, SUPERVISOR_PATIENCE_S):
            supervisor.tell(signal.SIGKILL)
            wait_gone(supervisor, PAUSE_S)
    for record in read_records(home):
        found += _end_record(home, record)
    (home / FEED_NAME).unlink(missing_ok=True)
    return found


def _end_record(home: Path, record: Record) -> int:
    lived = record.keeper.lives()
    if lived and not _end(record.keeper, KEEPER_PATIENCE_S):
        record.keeper.tell(signal.SIGKILL)
    left = _sweep_session(record)
    if record.scratch:
        remove_tree(record.scratch)
    (records_folder(home) / f"{record.name}.json").unlink(missing_ok=True)
    return int(lived or left)


def _sweep_session(record: Record) -> bool:
    """Kill what is left of a keeper's session. A session's number is in use for as long as a member lives, so it can
    only be a stranger's once all of it is gone; the scratch folder in the environment finds those that left it."""
    began_s = time.monotonic()
    swept = False
    segments = mapped_segments(_of_session(record))
    while members := _of_session(record):
        swept = True
        waited_s = time.monotonic() - began_s
        if waited_s > SWEEP_PATIENCE_S:
            break
        cull(members, trackers_too=waited_s > TRACKER_PATIENCE_S)
        time.sleep(PAUSE_S)
    remove_segments(segments, since_s=0.0)
    return swept


def _of_session(record: Record) -> set[int]:
    leader = ProcessId.of(record.keeper.pid)
    same_session = leader is None or leader == record.keeper
    members = session_members(record.keeper.pid) if same_session else set()
    return members | (marked_members(f"TMPDIR={record.scratch}") if record.scratch else set())


def _end(process: ProcessId, patience_s: float) -> bool:
    process.tell(signal.SIGTERM)
    return wait_gone(process, patience_s)


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
