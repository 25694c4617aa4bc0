"""Requests for engines that are not there now: they spill at once, or wait and are answered. Router and sockets are
real; the test is the supervisor, and says each thing once, so nothing that happens can come from a tick."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engines.snapshot import EngineState
from router.clouds.cloud import Clouds
from router.registry import deployments
from tests.callers import Heard, calling, heard, request
from tests.routers import TIERS, Router, asked, cloud_table, until
from tests.scripted import ScriptedEngine, polite, scripted_engine
from tests.specimens import ENVIRONMENT, RULES
from tests.stand_ins import StandIn
from tests.told import Told, engine, told

READY, LOADING, SLEEPING, FAILED = EngineState.READY, EngineState.LOADING, EngineState.SLEEPING, EngineState.FAILED
NOWHERE = "http://127.0.0.1:9"
HOME = "x-spillway-privacy: local-only"
BULK = "x-spillway-tier: bulk"


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


@pytest.fixture(scope="module")
def early() -> list[tuple[str, Heard]]:
    """The state of the cloud when the router was asked for the first time, and the answer."""
    return []


@pytest.fixture(scope="module")
def shared(
    fast_cloud: StandIn, tmp_path_factory: pytest.TempPathFactory, early: list[tuple[str, Heard]]
) -> Iterator[Told]:
    def ask(router: Router) -> None:
        early.append((router.get("/spillway/status")["clouds"][0]["state"], heard(router.url, request())))

    folder = tmp_path_factory.mktemp("waiting")
    with told(folder, engine(NOWHERE, LOADING), config=cloud_table(fast_cloud.url), at_once=ask) as running:
        yield running


@pytest.fixture
def here(shared: Told, scripted: ScriptedEngine) -> Told:
    """Nobody has asked for anything yet."""
    scripted.script = polite
    scripted.asked.clear()
    assert shared.waiting == 0
    shared.teller.is_wanted("tiny")
    shared.teller.wanted.clear()
    return shared


def asking(pool: ThreadPoolExecutor, here: Told, *lines: str, **more: Any) -> Future[Heard]:
    """A request that waits by now."""
    before = here.waiting
    answer = pool.submit(heard, here.router.url, request(asked(**more), *lines))
    until(lambda: here.waiting == before + 1)
    return answer


def where(answer: Heard) -> tuple[int, str, str]:
    return answer.status, answer.one("x-spillway-target"), answer.one("x-spillway-reason")


def test_a_cloud_whose_sdk_still_loads_is_waited_for(here: Told, early: Sequence[tuple[str, Heard]]) -> None:
    [(state, answer)] = early
    assert (state, *where(answer)) == ("starting", 200, "cloud/stand-in", "spill:starting")
    assert here.router.get("/spillway/status")["clouds"][0]["state"] == "on"


async def test_a_cloud_whose_sdk_cannot_be_loaded_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_models: object) -> None:
        raise ImportError("no litellm")

    monkeypatch.setattr("router.clouds.cloud.load", broken)
    clouds = Clouds(deployments(RULES, (), {}, ENVIRONMENT), ENVIRONMENT)
    assert clouds.off["cloud/nano"].is_coming
    await clouds.warm()
    away = clouds.off["cloud/nano"]
    assert not away.is_coming
    assert "ImportError" in away.why


@pytest.mark.parametrize("state", [SLEEPING, LOADING, EngineState.PLANNED, EngineState.DRAINING])
def test_who_may_spill_does_so_and_the_engine_is_wanted_at_once(here: Told, state: EngineState) -> None:
    here.say(engine(NOWHERE, state))
    here.teller.is_wanted("tiny")
    here.teller.wanted.clear()
    assert where(heard(here.router.url, request())) == (200, "cloud/stand-in", "spill:starting")
    until(lambda: here.teller.is_wanted("tiny"))


@pytest.mark.parametrize("line", [HOME, BULK], ids=["local-only", "a tier that may not spill"])
@pytest.mark.parametrize("state", [SLEEPING, LOADING, FAILED, EngineState.DRAINING])
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "whole"])
def test_who_may_not_spill_waits_until_the_engine_is_ready(
    here: Told, scripted: ScriptedEngine, state: EngineState, line: str, stream: bool
) -> None:
    here.say(engine(NOWHERE, state))
    with ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here, line, stream=stream)
        until(lambda: here.teller.is_wanted("tiny"))
        here.say(engine(NOWHERE, LOADING))
        assert not answer.done()
        here.say(engine(scripted.url, READY))
        assert where(answer.result())[:2] == (200, "local/tiny")
    assert here.waiting == 0


def test_all_who_wait_are_answered(here: Told, scripted: ScriptedEngine) -> None:
    here.say(engine(NOWHERE, SLEEPING))
    with ThreadPoolExecutor(30) as pool:
        answers = [pool.submit(heard, here.router.url, request(asked(), BULK)) for _ in range(30)]
        until(lambda: here.waiting == 30)
        here.say(engine(scripted.url, READY))
        assert {where(each.result())[:2] for each in answers} == {(200, "local/tiny")}


def test_those_who_still_wait_are_told_of_after_each_snapshot(here: Told, scripted: ScriptedEngine) -> None:
    here.say(engine(NOWHERE, SLEEPING))
    with ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here, BULK)
        until(lambda: here.teller.is_wanted("tiny"))
        here.teller.wanted.clear()
        here.say(engine(NOWHERE, SLEEPING))
        until(lambda: here.teller.is_wanted("tiny"))
        here.say(engine(scripted.url, READY))
        assert answer.result().status == 200


def test_a_wait_ends_with_the_requests_own_deadline(here: Told) -> None:
    here.say(engine(NOWHERE, LOADING, progress="weights 3 of 8"))
    answer = heard(here.router.url, request(asked(), HOME, "x-spillway-deadline-ms: 150"))
    assert (answer.status, answer.code) == (503, "no_target")
    assert int(answer.one("retry-after")) > 0
    assert "weights 3 of 8" in answer.json["error"]["message"]
    assert "of waiting" in answer.json["error"]["message"]
    assert here.waiting == 0


@pytest.mark.parametrize("state", [EngineState.QUARANTINED, EngineState.STOPPED])
def test_nobody_waits_for_what_will_not_come(here: Told, state: EngineState) -> None:
    here.say(engine(NOWHERE, state, last_error="Xid 79"))
    answer = heard(here.router.url, request(asked(), HOME))
    assert (answer.status, answer.code) == (503, "no_target")
    assert "Xid 79" in answer.json["error"]["message"]


def test_who_was_to_spill_and_could_not_waits_for_the_engine(
    here: Told, scripted: ScriptedEngine, fast_cloud: StandIn
) -> None:
    here.say(engine(NOWHERE, LOADING))
    fast_cloud.switch("500")
    with ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here)
        here.say(engine(scripted.url))
        assert where(answer.result()) == (200, "local/tiny", "fallback:500")
    assert answer.result().one("x-spillway-attempts") == "2"


def test_who_waits_is_told_when_it_turns_out_that_nobody_comes(here: Told) -> None:
    here.say(engine(NOWHERE, LOADING))
    with ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here, HOME)
        here.say(engine(NOWHERE, EngineState.QUARANTINED, last_error="no memory"))
        assert "no memory" in answer.result().json["error"]["message"]


def test_a_client_that_leaves_waits_no_longer(here: Told) -> None:
    here.say(engine(NOWHERE, LOADING))
    with calling(here.router.url) as caller:
        caller.send(request(asked(), HOME))
        until(lambda: here.waiting == 1)
    until(lambda: here.waiting == 0)


def test_a_wanted_model_without_an_engine_is_waited_for_as_after_the_start_of_a_supervisor(
    here: Told, scripted: ScriptedEngine
) -> None:
    here.say(engine(NOWHERE, name="other", model="other"))
    here.say()
    with ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here, BULK)
        here.say(engine(scripted.url))
        assert where(answer.result())[:2] == (200, "local/tiny")


def test_a_router_that_stops_lets_nobody_wait(tmp_path: Path) -> None:
    with told(tmp_path, engine(NOWHERE, LOADING)) as here, ThreadPoolExecutor(1) as pool:
        answer = asking(pool, here)
        here.router.process.send_signal(signal.SIGTERM)
        assert answer.result().status == 503
        assert here.router.process.wait(20) == 0


def test_the_longest_wait_is_that_of_the_limits(tmp_path: Path) -> None:
    tiers = TIERS + "[limits]\nmax_wait_s = 0.2\n"
    with told(tmp_path, engine(NOWHERE, SLEEPING), tiers=tiers) as here:
        answer = heard(here.router.url, request())
        assert (answer.status, answer.code) == (503, "no_target")
