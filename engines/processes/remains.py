"""What is left of a keeper that was killed: found by its record, ended, and its traces removed.

A session's number is in use for as long as a member lives, so it can only be a stranger's once all of it is gone; the
scratch folder in the environment and the control group find those that left the session.
"""

from __future__ import annotations

import time
from pathlib import Path

from engines.processes import cgroup
from engines.processes.orphans import (
    cull,
    mapped_segments,
    marked_members,
    remove_segments,
    remove_tree,
    session_members,
    still_there,
    unlink,
)
from engines.processes.record import ProcessId, Record, record_path

SWEEP_PATIENCE_S = 10.0
TRACKER_PATIENCE_S = 3.0
PAUSE_S = 0.05


def bury(home: Path, record: Record) -> bool:
    """End what is left of a keeper that lives no more; whether there was anything. Blocks, as a rule for a moment."""
    swept = _sweep(record)
    if record.scratch:
        remove_tree(record.scratch)
    if record.cgroup:
        cgroup.remove(record.cgroup)
    unlink(str(record_path(home, record.name)))
    return swept


def _sweep(record: Record) -> bool:
    began_s = time.monotonic()
    swept = False
    segments = mapped_segments(_members(record)) | still_there(record.segments)
    while members := _members(record):
        swept = True
        waited_s = time.monotonic() - began_s
        if waited_s > SWEEP_PATIENCE_S:
            break
        is_late = waited_s > TRACKER_PATIENCE_S
        cull(members, trackers_too=is_late)
        if is_late and record.cgroup:
            cgroup.kill(record.cgroup)
        time.sleep(PAUSE_S)
    remove_segments(segments)
    return swept


def _members(record: Record) -> set[int]:
    leader = ProcessId.of(record.keeper.pid)
    same_session = leader is None or leader == record.keeper
    members = session_members(record.keeper.pid) if same_session else set()
    if record.cgroup:
        members |= cgroup.members(record.cgroup)
    return members | (marked_members(f"TMPDIR={record.scratch}") if record.scratch else set())
