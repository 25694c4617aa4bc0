"""The router behind a supervisor: what the feed says decides where requests go. The feed and the router are real,
the engine is the fake one, and the test plays the supervisor."""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engines.feed import Feed
from engines.snapshot import EngineState, EngineView, HostView, Load, ModelView, Snapshot
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
    supervisor.tell(router, READY, replace(IDLE, kv_used_fraction=0.85))
    assert place(router)[2] == "spill:kv"
    supervisor.tell(router, READY, replace(IDLE, kv_used_fraction=0.5))
    assert place(router) == (200, "local/tiny", "pinned")


def test_before_the_first_snapshot_a_model_is_not_unknown_but_starting(tmp_path: Path) -> None:
    with running_router(tmp_path, TIERS, {}, settle=False) as router:
        status, headers, _ = post(router, asked())
        assert (status, "retry-after" in headers) == (503, True)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            router.get("/readyz")
