"""Waiting until a plan truly serves: what is still to come in words, and why it will never come, with the log's end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines import door, home
from engines.errors import SpillwayError
from engines.following import FeedError, follow
from engines.life.last_words import last_words
from engines.logtail import LogTail
from engines.plan import Plan
from engines.snapshot import EngineState, EngineView, Snapshot
from engines.terminal.progress import Show

ROUTER_WAIT_S = 60.0
FAILED_STARTS = 3
EXTERNAL = "url"


class UpError(SpillwayError):
    """The stack does not come up. `log` is the file that tells more, if there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def words(self) -> str:
        lines = last_words(self.log) if self.log else []
        return "\n".join([str(self), *(["", f"Last lines of {self.log}:", *lines] if lines else [])])


class ChangeRefusedError(UpError):
    """What is wanted does not run, and what ran before does."""


def wait_until_served(plan: Plan, at: Path, show: Show, after: int = 0) -> Snapshot:
    """Follow the feed until every engine serves as planned and the router answers; what was published before the number
    `after` does not count. Raises UpError with the cause."""
    began_s = time.monotonic()
    supervisor_log = LogTail(home.logs_folder(at) / "supervisor.log")
    # Engines may take long to load; only then does the router's own time begin.
    ready_since_s: float | None = None
    try:
        for snapshot in follow(at):
            if snapshot.sequence < after:
                continue
            _raise_failure(snapshot, plan, at)
            _raise_router_end(supervisor_log, at)
            waiting = _waiting(snapshot, plan)
            if not waiting and (said := _heard_of_all(plan, snapshot)) is not None:
                if to_come := clouds_to_come(said):
                    show.note(to_come)
                return snapshot
            now_s = time.monotonic()
            show.say("; ".join(waiting) or "waiting for the router", now_s - began_s)
            ready_since_s = None if waiting else (ready_since_s or now_s)
            if ready_since_s is not None and now_s - ready_since_s > ROUTER_WAIT_S:
                raise UpError("the engines are ready but the router does not answer.", _log_of(at, "router"))
    except FeedError as error:
        raise UpError(f"{error}.", _log_of(at, "supervisor")) from error
    raise UpError("the supervisor has ended.", _log_of(at, "supervisor"))


def _views(snapshot: Snapshot, plan: Plan) -> list[EngineView]:
    """Of the planned engines, and of those that are to take their names."""
    names = {engine.name for engine in plan.engines}
    return [view for view in snapshot.engines if view.name.removesuffix("~2") in names and view.kind != EXTERNAL]


def _waiting(snapshot: Snapshot, plan: Plan) -> list[str]:
    """What is still to come, in words."""
    views = _views(snapshot, plan)
    missing = {engine.name for engine in plan.engines} - {view.name for view in views}
    done = (EngineState.READY, EngineState.SLEEPING)
    return [
        *(f"{name}: planned" for name in sorted(missing)),
        *(_words(view) for view in views if view.state not in done or view.name.endswith("~2")),
    ]


def clouds_to_come(said: Mapping[str, Any]) -> str:
    """Which clouds still start, by what the router says of itself; "" if none does."""
    names = [f"cloud/{each['name']}" for each in said.get("clouds", []) if each["state"] == "starting"]
    return f"{', '.join(names)}: the SDK is being loaded; requests wait for it or go elsewhere." if names else ""


def _heard_of_all(plan: Plan, snapshot: Snapshot) -> Mapping[str, Any] | None:
    """What the router says of itself, if it answers and knows every engine that serves: the next request is served."""
    status = door.read_status(plan.router.host, plan.router.port, plan.router.keys_env)
    if status is None:
        return None
    seen = {engine["name"] for engine in status.get("engines", []) if engine["state"] == EngineState.READY}
    ready = {view.name for view in _views(snapshot, plan) if view.state is EngineState.READY}
    return status if seen >= ready else None


def _raise_failure(snapshot: Snapshot, plan: Plan, at: Path) -> None:
    """An engine whose next start is changed, or may find its port or its memory free, is waited for; one that no start
    can mend, or that fails alike again and again, is not."""
    if snapshot.refused:
        found = next((view.name for view in _views(snapshot, plan) if f"engine {view.name} " in snapshot.refused), None)
        raise ChangeRefusedError(snapshot.refused, _log_of(at, found or "supervisor"))
    for engine in _views(snapshot, plan):
        is_hopeless = engine.is_final or engine.failed_starts >= FAILED_STARTS
        if engine.is_final or (engine.state is EngineState.FAILED and is_hopeless):
            name = engine.name.removesuffix("~2")
            raise UpError(f"engine {name} failed: {engine.last_error}", _log_of(at, name))


def _raise_router_end(log: LogTail, at: Path) -> None:
    for line in log.new_lines():
        if line.endswith(" stopping"):
            raise UpError("it was told to stop, by `spillway down` or by a signal.", _log_of(at, "supervisor"))
        if " router ended: " in line or " router cannot be started: " in line:
            raise UpError(f"the router does not stay up: {line.partition('router ')[2]}.", _log_of(at, "router"))


def _log_of(at: Path, name: str) -> Path:
    """The newest of this name: instances of an engine that take turns have logs of their own."""
    folder = home.logs_folder(at)
    found = [path for path in folder.glob(f"{name}*.log") if path.stem.partition("~")[0] == name]
    return max(found, key=lambda path: path.stat().st_mtime, default=folder / f"{name}.log")


def _words(engine: EngineView) -> str:
    return f"{engine.name} on {engine.device[:12]}: {engine.state}" + (
        f", {engine.progress}" if engine.progress else ""
    )
