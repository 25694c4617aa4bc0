"""One engine of the crew with the task that runs it. A fault of ours in that task is logged and the task begins anew:
it must end neither the engine nor the others.
"""

from __future__ import annotations

import asyncio
import signal
import traceback
from collections.abc import Callable
from typing import Protocol

from engines.life.lifecycle import wait_s
from engines.pause import pause
from engines.plan import EnginePlan
from engines.processes.record import Record
from engines.snapshot import EngineState, EngineView

# An engine whose task breaks again and again while it is to end is ended without it.
MOST_FAULTS = 3
STARTING = (
    EngineState.PLANNED,
    EngineState.DOWNLOADING,
    EngineState.LAUNCHING,
    EngineState.LOADING,
    EngineState.WARMING,
)


class Living(Protocol):
    """What the crew asks of an engine; `engines.life.engine.Engine` is one."""

    @property
    def state(self) -> EngineState: ...

    @property
    def url(self) -> str: ...

    async def run(self) -> None:
        """Until it is stopped and gone."""

    def stop(self) -> None:
        """Drain it and end it. A second call ends the patience."""

    def rest(self) -> None: ...

    def wake(self) -> None: ...

    def quarantine(self, why: str) -> None: ...

    def mend(self) -> None: ...

    def view(self) -> EngineView: ...


# A plan, the name of this instance, the record of a process that runs already, and whether it is to start asleep.
Make = Callable[[EnginePlan, str, Record | None, bool], Living]


class Member:
    """`plan` is what was wanted when it came, with the wishes of later plans that need no other engine."""

    def __init__(
        self,
        plan: EnginePlan,
        instance: str,
        make: Make,
        say: Callable[[str], None],
        record: Callable[[str], Record | None],
    ) -> None:
        self.plan, self.instance = plan, instance
        self.has_served = False
        self.is_leaving = self.is_found = False
        self._make, self._say, self._record = make, say, record
        self._leave = asyncio.Event()
        self._quarantine = ""
        self._fault = ""
        self._engine: Living | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, found: Record | None = None, asleep: bool = False) -> None:
        """Make the engine and run it."""
        self.is_found = found is not None
        self._engine = self._make(self.plan, self.instance, found, asleep)
        self._task = asyncio.create_task(self._run(self._engine))

    @property
    def state(self) -> EngineState:
        return EngineState.FAILED if self._engine is None else self._engine.state

    @property
    def url(self) -> str:
        return self._engine.url if self._engine else ""

    @property
    def is_gone(self) -> bool:
        return self._task is not None and self._task.done()

    @property
    def is_ready(self) -> bool:
        return self.state is EngineState.READY

    @property
    def is_starting(self) -> bool:
        return self.state in STARTING

    @property
    def is_arriving(self) -> bool:
        """Whether it runs since an earlier supervisor and is still being recognised."""
        return self.is_found and self.is_starting and not self.has_served

    def view(self) -> EngineView:
        """What is known of it; what broke, where a fault of ours keeps that from being known."""
        try:
            seen = self._engine.view() if self._engine else None
        except Exception:
            self._tell("its view")
            seen = None
        if seen is None:
            return placeholder(self.plan, EngineState.FAILED, self._fault)
        if seen.state is EngineState.READY:
            self.has_served = True
        return seen

    def leave(self) -> None:
        """Drain and end it; `is_gone` says when. A second call ends the patience."""
        self.is_leaving = True
        self._leave.set()
        if self._engine:
            self._engine.stop()

    def rest(self) -> None:
        if self._engine:
            self._engine.rest()

    def wake(self) -> None:
        if self._engine:
            self._engine.wake()

    def quarantine(self, why: str) -> None:
        """Nothing of it may run while a GPU of its is in trouble; "" once that is over."""
        if why == self._quarantine or self._engine is None:
            return
        if why and not self._quarantine:
            self._engine.quarantine(why)
        elif not why:
            self._engine.mend()
        self._quarantine = why

    def try_again(self) -> None:
        """One that has given up may be lucky now."""
        if self.state is EngineState.QUARANTINED and not self._quarantine and self._engine:
            self._engine.mend()

    @property
    def is_quarantined(self) -> bool:
        """Whether it is for the sake of a GPU that it does not run."""
        return bool(self._quarantine)

    async def gone(self) -> None:
        """Blocks until it has left."""
        if self._task:
            await asyncio.wait({self._task})

    async def _run(self, engine: Living) -> None:
        faults = 0
        while True:
            try:
                await engine.run()
                return
            except Exception:
                faults += 1
                self._tell("its task")
            self._engine = None
            if self.is_leaving and faults >= MOST_FAULTS:
                self._end_process()
                return
            await pause(self._leave, wait_s(faults))
            engine = self._again()

    def _again(self) -> Living:
        """The same engine with a task of its own; its process, if that still runs, is found by its record."""
        engine = self._make(self.plan, self.instance, self._record(self.instance), False)
        self._engine = engine
        if self._quarantine:
            engine.quarantine(self._quarantine)
        if self.is_leaving:
            engine.stop()
        return engine

    def _end_process(self) -> None:
        if (record := self._record(self.instance)) is not None:
            record.keeper.tell(signal.SIGTERM)

    def _tell(self, what: str) -> None:
        fault = traceback.format_exc()
        self._fault = f"a fault in Spillway itself: {fault.strip().splitlines()[-1]}"
        self._say(f"engine {self.instance}: {what} broke; it is begun anew.\n{fault}")


def placeholder(plan: EnginePlan, state: EngineState, words: str = "") -> EngineView:
    """An engine that is wanted and has no instance yet, or none that can be asked."""
    return EngineView(
        name=plan.name,
        model=plan.model,
        kind=plan.kind,
        state=state,
        url="",
        device=plan.device,
        context_tokens=plan.shape.context_tokens,
        pid=None,
        in_state_s=0.0,
        restarts=0,
        last_error=words or None,
        load=None,
        served_name=plan.served_name or plan.model,
        slots=plan.slots,
    )
