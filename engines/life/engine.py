"""One engine's life, carried out: start or adopt it, watch it, let it rest, drain it, start it again, end it.

Written by its own task only: what others ask for is a wish, which that task carries out. Knows no request, only how
many there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from engines.gpus.watch import Reading
from engines.kinds.http import EngineSilentError
from engines.life import note as notes
from engines.life.arrival import Arrival
from engines.life.course import Course
from engines.life.departure import drained
from engines.life.guard import Guard
from engines.life.lesson import teach
from engines.life.lifecycle import Event, wait_s
from engines.life.note import Note, fresh_mark
from engines.life.run import Run
from engines.life.site import FetchError, Site
from engines.life.trials import Trials
from engines.pause import pause
from engines.plan import EnginePlan
from engines.processes.process import Kept
from engines.processes.record import Record
from engines.snapshot import EngineState, EngineView
from engines.starting import failure
from engines.starting.failure import Failure
from engines.starting.gate import Device, held, held_if_free, wait_for_memory
from engines.starting.launch import choose_port, log_path
from engines.starting.settle import Verdict

# The keeper needs longer to end than its child; nobody should be sent there meanwhile.
LOOK_S = 0.1
# What is served on a GPU in trouble may never be finished.
TROUBLED_DRAIN_S = 10.0
# Between looks whether there is room to wake up.
AGAIN_S = 1.0


class Wish(StrEnum):
    """What others want of an engine."""

    SERVE = "serve"
    REST = "rest"
    END = "end"


class Engine:
    """One engine. `devices` are its GPUs, or the processor: one engine at a time starts on each. `found` is the record
    of its process, if an earlier supervisor left one; `asleep`: it is not to start before somebody wants it."""

    def __init__(
        self,
        plan: EnginePlan,
        site: Site,
        devices: Sequence[Device],
        instance: str | None = None,
        found: Record | None = None,
        asleep: bool = False,
    ) -> None:
        self.instance = instance or plan.name
        self._site, self._devices, self._found = site, devices, found
        self._course, self._trials = Course(), Trials(plan)
        self._wish = Wish.REST if asleep and not found else Wish.SERVE
        self._barred = ""
        self._stops = 0
        self._changed = asyncio.Event()
        self._run: Run | None = None
        self._not_before_s = 0.0

    @property
    def planned(self) -> EnginePlan:
        return self._trials.planned

    @property
    def plan(self) -> EnginePlan:
        """As it runs, or will be started next."""
        return self._run.plan if self._run else self._trials.plan

    @property
    def state(self) -> EngineState:
        return self._course.state

    @property
    def url(self) -> str:
        """Without `/v1`; "" while it has no process."""
        return self._run.pulse.url if self._run else ""

    @property
    def log_path(self) -> Path:
        return log_path(self._site.home, self.instance)

    def view(self) -> EngineView:
        """What is known now. Ages are counted up to this moment."""
        run, plan = self._run, self.plan
        now_s = time.monotonic()
        return EngineView(
            name=plan.name,
            model=plan.model,
            kind=plan.kind,
            state=self._course.state,
            url=self.url,
            device=plan.device,
            context_tokens=plan.shape.context_tokens,
            pid=run.pid if run else None,
            in_state_s=round(self._course.in_state_s, 3),
            restarts=self._course.life.restarts,
            last_error=(run.pulse.fault if run else None) or self._trials.last_error,
            load=run.pulse.load(now_s, self._site.use(run.pulse.url)) if run else None,
            progress=self._course.progress,
            changes=self._trials.changes,
            failed_starts=self._trials.failed,
            served_name=plan.served_name or plan.model,
            slots=plan.slots,
            weight=self._site.weight(plan.gpu_uuids),
            is_adopted=run.is_adopted if run else False,
        )

    def stop(self) -> None:
        """Ask for the end; `run` returns when the engine is gone. A second time ends the patience with what it serves,
        a third the patience with its end."""
        self._stops += 1
        self._wish = Wish.END
        self._changed.set()

    def rest(self) -> None:
        """Give its devices to others until `wake`, once it has finished what it serves."""
        self._ask(Wish.REST)

    def wake(self) -> None:
        """Serve again."""
        self._ask(Wish.SERVE)

    def quarantine(self, why: str) -> None:
        """It must not run, because of this, until `mend`."""
        self._barred = why
        self._changed.set()

    def mend(self) -> None:
        """What kept it from running may be over: it is tried as planned."""
        self._barred = ""
        self._changed.set()

    def _ask(self, wish: Wish) -> None:
        if self._wish not in (wish, Wish.END):
            self._wish = wish
            self._changed.set()

    def _is_wanted(self) -> bool:
        return self._wish is Wish.SERVE and not self._barred

    async def run(self) -> None:
        """Until `stop`, and gone. Any end that was not asked for is a failure, whatever its code."""
        if self._found:
            await self._adopt(self._found)
        while self._run or self._wish is not Wish.END:
            self._changed.clear()
            if self._course.state is EngineState.QUARANTINED and not self._barred:
                self._course.step(Event.MEND)
                self._trials.anew()
                self._not_before_s = 0.0
            if self._run:
                await self._attend(self._run)
            elif self._is_wanted():
                await self._rise()
            else:
                self._lie_down()
                await self._changed.wait()
        self._lie_down()

    def _lie_down(self) -> None:
        """Without a process: to the state that is wanted."""
        event, goal = Event.SLEEP, EngineState.SLEEPING
        if self._wish is Wish.END:
            event, goal = Event.EXIT, EngineState.STOPPED
        elif self._barred:
            event, goal = Event.GIVE_UP, EngineState.QUARANTINED
            self._trials.last_error = self._barred
        if self._course.state is goal:
            return
        is_way = self._course.can(event) and event is not Event.EXIT
        if self._course.state is not EngineState.DRAINING and not is_way:
            self._course.step(Event.STOP)
        if self._course.state is not goal:
            self._course.step(event)
        self._course.say("")

    async def _adopt(self, record: Record) -> None:
        """Take over what an earlier supervisor started, or end it if nobody can tell what it is."""
        note = notes.read(record.note)
        if note is None:
            kept = Kept.adopt(record, self._site.home)
            kept.terminate()
            await kept.wait()
            return
        self._trials.found(note.plan, note.because)
        run = self._run = Run.found(record, note, self._site)
        self._course.launched()
        self._course.step(Event.ADOPT)
        self._course.say("found; checking that it is ours")
        async with held_if_free(self._devices):
            if note.plan.may_sleep and await run.pulse.is_ours() and await run.pulse.is_asleep():
                self._ask(Wish.REST)
                self._course.step(Event.SLEEP)
            else:
                await self._arrive(run)

    async def _rise(self) -> None:
        """Towards serving: files, a turn on the devices, a process."""
        if (left_s := self._not_before_s - time.monotonic()) > 0:
            await pause(self._changed, left_s)
            return
        if self._course.state is EngineState.DRAINING:
            self._course.step(Event.SLEEP)
        failed = await self._fetch()
        if failed:
            self._fail(failed)
        if failed or not self._is_wanted():
            return
        self._course.say("waiting for its turn", Event.LAUNCH)
        async with held(self._devices, self._changed) as has_turn:
            if has_turn and self._is_wanted():
                await self._start()

    async def _fetch(self) -> Failure | None:
        self._course.say("checking its files", Event.FETCH)
        fetching = asyncio.ensure_future(self._site.fetch(self._trials.plan, self._course.say))
        try:
            await self._until_changed(fetching)
            if fetching.done():
                fetching.result()
            return None
        except FetchError as error:
            return failure.not_fetched(str(error))
        finally:
            fetching.cancel()

    async def _start(self) -> None:
        """One launch. Its devices are held until it is ready, or gone: only then are they the next one's."""
        before = await self._room()
        if isinstance(before, Failure):
            self._fail(before)
        if isinstance(before, Failure) or not self._is_wanted():
            return
        began_s = time.monotonic()
        plan = self._trials.plan
        port = choose_port(plan.port, was_taken=self._trials.port_was_taken)
        try:
            run = Run.launched(Note(self.instance, port, fresh_mark(plan), plan, self._trials.because), self._site)
        except OSError as error:
            self._fail(failure.cannot_start(error))
            return
        self._run = run
        self._course.launched()
        self._course.say("starting its process")
        if await self._arrive(run):
            await teach(run, self._site, before, time.monotonic() - began_s)
            run.forget_start()

    async def _room(self) -> Reading | Failure | None:
        """The last reading of the GPUs before the launch; a Failure if they cannot take the engine now."""
        settled, reading = await wait_for_memory(
            self._trials.plan, self._devices, self._site.watch, self._changed, self._course.say
        )
        return failure.not_started(settled.why) if settled.verdict is Verdict.REFUSE else reading

    async def _arrive(self, run: Run) -> bool:
        """Until it serves (then True) or is gone."""
        if await Arrival(run, self._course, self._site.quiet_s, self._is_wanted)():
            await run.pulse.listen()
            run.follow(self._course)
            self._course.step(Event.SERVE)
            self._course.say("")
            self._trials.served()
            return True
        if self._is_wanted() or run.verdict:
            await self._finish(run, is_asked=False)
        else:
            self._course.step(Event.STOP)
            await self._end(run)
        return False

    async def _attend(self, run: Run) -> None:
        if self._course.state is EngineState.SLEEPING:
            await self._slumber(run)
            return
        guard = asyncio.create_task(Guard(run, self._site)())
        try:
            await self._until_changed(guard, run.ended)
            if guard.done():
                guard.result()
            if run.is_over:
                await self._finish(run, is_asked=False)
            elif not self._is_wanted():
                await self._leave(run, guard)
        finally:
            guard.cancel()

    async def _leave(self, run: Run, guard: asyncio.Task[None]) -> None:
        """Finish what it serves; then sleep or end, unless it is wanted again by then."""
        rests = self._wish is Wish.REST and not self._barred
        self._course.say("finishing what it serves", Event.REST if rests else Event.STOP)
        await drained(run, self._site, self._drain_s)
        guard.cancel()
        if self._is_wanted() and not run.is_over:
            self._course.say("", Event.SERVE)
        elif run.is_over or not rests or not run.plan.may_sleep or not await self._hand_over(run):
            await self._end(run)

    def _drain_s(self) -> float:
        if self._stops > 1 or self._is_wanted():
            return 0.0
        return min(TROUBLED_DRAIN_S, self.plan.drain_s) if self._barred else self.plan.drain_s

    async def _hand_over(self, run: Run) -> bool:
        self._course.say("handing its memory over")
        try:
            await run.pulse.sleep()
        except EngineSilentError:
            return False
        for device in self._devices:
            device.note_end()
        self._course.say("", Event.SLEEP)
        return True

    async def _slumber(self, run: Run) -> None:
        """Asleep with a process: until it is wanted, to end, or ends by itself."""
        await self._until_changed(run.ended)
        if run.is_over:
            await self._finish(run, is_asked=False)
        elif self._is_wanted():
            await self._wake(run)
        elif self._wish is Wish.END or self._barred:
            self._course.step(Event.STOP)
            await self._end(run)

    async def _wake(self, run: Run) -> None:
        async with held(self._devices, self._changed) as has_turn:
            room = await self._room() if has_turn else None
            if isinstance(room, Failure):
                self._course.say(room.cause)
                await pause(self._changed, AGAIN_S)
            elif has_turn and self._is_wanted():
                self._course.say("taking its memory again", Event.WAKE)
                try:
                    await run.pulse.wake()
                except EngineSilentError as error:
                    run.condemn(failure.hung(f"it does not wake up: {error}"))
                await self._arrive(run)
        if not self._is_wanted() or self._course.state is not EngineState.SLEEPING:
            return
        # Not yet: the next turn tries again.
        self._changed.set()

    async def _end(self, run: Run) -> None:
        """TERM, and its grace; another stop ends that."""
        patience = max(1, self._stops)
        run.kept.terminate()
        while not run.ended.done():
            self._changed.clear()
            await self._until_changed(run.ended)
            if self._stops > patience:
                run.kept.kill()
        await self._finish(run, is_asked=True)

    async def _finish(self, run: Run, is_asked: bool) -> None:
        """Nothing of it is left after this; an end that was not asked for is told at once, before all is swept."""
        has_served = self._course.life.ready_at_s is not None
        if not is_asked and self._course.state is EngineState.READY:
            self._trials.last_error = "its process has ended"
            self._course.step(Event.EXIT)
        found = await run.buried(self._devices)
        self._run = None
        self._course.say("")
        if not is_asked:
            self._fail(found.after_serving() if has_served else found, has_served)

    def _fail(self, found: Failure, has_served: bool = False) -> None:
        if self._course.state is not EngineState.FAILED:
            self._course.step(Event.EXIT)
        self._barred = self._barred or self._trials.ended(found, has_served, self._course.life.crashes)
        self._not_before_s = time.monotonic() + wait_s(self._course.life.failures)

    async def _until_changed(self, *tasks: asyncio.Future[Any]) -> None:
        """Until one of the tasks is done, something is asked for, or the process is dead."""
        leaving = asyncio.ensure_future(self._changed.wait())
        try:
            while not leaving.done() and not any(task.done() for task in tasks):
                await asyncio.wait({leaving, *tasks}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if self._run and self._run.is_over:
                    return
        finally:
            leaving.cancel()
