"""The router behind a supervisor: what the feed says decides where requests go. The feed and the router are real,
the engine is the fake one, and the test plays the supervisor."""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engines.feed import Feed
from engines.snapshot import EngineState, EngineView, HostView, Load, ModelView, Snapshot
from tests.routers import TIERS, Router, cloud_table, running_router
from tests.stand_ins import StandIn, standing_in
from tests.test_endpoint import asked, post

TICK_S = 0.1
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


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with standing_in("cloud", "--ttft-s", "0.01", "--tokens-per-s", "2000") as running:
        yield running


@pytest.fixture(scope="module")
def engine() -> Iterator[StandIn]:
    with standing_in("engine", "--model", "tiny", "--step-ms", "5") as running:
        yield running


def snapshot_of(engine: StandIn, state: EngineState = EngineState.READY, load: Load | None = IDLE) -> Snapshot:
    view = EngineView("tiny", "tiny", "vllm", state, engine.url, "cpu", 4096, None, 0.0, 0, None, load)
    model = ModelView("tiny", 4096, ("chat", "completion"), None)
    return Snapshot(1, 1, (view,), (model,), (), HostView(1, 1))


class Supervisor:
    """Says the same Snapshot at every tick, as a supervisor does, until the test tells it another."""

    def __init__(self, home: Path, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._feed = Feed(home)

    async def run(self) -> None:
        await self._feed.open()
        try:
            while True:
                self._feed.publish(self.snapshot)
                await asyncio.sleep(TICK_S)
        finally:
            await self._feed.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path


async def place(router: Router, **headers: str) -> tuple[int, str | None, str | None]:
    status, got, _ = await asyncio.to_thread(post, router, asked(), **headers)
    return status, got.get("x-spillway-target"), got.get("x-spillway-reason")


@asynccontextmanager
async def stack(folder: Path, cloud: StandIn, snapshot: Snapshot) -> AsyncIterator[tuple[Router, Supervisor]]:
    supervisor = Supervisor(folder / "home", snapshot)
    ticking = asyncio.create_task(supervisor.run())
    entered = running_router(folder, TIERS + cloud_table(cloud.url), {})
    router = await asyncio.to_thread(entered.__enter__)
    try:
        yield router, supervisor
    finally:
        await asyncio.to_thread(entered.__exit__, None, None, None)
        ticking.cancel()
        await asyncio.wait({ticking})


@pytest.mark.parametrize(
    ("state", "load", "expected"),
    [
        pytest.param(EngineState.READY, IDLE, (200, "local/tiny", "pinned"), id="an idle engine serves"),
        pytest.param(EngineState.READY, None, (200, "local/tiny", "pinned"), id="one that has not reported yet too"),
        pytest.param(
            EngineState.LOADING, None, (200, "cloud/stand-in", "spill:starting"), id="one that loads is not waited for"
        ),
        pytest.param(
            EngineState.FAILED, None, (200, "cloud/stand-in", "fallback:off"), id="one that failed is not asked"
        ),
        pytest.param(
            EngineState.READY,
            replace(IDLE, age_s=9.0),
            (200, "cloud/stand-in", "spill:queue"),
            id="an old report counts as full",
        ),
        pytest.param(
            EngineState.READY,
            replace(IDLE, kv_used_fraction=0.97, waiting=3),
            (200, "cloud/stand-in", "spill:kv"),
            id="a full KV cache with others waiting",
        ),
    ],
)
async def test_the_snapshot_decides_where_a_request_goes(
    folder: Path, cloud: StandIn, engine: StandIn, state: EngineState, load: Load | None, expected: tuple[int, str, str]
) -> None:
    async with stack(folder, cloud, snapshot_of(engine, state, load)) as (router, _):
        assert await place(router) == expected


async def test_local_only_waits_for_the_engine_and_is_told_when_to_come_back(
    folder: Path, cloud: StandIn, engine: StandIn
) -> None:
    async with stack(folder, cloud, snapshot_of(engine, EngineState.LOADING, None)) as (router, supervisor):
        status, headers, answer = await asyncio.to_thread(post, router, asked(), x_spillway_privacy="local-only")
        assert (status, answer["error"]["code"]) == (503, "no_target")
        assert int(headers["retry-after"]) > 0
        supervisor.snapshot = snapshot_of(engine)
        while (await place(router, x_spillway_privacy="local-only"))[0] != 200:
            pass
        assert await place(router, x_spillway_privacy="local-only") == (200, "local/tiny", "privacy")


async def test_traffic_comes_back_only_when_there_is_room_again(folder: Path, cloud: StandIn, engine: StandIn) -> None:
    full = snapshot_of(engine, load=replace(IDLE, kv_used_fraction=0.97, waiting=3))
    async with stack(folder, cloud, full) as (router, supervisor):
        assert (await place(router))[2] == "spill:kv"
        await seen(router, supervisor, snapshot_of(engine, load=replace(IDLE, kv_used_fraction=0.85)))
        assert (await place(router))[2] == "spill:kv"
        await seen(router, supervisor, snapshot_of(engine, load=replace(IDLE, kv_used_fraction=0.5)))
        assert await place(router) == (200, "local/tiny", "pinned")


async def seen(router: Router, supervisor: Supervisor, snapshot: Snapshot) -> None:
    """Tell a Snapshot and return when the router has heard of it."""
    supervisor.snapshot = snapshot
    wanted = snapshot.engines[0].load
    while wanted and (await asyncio.to_thread(router.target, "local/tiny"))["load"]["kv_used_fraction"] != (
        wanted.kv_used_fraction
    ):
        pass


async def test_before_the_first_snapshot_a_model_is_not_unknown_but_starting(folder: Path, cloud: StandIn) -> None:
    entered = running_router(folder, TIERS, {}, settle=False)
    router = await asyncio.to_thread(entered.__enter__)
    try:
        status, headers, _ = await asyncio.to_thread(post, router, asked())
        assert (status, "retry-after" in headers) == (503, True)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await asyncio.to_thread(router.get, "/readyz")
    finally:
        await asyncio.to_thread(entered.__exit__, None, None, None)
