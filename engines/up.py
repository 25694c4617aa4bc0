"""`spillway up`: check everything, install what is missing, start the supervisor, wait until all of it truly serves.

Whatever it started it ends again when it fails or is interrupted. Never a silent minute.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from engines import door, home
from engines import runtime as runtimes
from engines.feed import FeedError, follow
from engines.fetching import ensure_files
from engines.foreign import foreign_bytes, wait_given_back
from engines.gpus.nvml import read_gpus
from engines.logtail import LogTail, last_lines
from engines.pip import Progress
from engines.plan import Plan
from engines.planning import startable
from engines.progress import Show
from engines.snapshot import EngineState, EngineView, Snapshot
from engines.stack import Asked, Stack, check_router, read_stack

FEED_WAIT_S = 20.0
FEED_PAUSE_S = 0.05
ROUTER_WAIT_S = 60.0
LOG_LINES = 15
FAILED_STARTS = 3


class UpError(Exception):
    """The stack does not come up. `log` is the file that tells more, if there is one."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log

    def words(self) -> str:
        lines = last_lines(self.log, LOG_LINES) if self.log else []
        return "\n".join([str(self), *(["", f"Last lines of {self.log}:", *lines] if lines else [])])


def bring_up(asked: Asked, at: Path, show: Show) -> tuple[Plan, Snapshot]:
    """The plan that runs and a Snapshot in which every engine is ready and the router answers.

    Raises TableError, StackError, PlanError, PortTakenError, RuntimeInstallError or UpError; then nothing that was
    started here is left.
    """
    show.say("reading stack.toml and models.lock")
    stack = read_stack(asked)
    home.make_home(at)
    with (at / "up.lock").open("w") as one_at_a_time:
        show.say("waiting for another `spillway up` to end")
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        running = home.running_supervisor(at)
        plan = home.last_plan(at) if running else None
        if plan and plan.fingerprint == stack.fingerprint and not _has_given_up(at, show):
            return plan, _wait_for_running(plan, at, show)
        return _start_anew(stack, at, show, is_running=running is not None)


def _has_given_up(at: Path, show: Show) -> bool:
    """Whether an engine of the stack that runs will never be tried again, so that waiting for it is in vain."""
    try:
        final = [engine for engine in next(iter(follow(at))).engines if engine.is_final]
    except FeedError:
        return False
    for engine in final:
        show.note(f"engine {engine.name} had given up: {engine.last_error}")
    return bool(final)


def _wait_for_running(plan: Plan, at: Path, show: Show) -> Snapshot:
    try:
        return wait_until_served(plan, at, show)
    except UpError as error:
        hint = "It was started earlier and goes on trying; `spillway down` ends that."
        raise UpError(f"{error} {hint}", error.log) from error


def _start_anew(stack: Stack, at: Path, show: Show, is_running: bool) -> tuple[Plan, Snapshot]:
    show.say("checking the router's tables")
    router = check_router(stack.asked.config)
    show.say("planning")
    startable(stack, router, at)
    ensure_files(stack.locked(), show)
    if is_running:
        show.note("restarting everything: stack.toml, models.lock, a key or the profile changed, or an engine gave up.")
    show.say("stopping what ran before" if is_running else "looking for leftovers")
    before = home.last_plan(at) if is_running else None
    others = foreign_bytes(read_gpus().seen, at) if stack.gpus.seen else {}
    home.end_all(at)
    try:
        wait_given_back(others, show.say)
        door.require_free(router.host, router.port)
        install(stack.runtime, show)
        # Planned again: only now is the memory of the stack that ran before free.
        plan = startable(stack, router, at)
        home.plan_path(at).write_text(plan.to_json(), encoding="utf-8")
        _start_supervisor(at)
        return plan, wait_until_served(plan, at, show)
    except BaseException:
        show.say("stopping what was started")
        home.end_all(at)
        if before is not None:
            _start_again(before, at, show)
        raise


def _start_again(before: Plan, at: Path, show: Show) -> None:
    """What could not be replaced runs on: with the plan it had, and without waiting for it. If even that fails it is
    only noted, because the reason why we are here is what the user must know."""
    try:
        home.plan_path(at).write_text(before.to_json(), encoding="utf-8")
        _start_supervisor(at)
    except (OSError, UpError) as error:
        show.note(f"The stack from before cannot be started again either: {error}")
        return
    show.note("The change cannot run; the stack from before it is being started again (`spillway status`).")


def install(runtime: runtimes.Runtime, show: Show) -> None:
    """Make the engine runtime if it is not there. Raises RuntimeInstallError."""

    def report(progress: Progress) -> None:
        show.say(f"installing {runtime.name} {runtime.version}: {install_words(progress)}", progress.elapsed_s)

    if not runtimes.is_ready(runtime):
        runtimes.install(runtime, report)


def install_words(progress: Progress) -> str:
    counted = f" {progress.done} of {progress.total} packages" if progress.total else ""
    return f"{progress.phase}{counted} {progress.package}".rstrip()


def _start_supervisor(at: Path) -> None:
    """Detached, in a session of its own. Raises UpError if it ends before it publishes."""
    log = home.logs_folder(at) / "supervisor.log"
    with log.open("ab") as said:
        started = subprocess.Popen(
            [sys.executable, "-m", "engines.supervisor"],
            env={**os.environ, "SPILLWAY_HOME": str(at)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    deadline_s = time.monotonic() + FEED_WAIT_S
    while time.monotonic() < deadline_s:
        if started.poll() is not None:
            raise UpError(f"the supervisor ended with exit code {started.returncode}.", log)
        try:
            next(iter(follow(at)))
        except FeedError:
            time.sleep(FEED_PAUSE_S)
        else:
            # It outlives this process on purpose, so Python need not warn that nobody waits for it.
            started.returncode = 0
            return
    raise UpError(f"the supervisor does not publish within {FEED_WAIT_S:.0f} s.", log)


def wait_until_served(plan: Plan, at: Path, show: Show) -> Snapshot:
    """Follow the feed until every engine has made a token and the router answers. Raises UpError with the cause."""
    began_s = time.monotonic()
    supervisor_log = LogTail(home.logs_folder(at) / "supervisor.log")
    # Engines may take long to load; only then does the router's own time begin.
    ready_since_s: float | None = None
    try:
        for snapshot in follow(at):
            _raise_failure(snapshot, at)
            _raise_router_end(supervisor_log, at)
            engines_ready = all(engine.state is EngineState.READY for engine in snapshot.engines)
            if engines_ready and _router_sees(plan):
                return snapshot
            now_s = time.monotonic()
            _say_progress(snapshot, now_s - began_s, show)
            ready_since_s = (ready_since_s or now_s) if engines_ready else None
            if ready_since_s is not None and now_s - ready_since_s > ROUTER_WAIT_S:
                raise UpError("the engines are ready but the router does not answer.", _log_of(at, "router"))
    except FeedError as error:
        raise UpError(f"{error}.", _log_of(at, "supervisor")) from error
    raise UpError("the supervisor has ended.", _log_of(at, "supervisor"))


def _router_sees(plan: Plan) -> bool:
    """Whether the router answers and knows that every engine is ready, so that the next request will be served."""
    status = door.read_status(plan.router.host, plan.router.port, plan.router.keys_env) or {}
    seen = {engine["name"] for engine in status.get("engines", []) if engine["state"] == EngineState.READY}
    return seen >= {engine.name for engine in plan.engines}


def _raise_failure(snapshot: Snapshot, at: Path) -> None:
    """An engine whose next start is changed, or may find its port or its memory free, is waited for; one that no start
    can mend, or that fails alike again and again, is not."""
    for engine in snapshot.engines:
        is_hopeless = engine.is_final or engine.failed_starts >= FAILED_STARTS
        if engine.is_final or (engine.state is EngineState.FAILED and is_hopeless):
            raise UpError(f"engine {engine.name} failed: {engine.last_error}", _log_of(at, engine.name))


def _raise_router_end(log: LogTail, at: Path) -> None:
    for line in log.new_lines():
        if line.endswith(" stopping"):
            raise UpError("it was told to stop, by `spillway down` or by a signal.", _log_of(at, "supervisor"))
        if " router ended: " in line or " router cannot be started: " in line:
            raise UpError(f"the router does not stay up: {line.partition('router ')[2]}.", _log_of(at, "router"))


def _log_of(at: Path, name: str) -> Path:
    return home.logs_folder(at) / f"{name}.log"


def _say_progress(snapshot: Snapshot, elapsed_s: float, show: Show) -> None:
    waiting = [engine for engine in snapshot.engines if engine.state is not EngineState.READY]
    show.say("; ".join(_words(engine) for engine in waiting) or "waiting for the router", elapsed_s)


def _words(engine: EngineView) -> str:
    return f"{engine.name} on {engine.device[:12]}: {engine.state}" + (
        f", {engine.progress}" if engine.progress else ""
    )
