"""A router whose supervisor is the test: it says what the engines are, word by word, and hears the router's Reports."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from engines.feed import Feed
from engines.snapshot import EngineState, EngineUse, EngineView, HostView, ModelView, Snapshot
from tests.routers import TIERS, Router, running_router, until

PATIENCE_S = 30.0
T = TypeVar("T")
TINY = ModelView("tiny", 512, ("chat", "completion"), None)


def engine(url: str, state: EngineState = EngineState.READY, **more: Any) -> EngineView:
    """The engine `tiny` at this URL."""
    view = EngineView("tiny", "tiny", "vllm", state, url, "cpu", 512, None, 0.0, 0, None, None)
    return replace(view, **more)


@dataclass(frozen=True, slots=True)
class Babble:
    """In the place of a Snapshot."""

    line: bytes

    def to_json(self) -> bytes:
        return self.line


@dataclass(slots=True)
class Teller:
    """The feed of a home. It speaks when told to, and no tick repeats what it said."""

    home: Path
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    wanted: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _feed: Feed | None = None

    def open(self) -> None:
        self._feed = Feed(self.home)
        self._do(self._feed.open())

    def close(self) -> None:
        if self._feed is not None:
            self._do(self._feed.close())
        self._feed = None

    def say(self, router: Router, *engines: EngineView, models: tuple[ModelView, ...] = (TINY,)) -> None:
        """Say this, and return when the router has heard it."""
        number = next(self._numbers)
        marked = tuple(replace(each, in_state_s=float(number)) for each in engines)
        snapshot = Snapshot(number, 1, marked, models, (), HostView(1, 1))
        self._do(self._publish(snapshot))
        until(
            lambda: (
                [each["in_state_s"] for each in router.get("/spillway/status")["engines"]] == [number] * len(engines)
            )
        )

    def babble(self, line: bytes) -> None:
        """Say what is no Snapshot, also to whoever connects from now on."""
        self._do(self._publish(Babble(line)))

    def use(self, url: str) -> EngineUse:
        """What the router last said that it has there."""
        return self._do(self._used(url))

    def is_wanted(self, model: str) -> bool:
        """Whether it was asked for since the test began."""
        self._do(self._take())
        return self.wanted[model] > 0

    async def _publish(self, snapshot: Snapshot | Babble) -> None:
        assert self._feed is not None
        self._feed.publish(cast(Snapshot, snapshot))

    async def _used(self, url: str) -> EngineUse:
        assert self._feed is not None
        return self._feed.use(url)

    async def _take(self) -> None:
        assert self._feed is not None
        self.wanted.update(self._feed.take_wanted())

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Told:
    """A router and its supervisor."""

    router: Router
    teller: Teller

    def say(self, *engines: EngineView, models: tuple[ModelView, ...] = (TINY,)) -> None:
        self.teller.say(self.router, *engines, models=models)

    @property
    def waiting(self) -> int:
        """Requests that wait for an engine."""
        return int(self.router.get("/spillway/status")["worker"]["waiting"])


@contextmanager
def telling(home: Path) -> Iterator[Teller]:
    """A feed without a router."""
    teller = Teller(home)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(teller.loop.run_forever)
        try:
            teller.open()
            yield teller
            teller.close()
        finally:
            teller.loop.call_soon_threadsafe(teller.loop.stop)
            running.result(PATIENCE_S)
            teller.loop.close()


@contextmanager
def told(
    folder: Path,
    *engines: EngineView,
    config: str = "",
    tiers: str = TIERS,
    environment: Mapping[str, str] | None = None,
    at_once: Callable[[Router], None] = lambda _router: None,
) -> Iterator[Told]:
    """Until the block is left. The router has heard of these engines; its clouds start still when `at_once` is called,
    and no more when the block is entered. It may not write a traceback."""
    (folder / "home").mkdir()
    with telling(folder / "home") as teller, (folder / "router.log").open("w") as log:
        with running_router(folder, tiers + config, {}, environment, settle=False, errors=log) as router:
            teller.say(router, *engines)
            at_once(router)
            until(lambda: not any("starting" in each["why"] for each in router.get("/spillway/status")["clouds"]))
            yield Told(router, teller)
        assert "Traceback" not in (folder / "router.log").read_text()
