"""A crew over engines that do as the test says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from engines.crew.crew import Crew, Doors
from engines.plan import EnginePlan, Sum
from engines.processes.record import Record
from engines.snapshot import EngineState, EngineUse, EngineView
from tests.supervised import engine_plan

S = EngineState
ONE = engine_plan("one", gpu_uuids=("GPU-1",))


def planned(name: str = "one", size_bytes: int = 40, revision: str = "1", **more: Any) -> EnginePlan:
    plan = replace(ONE, name=name, model=name, revision=revision, **more)
    return replace(plan, sum=Sum(weights_bytes=size_bytes), gpu_memory_utilization=size_bytes / 100)


class Scripted:
    """An engine that is in the state that the test gives it, and ends when it says so."""

    def __init__(self, plan: EnginePlan, instance: str, found: Record | None, asleep: bool) -> None:
        self.plan, self.instance, self.found = plan, instance, found
        self.state = S.SLEEPING if asleep else S.LAUNCHING
        self.url = f"http://{instance}"
        self.told: list[str] = []
        self.failed_starts = 0
        self.last_error: str | None = None
        self.in_state_s = 1000.0
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        await self.end

    def stop(self) -> None:
        self.told.append("stop")
        self.state = S.DRAINING

    def rest(self) -> None:
        self.told.append("rest")

    def wake(self) -> None:
        self.told.append("wake")

    def quarantine(self, why: str) -> None:
        self.told.append(why)
        self.state = S.QUARANTINED

    def mend(self) -> None:
        self.told.append("mend")

    def fail(self, starts: int) -> None:
        self.state, self.failed_starts, self.last_error = S.FAILED, starts, "no such flag"

    def view(self) -> EngineView:
        plan = self.plan
        return EngineView(
            name=plan.name,
            model=plan.model,
            kind=plan.kind,
            state=self.state,
            url=self.url,
            device=plan.device,
            context_tokens=128,
            pid=1,
            in_state_s=self.in_state_s,
            restarts=0,
            last_error=self.last_error,
            load=None,
            failed_starts=self.failed_starts,
        )


class Ship:
    """A crew with a card of 100 bytes and the engines that it has made, in order."""

    def __init__(self) -> None:
        self.made: list[Scripted] = []
        self.said: list[str] = []
        self.records: dict[str, Record] = {}
        doors = Doors(self._make, self.said.append, self._free, lambda _: EngineUse(), self.records.get)
        self.crew = Crew(doors)
        self.now_s = 0.0

    def _make(self, plan: EnginePlan, instance: str, found: Record | None, asleep: bool) -> Scripted:
        self.made.append(Scripted(plan, instance, found, asleep))
        return self.made[-1]

    def _free(self) -> dict[str, int]:
        holding = (S.READY, S.DRAINING)
        there = [each for each in self.made if not each.end.done() and each.state in holding]
        return {"GPU-1": 100 - sum(each.plan.sum.total_bytes for each in there)}

    def want(self, *plans: EnginePlan, again: bool = False) -> None:
        self.crew.want(plans, again)
        self.tick()

    def tick(self, **wanted: int) -> None:
        self.now_s += 0.25
        self.crew.tick(wanted, self.now_s)

    async def ends(self, engine: Scripted) -> None:
        engine.end.set_result(None)
        await self.settle()

    async def settle(self) -> None:
        """Let the tasks run, then tick."""
        for _ in range(3):
            await asyncio.sleep(0)
        self.tick()

    def names(self) -> dict[str, EngineState]:
        views = self.crew.views()
        assert len({view.name for view in views}) == len(views)
        return {view.name: view.state for view in views}

    def serve(self, *plans: EnginePlan) -> list[Scripted]:
        """These run and are ready."""
        first = len(self.made)
        self.want(*plans)
        while len(self.made) < first + len(plans):
            self.tick()
        for engine in self.made[first:]:
            engine.state = S.READY
        self.tick()
        return self.made[first:]
