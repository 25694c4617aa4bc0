"""The one process that owns the engines and keeps the router alive: `python -m engines.supervisor` in a home.

The single writer of everything it publishes. Takes its Plan from `plan.json` in the home, again at every HUP, and makes
another when its files or GPUs change. What an earlier supervisor left running it takes over. Runs until TERM, then
stops all that runs. Never sees a request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from engines.crew.crew import Crew, Doors
from engines.crew.maker import Maker
from engines.elsewhere.external import Externals
from engines.feed import Feed
from engines.home import last_plan, logs_folder
from engines.host import read_host
from engines.kinds.http import EngineHttp
from engines.pause import pause
from engines.plan import Plan
from engines.processes.childlog import Log
from engines.processes.process import sweep_orphans
from engines.processes.record import Record, read_record, record_path
from engines.reign.reign import Refused, Reign
from engines.reign.replans import Replans
from engines.reign.routerlife import RouterLife
from engines.reign.ward import Ward
from engines.snapshot import FEED_NAME, EngineState, EngineView, Snapshot

TICK_S = 0.25
FAULTS_KNOWN = 20
LOG_BYTES = 4 * 2**20


class Supervisor:
    """Drives the planned engines and the router; one instance per home."""

    def __init__(self, reign: Reign) -> None:
        self._reign, self._home = reign, reign.home
        self._log = Log(str(logs_folder(self._home) / "supervisor.log"), LOG_BYTES, 2)
        self._stopping, self._woken = asyncio.Event(), asyncio.Event()
        self._has_news = False
        self._sequence = 0
        self._faults: deque[str] = deque(maxlen=FAULTS_KNOWN)
        self._keepers: set[int] = set()
        self._states: dict[str, tuple[EngineState, str | None]] = {}
        self._feed = Feed(self._home)
        self._ward = Ward(self._keepers, self._say)
        self._replans = Replans(self._home, self._keepers, self._say)
        self._router = RouterLife(self._home, self._keepers, reign.reviver, self._say)
        self._plan = reign.plan

    async def run(self) -> None:
        """Until TERM. The router goes first, so that no request meets a stopping engine."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)
        # What was written while a HUP could not be heard yet.
        self._plan = last_plan(self._home) or self._plan
        self._say(f"supervisor {os.getpid()} runs profile {self._plan.profile}")
        async with EngineHttp() as http:
            self._externals = Externals(self._plan.externals, http)
            self._maker = self._make_maker(http)
            doors = Doors(self._maker, self._say, self._ward.free_bytes, self._feed.use, self._record)
            self._crew = Crew(doors)
            router = self._take_over()
            await self._feed.open()
            tasks = {
                "router": asyncio.create_task(self._router.run(router)),
                "externals": asyncio.create_task(self._externals.run()),
            }
            await self._publish_until(tasks)
            await self._end(tasks)
        await self._feed.close()
        self._ward.close()
        self._say("everything is stopped")

    def _take_over(self) -> Record | None:
        """What runs already joins; the router among it is given back."""
        found = self._reign.living()
        strange = self._crew.adopt([each for each in found if each.name != "router"], self._plan.engines)
        for record in strange:
            self._say(
                f"{record.name} (pid {record.keeper.pid}) is ours and none of this version's engines: it is ended"
            )
            record.keeper.tell(signal.SIGTERM)
        self._accept(self._plan)
        self._replans.accept(self._plan, is_newest=not self._reign.is_succession)
        return next((each for each in found if each.name == "router"), None)

    def _accept(self, plan: Plan, again: bool = False) -> None:
        """This is the plan from now on."""
        self._plan = plan
        self._maker.lock = plan.source.lock if plan.source else ""
        self._ward.want(plan.engines, plan.without)
        self._crew.want(plan.engines, again)
        self._router.want(plan)
        self._externals.change(plan.externals)

    async def _publish_until(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        """Tick until asked to stop, or until nobody can find us any more."""
        while not self._stopping.is_set():
            if not self._home.is_dir():
                # Somebody removed the state folder: nobody can find us any more, so nothing of ours may stay.
                return
            self._woken.clear()
            await self._see_to_feed()
            self._see_to_tasks(tasks)
            for step in (self._heed, self._ward.judge, self._replan, self._man, self._publish):
                self._guarded(step)
            await pause(self._woken, TICK_S)

    def _guarded(self, step: Callable[[], None]) -> None:
        """A fault of ours must not end what serves: it is told once, and the next tick tries again."""
        try:
            step()
        except Exception:
            self._tell_once(f"a step of the supervisor broke.\n{traceback.format_exc()}")

    def _tell_once(self, fault: str) -> None:
        if fault not in self._faults:
            self._faults.append(fault)
            self._say(fault)

    def _heed(self) -> None:
        """What others have told us."""
        if not self._reign.has_record and not self._reign.keep_record():
            self._stop()
        if self._has_news:
            self._has_news = False
            self._read_plan(again=True)

    def _replan(self) -> None:
        if self._replans.tick(self._plan, self._ward.closed(), time.monotonic()):
            self._read_plan(again=False)

    def _man(self) -> None:
        self._crew.quarantine(self._ward.closed())
        self._crew.tick(self._feed.take_wanted(), time.monotonic())

    def _read_plan(self, again: bool) -> None:
        """One that cannot be read changes nothing."""
        plan = last_plan(self._home)
        if plan is None:
            self._say("plan.json cannot be read: what runs stays as it is")
            return
        self._say("a new plan is carried out" if plan != self._plan else "the plan is the same")
        self._accept(plan, again)
        if again:
            self._replans.accept(plan)

    async def _see_to_feed(self) -> None:
        """A socket that somebody removed is made anew: routers look for it by name."""
        if (self._home / FEED_NAME).exists():
            return
        try:
            await self._feed.open()
            self._say("the feed's socket was gone and is made anew")
        except OSError as error:
            self._tell_once(f"the feed cannot be opened: {error}")

    def _see_to_tasks(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        """A fault of ours in one task is told, and the task begun anew."""
        for name, task in tasks.items():
            if not task.done() or task.cancelled():
                continue
            if error := task.exception():
                self._say(f"the task of the {name} broke.\n{''.join(traceback.format_exception(error))}")
            again = self._router.run(self._record("router")) if name == "router" else self._externals.run()
            tasks[name] = asyncio.create_task(again)

    async def _end(self, tasks: Mapping[str, asyncio.Task[None]]) -> None:
        """In order: nobody shall follow us, then the router, then the engines."""
        self._reign.abdicate()
        self._say("stopping")
        await self._replans.close()
        self._router.stop()
        await self._published(asyncio.create_task(asyncio.wait({tasks["router"]})))
        tasks["externals"].cancel()
        self._maker.is_ending = True
        self._crew.dismiss()
        await self._published(asyncio.create_task(self._crew.gone()))
        await sweep_orphans(self._keepers)

    async def _published(self, ending: asyncio.Task[object] | asyncio.Task[None]) -> None:
        while not ending.done():
            self._publish()
            await asyncio.wait({ending}, timeout=TICK_S)

    def _publish(self) -> None:
        views = (*(self._awaited(view) for view in self._crew.views()), *self._externals.views())
        for view in views:
            self._say_change(view)
        self._sequence += 1
        self._feed.publish(
            Snapshot(
                sequence=self._sequence,
                supervisor_pid=os.getpid(),
                engines=views,
                models=self._plan.models,
                gpus=self._ward.views(),
                host=read_host(),
                refused=" ".join(filter(None, (self._replans.refused, self._crew.refused))),
                busy=self._crew.busy,
            )
        )

    def _awaited(self, view: EngineView) -> EngineView:
        """Whoever waits for an engine whose GPU is in trouble waits on while it is planned without that."""
        if view.state is not EngineState.QUARANTINED or self._plan.source is None:
            return view
        is_awaited = self._replans.is_open(self._ward.closed()) or self._crew.is_coming(view.name)
        return replace(view, is_awaited=is_awaited)

    def _make_maker(self, http: EngineHttp) -> Maker:
        return Maker(
            home=self._home,
            http=http,
            ward=self._ward,
            feed=self._feed,
            keepers=self._keepers,
            reviver=self._reign.reviver,
            sequence=lambda: self._sequence,
            say=self._say,
        )

    def _record(self, instance: str) -> Record | None:
        """Of an instance whose keeper lives."""
        found = read_record(record_path(self._home, instance))
        return found if found and found.keeper.lives() else None

    def _stop(self) -> None:
        self._stopping.set()
        self._woken.set()

    def _read_again(self) -> None:
        self._has_news = True
        self._woken.set()

    def _say_change(self, view: EngineView) -> None:
        # The cause of an end is known seconds after the end.
        is_over = view.state in (EngineState.FAILED, EngineState.QUARANTINED)
        news = (view.state, view.last_error if is_over else None)
        if self._states.get(view.name) != news:
            self._states[view.name] = news
            why = f": {view.last_error}" if is_over else ""
            changed = f" with {view.changes}" if view.changes and view.state is EngineState.READY else ""
            self._say(f"engine {view.name} is {view.state}{changed}{why}")

    def _say(self, text: str) -> None:
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())


def main() -> int:
    """0 after an ordered stop; 1 with a sentence on stderr if there is nothing to do here."""
    try:
        reign = Reign.begin()
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    # Whoever falls here leaves its record: the engines go on, and a keeper starts the next one.
    asyncio.run(Supervisor(reign).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
