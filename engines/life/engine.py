"""One engine's life, carried out: start or adopt it, watch it, let it rest, drain it, start it again, end it.

Written by its own task only: what others ask for is a wish, which that task carries out. Knows no request, only how
many there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from engines.kinds.wire import EngineSilentError
from engines.life import note as notes
from engines.life.arrival import Arrival
from engines.life.course import Course
from engines.life.departure import asleep, drained, ended, until_said
from engines.life.guard import Guard
from engines.life.holding import Holding, held_bytes
from engines.life.launching import Launching
from engines.life.lesson import teach
from engines.life.lifecycle import Event, wait_s, way
from engines.life.portrait import Sitter, portrait
from engines.life.run import Run
from engines.life.site import Site
from engines.life.trials import Trials
from engines.life.wishes import Wish, Wishes
from engines.pause import pause
from engines.plan import EnginePlan
from engines.processes.process import Kept
from engines.processes.record import Record
from engines.snapshot import EngineState, EngineView
from engines.starting import failure
from engines.starting.failure import Failure
from engines.starting.gate import Device, held, held_if_free

# Between looks whether there is room to wake up.
AGAIN_S = 1.0


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
        self._wishes = Wishes(Wish.REST if asleep and not found else Wish.SERVE)
        self._launching = Launching(site, devices, self._course, self._trials, self._wishes)
        self._run: Run | None = None
        self._holding: Holding | None = None
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

    def view(self) -> EngineView:
        """What is known now. Ages are counted up to this moment."""
        return portrait(Sitter(self._course, self._trials, self._run, self._holding), self._site)

    def stop(self) -> None:
        """Ask for the end; `run` returns when the engine is gone. A second time ends the patience with what it serves,
        a third the patience with its end."""
        self._wishes.end()

    def rest(self) -> None:
        """Give its devices to others until `wake`, once it has finished what it serves."""
        self._wishes.ask(Wish.REST)

    def wake(self) -> None:
        """Serve again."""
        self._wishes.ask(Wish.SERVE)

    def quarantine(self, why: str) -> None:
        """It must not run, because of this, until `mend`."""
        self._wishes.bar(why)

    def mend(self) -> None:
        """What kept it from running may be over: it is tried as planned."""
        self._wishes.bar("")

    async def run(self) -> None:
        """Until `stop`, and gone. Any end that was not asked for is a failure, whatever its code."""
        if self._found:
            await self._adopt(self._found)
        while self._run or not self._wishes.is_to_end:
            self._wishes.changed.clear()
            if self._course.state is EngineState.QUARANTINED and not self._wishes.barred:
                self._course.step(Event.MEND)
                self._trials.anew()
                self._not_before_s = 0.0
            if self._run:
                await self._attend(self._run)
            elif self._wishes.is_wanted:
                await self._rise()
            else:
                self._lie_down()
                await self._wishes.changed.wait()
        self._lie_down()

    def _lie_down(self) -> None:
        """Without a process: to the state that is wanted."""
        last = Event.SLEEP
        if self._wishes.is_to_end:
            last = Event.EXIT
        elif self._wishes.barred:
            last, self._trials.last_error = Event.GIVE_UP, self._wishes.barred
        for event in way(self._course.state, last):
            self._course.say("", event)

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
                self._wishes.ask(Wish.REST)
                self._course.step(Event.SLEEP)
            else:
                await self._arrive(run)

    async def _rise(self) -> None:
        """Towards serving: files, a turn on the devices, a process."""
        if (left_s := self._not_before_s - time.monotonic()) > 0:
            await pause(self._wishes.changed, left_s)
            return
        if self._course.state is EngineState.DRAINING:
            self._course.step(Event.SLEEP)
        failed = await self._launching.fetch()
        if failed:
            self._fail(failed)
        if failed or not self._wishes.is_wanted:
            return
        self._course.say("waiting for its turn", Event.LAUNCH)
        async with held(self._devices, self._wishes.changed) as has_turn:
            if has_turn and self._wishes.is_wanted:
                await self._start()

    async def _start(self) -> None:
        """One launch. Its devices are held until it is ready, or gone: only then are they the next one's."""
        before = await self._launching.room()
        if isinstance(before, Failure):
            self._fail(before)
        # A wait for memory that somebody ended says nothing of the memory.
        if isinstance(before, Failure) or self._wishes.changed.is_set():
            return
        began_s = time.monotonic()
        try:
            run = self._launching.launch(self.instance)
        except OSError as error:
            self._fail(failure.cannot_start(error))
            return
        self._run = run
        self._course.launched()
        self._course.say("starting its process")
        if await self._arrive(run):
            await teach(run, self._site, before, time.monotonic() - began_s)
            run.forget_start()

    async def _arrive(self, run: Run) -> bool:
        """Until it serves (then True) or is gone."""
        if await Arrival(run, self._course, self._site.quiet_s, lambda: self._wishes.is_wanted)():
            await run.pulse.listen()
            run.follow(self._course)
            # With a full disk no line of its log told of this.
            self._course.say("", Event.WARM)
            self._course.step(Event.SERVE)
            self._trials.served()
            return True
        if self._wishes.is_wanted or run.verdict:
            await self._finish(run, is_asked=False)
        else:
            self._course.say("finishing what it serves", Event.STOP)
            if run.is_adopted:
                await self._drained(run)
            await self._end(run)
        return False

    async def _attend(self, run: Run) -> None:
        if self._course.state is EngineState.SLEEPING:
            await self._slumber(run)
            return
        self._holding = self._holding or Holding(run, self._site)
        guard = asyncio.create_task(Guard(run, self._site)())
        reading = asyncio.create_task(self._holding.follow())
        try:
            if self._wishes.is_wanted:
                await until_said(self._wishes, run, guard, reading)
            for broken in [task for task in (guard, reading) if task.done()]:
                broken.result()
            if run.is_over:
                await self._finish(run, is_asked=False)
            elif not self._wishes.is_wanted:
                await self._leave(run, guard)
        finally:
            guard.cancel()
            reading.cancel()

    async def _leave(self, run: Run, guard: asyncio.Task[None]) -> None:
        """Finish what it serves; then sleep or end, unless it is wanted again by then."""
        rests = self._wishes.is_to_rest
        self._course.say("finishing what it serves", Event.REST if rests else Event.STOP)
        await self._drained(run)
        guard.cancel()
        if self._wishes.is_wanted and not run.is_over:
            self._course.say("", Event.SERVE)
        elif run.is_over or not rests or not run.plan.may_sleep or not await self._hand_over(run):
            await self._end(run)

    async def _drained(self, run: Run) -> None:
        await drained(run, self._site, lambda: self._wishes.patience_s(run.plan.drain_s))

    async def _hand_over(self, run: Run) -> bool:
        self._course.say("handing its memory over")
        if not await asleep(run, self._devices):
            return False
        self._holding = None
        self._course.say("", Event.SLEEP)
        return True

    async def _slumber(self, run: Run) -> None:
        """Asleep with a process: until it is wanted, to end, or ends by itself."""
        if self._wishes.is_to_rest:
            await until_said(self._wishes, run)
        if run.is_over:
            await self._finish(run, is_asked=False)
        elif self._wishes.is_wanted:
            await self._wake(run)
        elif not self._wishes.is_to_rest:
            self._course.step(Event.STOP)
            await self._end(run)

    async def _wake(self, run: Run) -> None:
        async with held(self._devices, self._wishes.changed) as has_turn:
            room = await self._launching.room(held_bytes(run, self._site)) if has_turn else None
            if isinstance(room, Failure):
                self._course.say(room.cause)
                await pause(self._wishes.changed, AGAIN_S)
            elif has_turn and not self._wishes.changed.is_set():
                self._course.say("taking its memory again", Event.WAKE)
                try:
                    await run.pulse.wake()
                except EngineSilentError as error:
                    run.condemn(failure.hung(f"it does not wake up: {error}"))
                await self._arrive(run)

    async def _end(self, run: Run) -> None:
        await ended(run, self._wishes)
        await self._finish(run, is_asked=True)

    async def _finish(self, run: Run, is_asked: bool) -> None:
        """Nothing of it is left after this; an end that was not asked for is told at once, before all is swept."""
        has_served = run.is_adopted or self._course.life.ready_at_s is not None
        if not is_asked and self._course.state is EngineState.READY:
            self._trials.last_error = run.verdict.words() if run.verdict else "its process has ended"
            self._course.step(Event.EXIT)
        found = await run.buried(self._devices)
        self._run = self._holding = None
        self._course.say("")
        if not is_asked:
            self._fail(found.after_serving() if has_served else found, has_served)

    def _fail(self, found: Failure, has_served: bool = False) -> None:
        if self._course.state is not EngineState.FAILED:
            self._course.step(Event.EXIT)
        self._wishes.barred = self._wishes.barred or self._trials.ended(found, has_served, self._course.life.crashes)
        self._not_before_s = time.monotonic() + wait_s(self._course.life.failures)
