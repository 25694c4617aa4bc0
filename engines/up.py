"""`spillway up`: check everything, install what is missing, have a supervisor run the plan, wait until it truly serves.

Beside a running supervisor it changes only what is different; when that fails, what ran before goes on. What it started
from nothing it ends again when it fails or is interrupted. Never a silent minute.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from engines import door, home
from engines import runtime as runtimes
from engines.fetching import ensure_files
from engines.following import FeedError, follow
from engines.foreign import foreign_bytes, wait_given_back
from engines.gpus.nvml import read_gpus
from engines.life.change import changes
from engines.pip import Progress
from engines.plan import Plan, Source
from engines.planning import startable
from engines.processes.record import ProcessId, read_records
from engines.reign.planfile import decline, only_planner, write_plan
from engines.reign.reign import environment, is_of_this_version, supervisor_command
from engines.reign.replanning import require_port
from engines.reign.replans import digest_of
from engines.reign.routerlife import has_environment
from engines.snapshot import GpuState, Snapshot
from engines.stack import Asked, Stack, check_router, read_stack
from engines.tables import named_variables, read_toml
from engines.terminal.awaiting import ChangeRefusedError, UpError, wait_until_served
from engines.terminal.progress import Show

FEED_WAIT_S = 20.0
FEED_PAUSE_S = 0.05
# A keeper that starts the next supervisor at the same moment needs no longer to write down that it has.
RIVAL_S = 3.0
HAND_ON_TRIES = 3
# A Snapshot so many numbers after the one that was heard before a HUP shows what that has brought about.
HEED_SNAPSHOTS = 3


def bring_up(asked: Asked, at: Path, show: Show) -> tuple[Plan, Snapshot]:
    """The plan that runs and a Snapshot in which every engine serves, or sleeps as planned, and the router answers.

    Raises TableError, StackError, PlanError, PortTakenError, RuntimeInstallError or UpError; then what ran before still
    runs, and nothing else that was started here.
    """
    show.say("reading stack.toml and models.lock")
    digest = digest_of(Source(str(asked.config), str(asked.lock)))
    stack = read_stack(asked)
    home.make_home(at)
    show.say("waiting for another `spillway up` to end")
    with only_planner(at, limit_s=None):
        if not any(record.keeper.lives() for record in read_records(at)):
            return _start_anew(stack, at, show)
        running, plan = home.running_supervisor(at), home.last_plan(at)
        is_same = plan is not None and plan.fingerprint == stack.fingerprint
        if plan and is_same and running and _is_current(running, stack, at) and not _stands_still(at, show):
            return plan, _wait_for_running(running, plan, at, show)
        return _change(stack, digest, at, show)


def _is_current(running: ProcessId, stack: Stack, at: Path) -> bool:
    """Whether the supervisor runs the code that is here, with the keys that are here."""
    names = set(named_variables(read_toml(stack.asked.config)))
    return is_of_this_version(at, running) and has_environment(running, names)


def _stands_still(at: Path, show: Show) -> bool:
    """Whether something of the stack that runs will not be tried again, so that waiting for it is in vain."""
    snapshot = _snapshot(at)
    if snapshot is None:
        return False
    for engine in snapshot.engines:
        if engine.is_final:
            show.note(f"engine {engine.name} had given up: {engine.last_error}")
    return bool(snapshot.refused) or any(engine.is_final for engine in snapshot.engines)


def _snapshot(at: Path) -> Snapshot | None:
    try:
        return next(iter(follow(at)))
    except FeedError:
        return None


def _wait_for_running(running: ProcessId, plan: Plan, at: Path, show: Show) -> Snapshot:
    try:
        return wait_until_served(plan, at, show, _tell(running, at))
    except ChangeRefusedError:
        raise
    except UpError as error:
        hint = "It was started earlier and goes on trying; `spillway down` ends that."
        raise UpError(f"{error} {hint}", error.log) from error


def _start_anew(stack: Stack, at: Path, show: Show) -> tuple[Plan, Snapshot]:
    """With nothing of ours running."""
    show.say("checking the router's tables")
    router = check_router(stack.asked)
    show.say("planning")
    startable(stack, router, at)
    ensure_files(stack.locked(), show)
    show.say("looking for leftovers")
    others = foreign_bytes(read_gpus().seen, at) if stack.gpus.seen else {}
    home.end_all(at)
    try:
        wait_given_back(others, show.say)
        door.require_free(router.host, router.port)
        install_for(stack, show)
        # Planned again: only now is the memory of what was left free.
        plan = startable(stack, router, at)
        write_plan(at, plan.to_json())
        _start_supervisor(at, None)
        return plan, wait_until_served(plan, at, show)
    except BaseException:
        show.say("stopping what was started")
        home.end_all(at)
        raise


def _change(stack: Stack, digest: str, at: Path, show: Show) -> tuple[Plan, Snapshot]:
    """Beside what runs."""
    show.say("checking the router's tables")
    router = check_router(stack.asked)
    before = home.last_plan(at)
    require_port(before, router)
    install_for(stack, show)
    ensure_files(stack.locked(), show)
    show.say("planning")
    plan = startable(stack, router, at, _closed_gpus(at))
    show.note(change_words(before, plan))
    try:
        write_plan(at, plan.to_json())
        after = _hand_on(stack, at, show)
        return plan, wait_until_served(plan, at, show, after)
    except BaseException as error:
        # An interrupted change may be tried again, one that failed is not, before the files change.
        _take_back(before, at, show, (digest, str(error)) if isinstance(error, UpError) else None)
        raise


def change_words(before: Plan | None, plan: Plan) -> str:
    """What a change means for the engines, in a line."""
    found = changes(before.engines if before else (), plan.engines)
    verbs = (("starts", found.start), ("replaces", found.replace), ("ends", found.stop), ("leaves alone", found.keep))
    words = "; ".join(f"{verb} {', '.join(names)}" for verb, names in verbs if names)
    return f"the change {words or 'starts no engine'}."


def _closed_gpus(at: Path) -> tuple[str, ...]:
    snapshot = _snapshot(at)
    gpus = snapshot.gpus if snapshot else ()
    return tuple(gpu.uuid for gpu in gpus if gpu.state is GpuState.QUARANTINED)


def _hand_on(stack: Stack, at: Path, show: Show) -> int:
    """The plan to the supervisor that runs, or to one that takes its place without the engines noticing. The number of
    the first Snapshot that counts."""
    for _ in range(HAND_ON_TRIES):
        running = home.running_supervisor(at)
        if running and _is_current(running, stack, at):
            return _tell(running, at)
        if running:
            show.note("another supervisor takes over, because Spillway or a key changed; what did not change goes on.")
        _start_supervisor(at, running)
    raise UpError("no supervisor of this version stays.", home.logs_folder(at) / "supervisor.log")


def _tell(running: ProcessId, at: Path) -> int:
    """Have plan.json read again. The number of the first Snapshot that counts."""
    running.tell(signal.SIGHUP)
    snapshot = _snapshot(at)
    return snapshot.sequence + HEED_SNAPSHOTS if snapshot else 0


def _take_back(before: Plan | None, at: Path, show: Show, failed: tuple[str, str] | None) -> None:
    """What could not be changed goes on as it was. If even that fails it is only noted, because the reason why we are
    here is what the user must know. `failed`: what files of which content led to."""
    try:
        if before is not None:
            write_plan(at, before.to_json())
        if failed is not None:
            decline(at, *failed)
        if running := home.running_supervisor(at):
            running.tell(signal.SIGHUP)
        else:
            _start_supervisor(at, None)
    except (OSError, UpError) as error:
        show.note(f"What ran before cannot be told to go on: {error}")
    else:
        show.note("The change cannot run; what ran before goes on (`spillway status`).")


def install_for(stack: Stack, show: Show) -> None:
    """The runtime, where anything runs in it."""
    if stack.needs_runtime:
        install(stack.runtime, show)


def install(runtime: runtimes.Runtime, show: Show) -> None:
    """Make the engine runtime if it is not there. Raises RuntimeInstallError."""

    def report(progress: Progress) -> None:
        show.say(f"installing {runtime.name} {runtime.version}: {install_words(progress)}", progress.elapsed_s)

    if not runtimes.is_ready(runtime):
        runtimes.install(runtime, report)


def install_words(progress: Progress) -> str:
    counted = f" {progress.done} of {progress.total} packages" if progress.total else ""
    return f"{progress.phase}{counted} {progress.package}".rstrip()


def _start_supervisor(at: Path, replaced: ProcessId | None) -> None:
    """Detached, in a session of its own; it takes over what an earlier one left, and the place of the one that is to be
    `replaced`. Raises UpError if it ends before it publishes."""
    log = home.logs_folder(at) / "supervisor.log"
    with log.open("ab") as said:
        started = subprocess.Popen(
            supervisor_command(replaced),
            env=environment(os.environ, at),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    deadline_s = time.monotonic() + FEED_WAIT_S
    while time.monotonic() < deadline_s:
        if started.poll() is not None:
            # A keeper may have been faster, and its supervisor not be heard yet.
            is_late = time.monotonic() > deadline_s - FEED_WAIT_S + RIVAL_S
            if is_late and home.running_supervisor(at) is None:
                raise UpError(f"the supervisor ended with exit code {started.returncode}.", log)
            if home.running_supervisor(at) and _snapshot(at):
                return
        elif (snapshot := _snapshot(at)) and snapshot.supervisor_pid == started.pid:
            # It outlives this process on purpose, so Python need not warn that nobody waits for it.
            started.returncode = 0
            return
        time.sleep(FEED_PAUSE_S)
    raise UpError(f"the supervisor does not publish within {FEED_WAIT_S:.0f} s.", log)
