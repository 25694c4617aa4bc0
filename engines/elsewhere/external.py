"""Servers that somebody else runs, asked from outside: whether they answer, what they serve, how busy they are.

No lifecycle: what fails here is said, and asked again. Each server and each of its pages is asked on its own, one
request at a time, so that one that hangs delays nobody.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engines.elsewhere.listed import (
    UNKNOWN_CONTEXT_TOKENS,
    ListedError,
    ListedModel,
    Props,
    read_any_load,
    read_models,
    read_props,
)
from engines.kinds.wire import EngineSilentError, Wire
from engines.plan import ExternalPlan
from engines.snapshot import EngineState, EngineView, Load

KIND = "url"
ELSEWHERE = "elsewhere"
EVERY_S = 1.0
MODELS_EVERY_S = 10.0
# A server without figures of its load is asked for them again now and then: another may listen there by now.
NO_LOAD_EVERY_S = 30.0
LIMIT_S = 3.0
_MISSING = frozenset({404, 405, 501})
_LLAMA = "llamacpp"


class Externals:
    """All of them. One writer: the tasks of `run`."""

    def __init__(self, plans: Sequence[ExternalPlan], http: Wire, environment: Mapping[str, str] | None = None) -> None:
        """`environment` has the keys, by default this process' own."""
        self._http, self._environment = http, os.environ if environment is None else environment
        self._changed = asyncio.Event()
        self._servers: tuple[_Server, ...] = ()
        self.change(plans)

    def change(self, plans: Sequence[ExternalPlan]) -> None:
        """Ask these from now on; what is known of those that stay as they were is kept."""
        known = {server.plan: server for server in self._servers}
        self._servers = tuple(known.get(plan) or _Server(plan, self._http, self._environment) for plan in plans)
        self._changed.set()

    async def run(self) -> None:
        """Ask for ever; cancel it to end."""
        asking: dict[_Server, list[asyncio.Task[None]]] = {}
        try:
            while True:
                self._changed.clear()
                for server in [each for each in asking if each not in self._servers]:
                    await _ended(asking.pop(server))
                for server in [each for each in self._servers if each not in asking]:
                    asking[server] = [asyncio.create_task(server.ask()), asyncio.create_task(server.listen())]
                await self._next([task for tasks in asking.values() for task in tasks])
        finally:
            await _ended([task for tasks in asking.values() for task in tasks])

    async def _next(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Until there is a change. A task that breaks is a fault of ours, which must not pass in silence."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            done, _ = await asyncio.wait({changed, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        for task in done - {changed}:
            task.result()

    def views(self) -> tuple[EngineView, ...]:
        """One for each model of each server."""
        now_s = time.monotonic()
        return tuple(view for server in self._servers for view in server.views(now_s))


class _Server:
    """One server, as it answered last."""

    def __init__(self, plan: ExternalPlan, http: Wire, environment: Mapping[str, str]) -> None:
        self.plan, self._http = plan, http
        self._key = environment.get(plan.key_env) if plan.key_env else None
        self._models: tuple[ListedModel, ...] = ()
        self._props = Props(None, None)
        self._load: Load | None = None
        self._loaded_s = 0.0
        self._has_health = True
        self._fault: str | None = None
        self._is_asked = False
        # The state of each model and when it began, by our name for it.
        self._states: dict[str, tuple[EngineState, float]] = {}

    async def ask(self) -> None:
        """Its health and its models, again and again."""
        next_models_s = 0.0
        while True:
            began_s = time.monotonic()
            is_due = began_s >= next_models_s or self._fault is not None or not self._has_health
            self._fault = self._no_key() or await self._ask(is_due)
            if is_due and self._fault is None:
                next_models_s = began_s + MODELS_EVERY_S
            self._is_asked = True
            self._note_states()
            await asyncio.sleep(max(0.0, began_s + EVERY_S - time.monotonic()))

    async def listen(self) -> None:
        """Its load, again and again, where it tells it."""
        while True:
            began_s = time.monotonic()
            load = None if self._no_key() else await self._read_load()
            if load:
                self._load, self._loaded_s = load, began_s
            # What is not told any more only grows old, until the server is known to be away or another.
            elif self._fault or began_s - self._loaded_s > NO_LOAD_EVERY_S:
                self._load = None
            every_s = EVERY_S if self._load or self._fault or not self._is_asked else NO_LOAD_EVERY_S
            await asyncio.sleep(max(0.0, began_s + every_s - time.monotonic()))

    def views(self, now_s: float) -> list[EngineView]:
        served = self._served()
        return [self._view(name, told, len(served) > 1, now_s) for name, told in served]

    def _no_key(self) -> str | None:
        if self.plan.key_env is None or self._key:
            return None
        return f"the variable {self.plan.key_env} is not set: set it, then start the stack anew"

    async def _ask(self, is_due: bool) -> str | None:
        """What is wrong, or None."""
        try:
            if self._has_health:
                await self._ask_health()
            if is_due or not self._has_health:
                self._models = read_models(await self._get("/v1/models"))
                await self._ask_props()
        except EngineSilentError as error:
            return str(error) if error.status else self._silent(error)
        except ListedError as error:
            return str(error)
        return None

    def _silent(self, error: EngineSilentError) -> str:
        return f"nothing answers there: start it, or correct [external.{self.plan.name}] url ({error})"

    async def _ask_health(self) -> None:
        """Not every server has the page; whoever lists its models is healthy then."""
        try:
            await self._get("/health")
        except EngineSilentError as error:
            if error.status not in _MISSING:
                raise
            self._has_health = False

    async def _ask_props(self) -> None:
        if len(self._models) == 1 and self._models[0].owner == _LLAMA:
            try:
                self._props = read_props(await self._get("/props"))
            except EngineSilentError:
                self._props = Props(None, None)

    async def _read_load(self) -> Load | None:
        try:
            return read_any_load(await self._get("/metrics"), 0.0)
        except EngineSilentError:
            return None

    async def _get(self, page: str) -> str:
        return await self._http.get(f"{self.plan.url}{page}", LIMIT_S, self._key)

    def _served(self) -> list[tuple[str, ListedModel | None]]:
        """Our names, and what the server lists for each: None where it does not."""
        listed = {model.name: model for model in self._models}
        if self.plan.models:
            return [(ours, listed.get(theirs)) for ours, theirs in self.plan.models]
        return [(model.name, model) for model in self._models] or [(self.plan.name, None)]

    def _note_states(self) -> None:
        now_s = time.monotonic()
        for name, told in self._served():
            state = EngineState.FAILED if self._fault or told is None else EngineState.READY
            if self._states.get(name, (None, 0.0))[0] is not state:
                self._states[name] = (state, now_s)

    def _view(self, name: str, told: ListedModel | None, is_one_of_many: bool, now_s: float) -> EngineView:
        state, since_s = self._states.get(name, (EngineState.PLANNED, now_s))
        load = replace(self._load, age_s=now_s - self._loaded_s) if self._load else None
        theirs = told.name if told else dict(self.plan.models).get(name, name)
        return EngineView(
            name=f"{self.plan.name}-{name}" if is_one_of_many else self.plan.name,
            model=name,
            kind=KIND,
            state=state,
            url=self.plan.url,
            device=ELSEWHERE,
            context_tokens=self.plan.context_tokens or self._context_tokens(told) or UNKNOWN_CONTEXT_TOKENS,
            pid=None,
            in_state_s=now_s - since_s,
            restarts=0,
            last_error=None if state is not EngineState.FAILED else self._fault or self._not_listed(theirs),
            load=load if state is EngineState.READY else None,
            progress="" if self._is_asked else "is asked for the first time",
            served_name=theirs,
            slots=self._props.slots,
            key_env=self.plan.key_env,
        )

    def _context_tokens(self, told: ListedModel | None) -> int | None:
        return self._props.context_tokens or (told.context_tokens if told else None)

    def _not_listed(self, theirs: str) -> str:
        there = ", ".join(model.name for model in self._models)
        return f"the server has no model {theirs!r}; it lists: {there}"


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
