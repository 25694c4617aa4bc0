"""The one process that owns the engines and keeps the router alive: `python -m engines.supervisor` in a home.

The single writer of everything it publishes. Takes its Plan from `plan.json` in the home, runs until TERM, then stops
all it started. Never sees a request.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from engines.feed import Feed
from engines.gpus.nvml import open_reader
from engines.gpus.watch import GpuWatch
from engines.home import lock_path, logs_folder, measured_path, plan_path, write_own_record
from engines.host import read_host
from engines.kinds.http import EngineHttp
from engines.life.engine import Engine, Site
from engines.life.lifecycle import failures_after, wait_s
from engines.memory import measured
from engines.memory.measured import Measured
from engines.pause import pause
from engines.plan import EnginePlan, Plan, PlanError, RouterPlan, from_json
from engines.processes.childlog import Log
from engines.processes.keeper import PR_SET_CHILD_SUBREAPER, Orders
from engines.processes.process import Kept, how_ended, records_folder, sweep_orphans
from engines.snapshot import FEED_NAME, EngineState, EngineView, GpuView, Snapshot, state_home
from engines.starting.effort import QUIET_S
from engines.starting.gate import Device
from engines.starting.learned import merged

TICK_S = 0.25
GPUS_EVERY_S = 2.0
# Beyond its drain: a router ends what is left, and one with workers waits for the slowest of them.
ROUTER_GRACE_S = 7.0
LOG_BYTES = 4 * 2**20
LOAD_QUIET_VARIABLE = "SPILLWAY_LOAD_QUIET_S"


class Supervisor:
    """Drives the planned engines and the router; one instance per home."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self._plan, self._home = plan, home
        self._log = Log(str(logs_folder(home) / "supervisor.log"), LOG_BYTES, 2)
        self._stopping = asyncio.Event()
        self._keepers: set[int] = set()
        self._sequence = 0
        # A plan without GPUs need not ask for any.
        has_gpus = any(each.gpu_uuids for each in plan.engines)
        self._watch = GpuWatch(open_reader(), GPUS_EVERY_S) if has_gpus else None
        self._states: dict[str, EngineState] = {}

    async def run(self) -> None:
        """Until TERM. The router goes first, so that no request meets a stopping engine."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        feed = Feed(self._home)
        await feed.open()
        self._say(f"supervisor {os.getpid()} runs profile {self._plan.profile}")
        async with EngineHttp() as http:
            site = Site(self._home, http, self._watch, self._keepers, self._learn, load_quiet_s(os.environ))
            devices: dict[str, Device] = {}
            engines = [Engine(each, site, devices_of(each, devices)) for each in self._plan.engines]
            router = asyncio.create_task(self._keep_router())
            running = [asyncio.create_task(engine.run()) for engine in engines]
            await self._publish_until(feed, engines, {router, *running})
            await self._end(feed, engines, router, running)
        await feed.close()
        if self._watch:
            self._watch.close()
        self._say("everything is stopped")

    async def _publish_until(self, feed: Feed, engines: list[Engine], tasks: set[asyncio.Task[None]]) -> None:
        """Tick until asked to stop, or until a task of ours breaks: a fault that must not pass in silence."""
        while not self._stopping.is_set() and not any(task.done() for task in tasks):
            if not (self._home / FEED_NAME).exists():
                # Somebody removed the state folder: nobody can find us any more, so nothing of ours may stay.
                return
            self._tick(feed, engines)
            await pause(self._stopping, TICK_S)

    async def _end(
        self, feed: Feed, engines: list[Engine], router: asyncio.Task[None], running: list[asyncio.Task[None]]
    ) -> None:
        self._stopping.set()
        self._say("stopping")
        for task, stop in ((asyncio.gather(router), None), (asyncio.gather(*running), engines)):
            for engine in stop or ():
                engine.stop()
            while not task.done():
                self._tick(feed, engines)
                await asyncio.wait({task}, timeout=TICK_S)
        await sweep_orphans(self._keepers)
        for ended in (router, *running):
            ended.result()

    def _tick(self, feed: Feed, engines: list[Engine]) -> None:
        views = tuple(engine.view() for engine in engines)
        for view in views:
            self._say_change(view)
        self._sequence += 1
        feed.publish(
            Snapshot(
                sequence=self._sequence,
                supervisor_pid=os.getpid(),
                engines=views,
                models=self._plan.models,
                gpus=self._read_gpus(),
                host=read_host(),
            )
        )

    def _read_gpus(self) -> tuple[GpuView, ...]:
        """The newest that is known. A driver in trouble may take long to answer: nobody here waits for it."""
        seen = self._watch.latest().gpus.seen if self._watch else ()
        return tuple(GpuView(gpu.uuid, gpu.name, gpu.total_bytes, gpu.used_bytes, gpu.free_bytes) for gpu in seen)

    def _learn(self, plan: EnginePlan, told: Measured) -> None:
        """Keep what a good start told: the next plan reckons with it. A full disk costs only that."""
        path = measured_path(self._home)
        engine = f"{plan.runtime.name} {plan.runtime.version}"
        key = measured.key_of(engine, plan.revision, plan.shape, plan.gpu_name, plan.extra_args)
        try:
            known = measured.read(path)
            measured.write(path, {**known, key: merged(known.get(key), told)})
        except OSError as error:
            self._say(f"what engine {plan.name} told of its memory is not kept: {error}")

    async def _keep_router(self) -> None:
        """Start the router at once, so that its port is claimed early, and again whenever it ends."""
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                kept = Kept.start(self._router_orders(self._plan.router), router_environment(os.environ, self._home))
            except OSError as error:
                self._say(f"router cannot be started: {error}")
            else:
                code = await self._run_router(kept)
                self._say(f"router ended: {how_ended(code)}")
            failures = failures_after(failures, time.monotonic() - began_s)
            await pause(self._stopping, wait_s(failures))

    async def _run_router(self, kept: Kept) -> int:
        self._keepers.add(kept.keeper_pid)
        ended = asyncio.create_task(kept.wait())
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        kept.terminate()
        code = await ended
        self._keepers.discard(kept.keeper_pid)
        await sweep_orphans(self._keepers)
        return code

    def _router_orders(self, router: RouterPlan) -> Orders:
        return Orders(
            name="router",
            command=list(router.command),
            log=str(logs_folder(self._home) / "router.log"),
            record=str(records_folder(self._home) / "router.json"),
            scratch=None,
            grace_s=router.drain_s + ROUTER_GRACE_S,
        )

    def _say_change(self, view: EngineView) -> None:
        if self._states.get(view.name) is not view.state:
            self._states[view.name] = view.state
            why = f": {view.last_error}" if view.state in (EngineState.FAILED, EngineState.QUARANTINED) else ""
            changed = f" with {view.changes}" if view.changes and view.state is EngineState.READY else ""
            self._say(f"engine {view.name} is {view.state}{changed}{why}")

    def _say(self, text: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())


def devices_of(plan: EnginePlan, known: dict[str, Device]) -> list[Device]:
    """The devices of an engine, each the same object for all engines on it."""
    return [known.setdefault(name, Device(name)) for name in plan.gpu_uuids or (plan.device,)]


def load_quiet_s(user: Mapping[str, str]) -> float:
    """How long a start may do nothing: the user's, for slow disks and compilers, else ours."""
    try:
        return float(user.get(LOAD_QUIET_VARIABLE, QUIET_S))
    except ValueError:
        return QUIET_S


def router_environment(user: Mapping[str, str], home: Path) -> dict[str, str]:
    """The user's own environment, cloud keys included: the router is ours and needs them."""
    return {**user, "SPILLWAY_HOME": str(home)}


def main() -> int:
    """0 after an ordered stop; 1 with a sentence on stderr if there is nothing to do here."""
    home = state_home()
    try:
        lock = os.open(lock_path(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        plan = from_json(plan_path(home).read_text(encoding="utf-8"))
    except BlockingIOError:
        print(f"another supervisor runs in {home}", file=sys.stderr)
        return 1
    except (OSError, PlanError) as error:
        print(error, file=sys.stderr)
        return 1
    # Whatever a killed keeper leaves becomes a child of ours, and ours only.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    record = write_own_record(home)
    try:
        asyncio.run(Supervisor(plan, home).run())
    finally:
        record.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
