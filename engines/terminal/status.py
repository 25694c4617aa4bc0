"""What is known of a stack at one moment, whoever of it still lives: what the supervisor publishes, what the router
says, and, when the supervisor is away, what runs on without it by the records of its processes.

Reads only. Knows the feed, one address and the state folder; nothing of how it is shown.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines import door, home
from engines.following import FeedError, follow
from engines.life.last_words import last_words
from engines.plan import RouterPlan
from engines.processes.record import ProcessId, Record, read_records
from engines.snapshot import SCHEMA, EngineState, Snapshot, SnapshotError, from_json

# A watched stack is looked at so often; the router, which answers a request for it, less.
LOOK_S = 0.5
ROUTER_S = 1.0
# Older than this, a Snapshot shows a supervisor that hangs.
SILENT_S = 3.0
NO_ROUTER = RouterPlan((), "127.0.0.1", 4000)


@dataclass(frozen=True, slots=True)
class Survivor:
    """A process of the stack that lives, by its record. `for_s`: since its start."""

    name: str
    pid: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Status:
    """`runs`: whether anything of the stack lives. `snapshot` is the newest, `age_s` old; without a supervisor it is
    what the router heard last. `away` says what is wrong with the supervisor, "" if nothing is; `hint` what becomes of
    that. `said` is what the router says of itself, None if it does not answer. `last_words` are the ends of the logs of
    engines that nobody starts again, by name."""

    home: Path
    router: RouterPlan
    runs: bool
    snapshot: Snapshot | None = None
    age_s: float = 0.0
    said: Mapping[str, Any] | None = None
    away: str = ""
    hint: str = ""
    survivors: tuple[Survivor, ...] = ()
    last_words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        told = {
            "snapshot": asdict(self.snapshot) if self.snapshot else None,
            "snapshot_age_s": round(self.age_s, 3),
            "router": self.said,
            "away": self.away,
            "hint": self.hint,
            "survivors": [asdict(each) for each in self.survivors],
            "last_words": {name: list(lines) for name, lines in self.last_words.items()},
        }
        return json.dumps(told)


def read_status(at: Path) -> Status:
    """Everything, now."""
    snapshot, why = _heard(at)
    return _composed(at, snapshot, 0.0, _said(at), why)


class Watching:
    """The same again and again: `status` answers at once. Close it after use."""

    def __init__(self, at: Path) -> None:
        self._at = at
        self._closed = threading.Event()
        # Each is written by one thread: the Snapshot that came last, when, and why none comes; what the router says.
        snapshot, why = _heard(at)
        self._heard = (snapshot, time.monotonic(), why)
        self._said = _said(at)
        for run in (self._follow, self._ask):
            threading.Thread(target=run, name="status", daemon=True).start()

    def status(self) -> Status:
        snapshot, heard_s, why = self._heard
        return _composed(self._at, snapshot, time.monotonic() - heard_s, self._said, why)

    def wait(self) -> None:
        """Until it is time to look again."""
        self._closed.wait(LOOK_S)

    def close(self) -> None:
        self._closed.set()

    def _follow(self) -> None:
        while not self._closed.is_set():
            try:
                for snapshot in follow(self._at):
                    self._heard = (snapshot, time.monotonic(), "")
                    if self._closed.is_set():
                        return
            except FeedError as error:
                # What was heard last only grows old.
                self._heard = (*self._heard[:2], str(error))
            self._closed.wait(LOOK_S)

    def _ask(self) -> None:
        while not self._closed.wait(ROUTER_S):
            self._said = _said(self._at)


def _heard(at: Path) -> tuple[Snapshot | None, str]:
    """The first Snapshot that comes, or why none does."""
    try:
        return next(iter(follow(at))), ""
    except FeedError as error:
        return None, str(error)


def _composed(at: Path, snapshot: Snapshot | None, age_s: float, said: dict[str, Any] | None, why: str) -> Status:
    """`why` is "" while Snapshots come; without any, the router may know the last one."""
    if age_s > SILENT_S:
        why = why or f"it has said nothing for {age_s:.0f} s"
    supervisor = home.running_supervisor(at)
    survivors = _survivors(at) if why else ()
    away, hint = _away(at, why, supervisor, survivors) if why else ("", "")
    if snapshot is None:
        snapshot, age_s = _heard_by_router(said)
    return Status(
        home=at,
        router=_router(at),
        runs=not why or bool(supervisor or survivors),
        snapshot=snapshot,
        age_s=age_s,
        said=said,
        away=away,
        hint=hint,
        survivors=survivors,
        last_words=_last_words(at, snapshot),
    )


def _away(at: Path, why: str, supervisor: ProcessId | None, survivors: Sequence[Survivor]) -> tuple[str, str]:
    """What is wrong, and what becomes of it."""
    if supervisor:
        return (
            f"the supervisor (pid {supervisor.pid}) runs but does not answer: {why}",
            f"If it stays so, `kill -9 {supervisor.pid}`: the next one takes over what runs.",
        )
    if survivors:
        return (
            "the supervisor is dead, and what it started runs on without it",
            "The next one takes that over: it comes by itself, or with `spillway up`.",
        )
    return f"nothing runs in {at}", "`spillway up` starts the stack."


def _survivors(at: Path) -> tuple[Survivor, ...]:
    living = [record for record in read_records(at) if record.name != home.SUPERVISOR and record.keeper.lives()]
    return tuple(_survivor(record) for record in living)


def _survivor(record: Record) -> Survivor:
    process = record.child or record.keeper
    up_s = time.clock_gettime(time.CLOCK_BOOTTIME) - process.ticks / os.sysconf("SC_CLK_TCK")
    return Survivor(record.name, process.pid, max(0.0, up_s))


def _router(at: Path) -> RouterPlan:
    plan = home.last_plan(at)
    return plan.router if plan else NO_ROUTER


def _said(at: Path) -> dict[str, Any] | None:
    router = _router(at)
    return door.read_status(router.host, router.port, router.keys_env)


def _heard_by_router(said: Mapping[str, Any] | None) -> tuple[Snapshot | None, float]:
    """The Snapshot that the router goes by, and its age."""
    if not said or said.get("snapshot_age_s") is None:
        return None, 0.0
    parts = {key: said.get(key) for key in ("engines", "gpus", "host")}
    frame = {"schema": SCHEMA, "sequence": 0, "supervisor_pid": 0, "models": [], "refused": "", "busy": ""}
    try:
        return from_json(json.dumps(frame | parts).encode()), float(said["snapshot_age_s"])
    except SnapshotError:
        return None, 0.0


def _last_words(at: Path, snapshot: Snapshot | None) -> dict[str, Sequence[str]]:
    closed = [view for view in snapshot.engines if view.state is EngineState.QUARANTINED] if snapshot else []
    return {view.name: last_words(home.logs_folder(at) / f"{view.name}.log") for view in closed}
