"""The router behind a supervisor: what the feed says decides where requests go. The feed and the router are real,
the engine is the fake one, and the test plays the supervisor."""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from engines.feed import Feed
from engines.snapshot import (
    FEED_NAME,
    SCHEMA,
    EngineState,
    EngineUse,
    EngineView,
    HostView,
    Load,
    ModelView,
    Report,
    Snapshot,
    feed_address,
)
from tests.routers import TIERS, Router, asked, cloud_table, post, running_router, until
from tests.stand_ins import StandIn

TICK_S = 0.05
IDLE = Load(
    running=0,
    waiting=0,
    kv_used_fraction=0.1,
    kv_capacity_tokens=8192,
    prompt_tokens_total=0,
    generation_tokens_total=0,
    preemptions_total=0,
    age_s=0.0,
)


class Supervisor:
    """Says the same Snapshot at every tick, as a supervisor does, until the test tells it another."""

    def __init__(self, home: Path, engine_url: str) -> None:
        self._url = engine_url
        self._home = home
        self._leaving = False
        self.snapshot = self._of(EngineState.READY, IDLE)

    def tell(self, router: Router, state: EngineState, load: Load | None) -> None:
        """Say this from now on, and return when the router has heard it."""
        marked = load and replace(load, prompt_tokens_total=self.snapshot.sequence + 1)
        self.snapshot = self._of(state, marked)
        until(lambda: self._is_heard(router, state, marked))

    def _is_heard(self, router: Router, state: EngineState, load: Load | None) -> bool:
        seen = router.get("/spillway/status")["engines"]
        count = seen[0]["load"] and seen[0]["load"]["prompt_tokens_total"] if seen else None
        return bool(seen) and seen[0]["state"] == state and count == (load and load.prompt_tokens_total)

    def _of(self, state: EngineState, load: Load | None) -> Snapshot:
        view = EngineView("tiny", "tiny", "vllm", state, self._url, "cpu", 512, None, 0.0, 0, None, load)
        model = ModelView("tiny", 512, ("chat", "completion"), None)
        sequence = self.snapshot.sequence + 1 if hasattr(self, "snapshot") else 1
        return Snapshot(sequence, 1, (view,), (model,), (), HostView(1, 1))

    def leave(self) -> None:
        self._leaving = True

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        feed = Feed(self._home)
        await feed.open()
        while not self._leaving:
            feed.publish(self.snapshot)
            await asyncio.sleep(TICK_S)
        await feed.close()


@pytest.fixture(scope="module")
def followed(
    fast_cloud: StandIn, tiny_engine: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, Supervisor]]:
    folder = tmp_path_factory.mktemp("followed")
    (folder / "home").mkdir()
    supervisor = Supervisor(folder / "home", tiny_engine.url)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(supervisor.run)
        try:
            with running_router(folder, TIERS + cloud_table(fast_cloud.url), {}) as router:
                yield router, supervisor
        finally:
            supervisor.leave()
            running.result()


def place(router: Router, **headers: str) -> tuple[int, str | None, str | None]:
    status, got, _ = post(router, asked(), **headers)
    return status, got.get("x-spillway-target"), got.get("x-spillway-reason")


READY, LOADING, FAILED = EngineState.READY, EngineState.LOADING, EngineState.FAILED
FULL = replace(IDLE, kv_used_fraction=0.97, waiting=3)


@pytest.mark.parametrize(
    ("state", "load", "expected"),
    [
        pytest.param(READY, IDLE, ("local/tiny", "pinned"), id="an idle engine serves"),
        pytest.param(READY, None, ("local/tiny", "pinned"), id="one that has not reported yet serves too"),
        pytest.param(LOADING, None, ("cloud/stand-in", "spill:starting"), id="one that loads is not waited for"),
        pytest.param(FAILED, None, ("cloud/stand-in", "fallback:off"), id="one that failed is not asked"),
        pytest.param(
            READY, replace(IDLE, age_s=9.0), ("cloud/stand-in", "spill:queue"), id="an old report counts as full"
        ),
        pytest.param(READY, FULL, ("cloud/stand-in", "spill:kv"), id="a full KV cache with others waiting"),
    ],
)
def test_the_snapshot_decides_where_a_request_goes(
    followed: tuple[Router, Supervisor], state: EngineState, load: Load | None, expected: tuple[str, str]
) -> None:
    router, supervisor = followed
    supervisor.tell(router, READY, IDLE)
    place(router)
    supervisor.tell(router, state, load)
    assert place(router) == (200, *expected)


def test_local_only_is_told_when_to_come_back_once_its_time_is_over_and_then_served(
    followed: tuple[Router, Supervisor],
) -> None:
    router, supervisor = followed
    supervisor.tell(router, LOADING, None)
    status, headers, answer = post(router, asked(), x_spillway_privacy="local-only", x_spillway_deadline_ms="200")
    assert (status, answer["error"]["code"]) == (503, "no_target")
    assert int(headers["retry-after"]) > 0
    supervisor.tell(router, READY, IDLE)
    assert place(router, x_spillway_privacy="local-only") == (200, "local/tiny", "privacy")


def test_traffic_comes_back_only_when_there_is_room_again(followed: tuple[Router, Supervisor]) -> None:
    router, supervisor = followed
    supervisor.tell(router, READY, FULL)
    assert place(router)[2] == "spill:kv"
    supervisor.tell(router, READY, replace(IDLE, kv_used_fraction=0.99, waiting=1))
    assert place(router)[2] == "spill:kv"
    supervisor.tell(router, READY, replace(IDLE, kv_used_fraction=0.5))
    assert place(router) == (200, "local/tiny", "pinned")


def test_before_the_first_snapshot_a_model_is_not_unknown_but_starting(tmp_path: Path) -> None:
    with running_router(tmp_path, TIERS, {}, settle=False) as router:
        status, headers, _ = post(router, asked())
        assert (status, "retry-after" in headers) == (503, True)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            router.get("/readyz")


URL = "http://127.0.0.1:1"


@pytest.fixture
async def feed(tmp_path: Path) -> AsyncIterator[Feed]:
    made = Feed(tmp_path)
    await made.open()
    yield made
    await made.close()


async def comes_true(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def test_what_routers_tell_is_added_up_and_goes_with_them(feed: Feed, tmp_path: Path) -> None:
    (_, one), (_, other) = await connect_feed(tmp_path), await connect_feed(tmp_path)
    assert (feed.heard(9), feed.has_routers) == (True, False)
    one.write(Report(4, {URL: EngineUse(2, 1, 100, 0.5)}, {"tiny": 2}).to_json())
    other.write(Report(5, {URL: EngineUse(3, 0, 700, 0.0)}, {"tiny": 1}).to_json())
    await comes_true(lambda: feed.use(URL).in_flight == 5)
    assert feed.use(URL) == EngineUse(5, 1, 700, 0.5)
    assert feed.use("http://127.0.0.1:2") == EngineUse()
    assert (feed.heard(4), feed.heard(5)) == (True, False)
    assert (dict(feed.take_wanted()), dict(feed.take_wanted())) == ({"tiny": 3}, {})
    one.close()
    await comes_true(lambda: feed.use(URL).in_flight == 3)
    assert feed.heard(5)
    other.close()


@pytest.mark.parametrize(
    "use", ['{"in_flight": "many"}', '{"in_flight": -1}', '{"oldest_wait_s": NaN}', '{"in_flight": 1e400}', '{"x": 1}']
)
async def test_a_router_that_tells_nonsense_is_not_believed(feed: Feed, tmp_path: Path, use: str) -> None:
    reader, writer = await connect_feed(tmp_path)
    writer.write(f'{{"schema": {SCHEMA}, "sequence": 1, "wanted": {{}}, "uses": {{"{URL}": {use}}}}}\n'.encode())
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert (feed.use(URL), feed.has_routers) == (EngineUse(), False)
    writer.close()


async def test_a_feed_opened_again_keeps_those_who_listen(feed: Feed, tmp_path: Path) -> None:
    snapshot = Snapshot(7, 1, (), (), (), HostView(1, 1))
    old, keep = await connect_feed(tmp_path)
    keep.write(Report(1, {}, {}).to_json())
    await comes_true(lambda: feed.has_routers)
    (tmp_path / FEED_NAME).unlink()
    await feed.open()
    new, more = await connect_feed(tmp_path)
    more.write(Report(2, {}, {}).to_json())
    await comes_true(lambda: not feed.heard(2) and feed.heard(1))
    feed.publish(snapshot)
    for reader in (old, new):
        assert await asyncio.wait_for(reader.readline(), 10) == snapshot.to_json()
    keep.close()
    more.close()


async def connect_feed(home: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with feed_address(home) as address:
        return await asyncio.open_unix_connection(address)
