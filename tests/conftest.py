"""Processes that many tests share: the fake engine, the stand-in cloud, a router between them, a driver of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import settings

from benchmarks.double.nvml_double import Double
from engines.plan import EnginePlan
from tests.engine_sites import Bench, bench
from tests.gpu_readings import Readings, cards
from tests.providers import RunningProvider, running_provider
from tests.routers import TIERS, Router, cloud_table, running_router, until
from tests.shares import shares, turn
from tests.stacks import Shipped, shipped_stack
from tests.stand_ins import StandIn, standing_in
from tests.supervised import Start, Supervised

# How long an example takes says nothing on a machine that has other work.
settings.register_profile("spillway", deadline=None)
settings.load_profile("spillway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.path.stem))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Any:
    return shares(config, log)


@pytest.fixture
def double(tmp_path: Path) -> Double:
    """The driver of a machine with two H100."""
    return Double(tmp_path, cards(2))


@pytest.fixture
def readings(double: Double) -> Iterator[Readings]:
    """A process that reads the GPUs of `double` when told to."""
    with Readings(double.env) as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a supervisor; longer than the 107 bytes that the name of a Unix socket may have."""
    return tmp_path / ("deep-" * 20) / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts supervisors in `home`, which are ended with the test."""
    started: list[Supervised] = []

    def run(*engines: EnginePlan) -> Supervised:
        started.append(Supervised.start(home, *engines))
        return started[-1]

    yield run
    for each in started:
        each.end()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Bench]:
    """Engines without a supervisor around them."""
    async with bench(tmp_path / "home") as made:
        yield made


@pytest.fixture
def aborts(tmp_path: Path) -> Path:
    """Where a stand-in engine notes the requests that were cut off."""
    path = tmp_path / "aborts"
    path.touch()
    return path


@pytest.fixture(scope="session")
def fast_cloud() -> Iterator[StandIn]:
    with standing_in("cloud", "--ttft-s", "0.01", "--tokens-per-s", "2000") as running:
        yield running


@pytest.fixture(scope="session")
def shipped(fast_cloud: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """Real vLLM, because it takes longest shared by all that do not change it for good."""
    with shipped_stack(tmp_path_factory.mktemp("stack"), fast_cloud.url) as running:
        yield running


@pytest.fixture(scope="session")
def tiny_engine() -> Iterator[StandIn]:
    with standing_in("engine", "--model", "tiny", "--context", "512", "--step-ms", "5") as running:
        yield running


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningProvider]:
    """Clouds that speak their own wire formats."""
    with running_provider() as running:
        yield running


@pytest.fixture(scope="session")
def shared_router(
    fast_cloud: StandIn, tiny_engine: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Router]:
    config = TIERS + cloud_table(fast_cloud.url) + "[limits]\nbody_bytes = 20000\n"
    with running_router(tmp_path_factory.mktemp("router"), config, {"tiny": tiny_engine.url}) as running:
        yield running


@pytest.fixture
def router(shared_router: Router) -> Router:
    """The shared router, once no target is passed over any more because of the test before."""

    def all_may_be_asked() -> bool:
        targets = shared_router.get("/spillway/status")["targets"]
        return not any(each["resting"] or each["room"]["ready_in_s"] for each in targets)

    until(all_may_be_asked)
    return shared_router


@pytest.fixture
def client(router: Router) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=20) as made:
        yield made
