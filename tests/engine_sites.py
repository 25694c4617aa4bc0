"""Engines without a supervisor: a home, routers that are as a test says, stand-in processes under real keepers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from engines.home import make_home
from engines.kinds.http import EngineHttp
from engines.life.engine import Engine
from engines.life.site import Site
from engines.plan import EnginePlan
from engines.processes.orphans import descendants
from engines.processes.record import Record, read_record, record_path
from engines.snapshot import EngineState, EngineUse, EngineView
from engines.starting.gate import Device
from tests.supervised import engine_plan

LIMIT_S = 60.0
POLL_S = 0.02


def real(name: str, *words: str) -> EnginePlan:
    """A stand-in that tells its steps, and ends as vLLM does."""
    return engine_plan(name, "--steps", *words)


def is_restarted(view: EngineView) -> bool:
    return view.state is EngineState.READY and view.restarts == 1


@dataclass
class Routers:
    """What routers have and have heard."""

    uses: dict[str, EngineUse] = field(default_factory=dict)
    have_heard: bool = True

    def use(self, url: str) -> EngineUse:
        return self.uses.get(url, EngineUse())


class Bench:
    """Engines of one test, each run by a task. Whatever is left at the end is stopped."""

    def __init__(self, home: Path, http: EngineHttp) -> None:
        make_home(home)
        self.home, self.routers = home, Routers()
        self._devices: dict[str, Device] = {}
        self.site = Site(
            home=home,
            http=http,
            watch=None,
            # What runs below the tests already is nobody's orphan.
            keepers=descendants(os.getpid()),
            learn=lambda plan, told: None,
            use=self.routers.use,
            heard=lambda sequence: self.routers.have_heard,
        )
        self._tasks: dict[Engine, asyncio.Task[None]] = {}

    def start(self, plan: EnginePlan, found: Record | None = None, asleep: bool = False, **doors: Any) -> Engine:
        devices = [self._devices.setdefault(name, Device(name)) for name in plan.gpu_uuids or (plan.device,)]
        engine = Engine(plan, replace(self.site, **doors), devices, plan.name, found, asleep)
        self._tasks[engine] = asyncio.create_task(engine.run())
        return engine

    def abandon(self, engine: Engine) -> Record:
        """As a killed supervisor does: its process runs on, and nobody attends to it. Its record."""
        self._tasks[engine].cancel()
        record = read_record(record_path(self.home, engine.instance))
        assert record
        return record

    async def until(self, engine: Engine, wanted: Callable[[EngineView], bool], limit_s: float = LIMIT_S) -> EngineView:
        """The view as soon as it is as wanted."""
        try:
            async with asyncio.timeout(limit_s):
                while not wanted(seen := engine.view()):
                    if self._tasks[engine].done():
                        self._tasks[engine].result()
                    await asyncio.sleep(POLL_S)
                return seen
        except TimeoutError:
            raise AssertionError(f"never as wanted; last: {engine.view()}") from None

    async def state(self, engine: Engine, state: EngineState, limit_s: float = LIMIT_S) -> EngineView:
        return await self.until(engine, lambda seen: seen.state is state, limit_s)

    async def ready(self, engine: Engine) -> EngineView:
        return await self.state(engine, EngineState.READY)

    async def gone(self, engine: Engine) -> None:
        """Until its task is over, and with it its process."""
        async with asyncio.timeout(LIMIT_S):
            await self._tasks[engine]
        assert read_record(record_path(self.home, engine.instance)) is None

    async def end(self) -> None:
        for engine, task in self._tasks.items():
            while not task.done():
                engine.stop()
                await asyncio.wait({task}, timeout=0.2)
            if not task.cancelled():
                task.result()


@asynccontextmanager
async def bench(home: Path) -> AsyncIterator[Bench]:
    async with EngineHttp() as http:
        made = Bench(home, http)
        try:
            yield made
        finally:
            await made.end()


async def behave(url: str, **changes: object) -> None:
    """Change how a stand-in behaves; see `stand_in_engine.Behaviour`."""
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{url}/stand-in", json=changes)).raise_for_status()


async def complete(url: str, tokens: int) -> Any:
    """The answer to a request for so many tokens."""
    async with httpx.AsyncClient(trust_env=False, timeout=LIMIT_S) as client:
        answer = await client.post(f"{url}/v1/completions", content=json.dumps({"max_tokens": tokens}))
        return answer.json()["choices"][0]
