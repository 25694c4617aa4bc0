"""The line between router and supervisor, on a real socket: Reports after Snapshots, and what happens without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.snapshot import SCHEMA, EngineState, EngineUse
from tests.callers import heard, request
from tests.routers import TIERS, asked, cloud_table, until
from tests.scripted import HI, STREAM_HEAD, ScriptedEngine, answered, framed, polite, scripted_engine
from tests.stand_ins import StandIn
from tests.test_deaths import Deathbed, dies
from tests.test_sse import ROLE
from tests.told import Told, engine, told

BULK = "x-spillway-tier: bulk"


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


@pytest.fixture(scope="module")
def here(fast_cloud: StandIn, scripted: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder, config = tmp_path_factory.mktemp("line"), cloud_table(fast_cloud.url)
    with told(folder, engine(scripted.url), config=config, environment={"STUDIO_KEY": "sk-studio"}) as running:
        yield running


def where(here: Told, *lines: str) -> tuple[int, str, str]:
    answer = heard(here.router.url, request(asked(), *lines))
    return answer.status, answer.one("x-spillway-target"), answer.one("x-spillway-reason")


def test_the_supervisor_hears_what_is_in_flight_where(here: Told, scripted: ScriptedEngine) -> None:
    silent, spoken = Deathbed(), Deathbed(STREAM_HEAD + framed(ROLE, HI))
    with scripted_engine() as one, scripted_engine() as other, ThreadPoolExecutor(3) as pool:
        one.script, other.script = silent, spoken
        views = engine(one.url), engine(other.url, name="two", model="two")
        here.say(*views)
        for model in ("tiny", "tiny", "two"):
            pool.submit(heard, here.router.url, request(asked(model, stream=True), BULK))
        until(lambda: (len(one.asked), len(other.asked)) == (2, 1))
        until(lambda: here.router.target("local/two")["in_flight"]["unstarted"] == 0)
        here.say(*views)
        until(lambda: here.teller.use(one.url).in_flight == 2)
        use = here.teller.use(one.url)
        assert (use.unstarted, use.longest_prompt_tokens > 0, use.oldest_wait_s > 0) == (2, True, True)
        assert here.teller.use(other.url) == EngineUse(1, 0, 0, 0.0)
        # Its name is another's by now, and still it is counted where it runs.
        here.say(engine(other.url, name="tiny"), engine(one.url, EngineState.DRAINING, name="tiny~old"))
        until(lambda: here.teller.use(one.url).in_flight == 2)
        dies(one, silent)
        dies(other, spoken)
        here.say(engine(scripted.url))


def test_each_worker_tells_what_it_has_in_flight(tmp_path: Path) -> None:
    held = Deathbed(last=answered())
    tiers = "[endpoint]\nworkers = 3\n" + TIERS
    with (
        scripted_engine() as one,
        told(tmp_path, engine(one.url), tiers=tiers) as router,
        ThreadPoolExecutor(12) as pool,
    ):
        one.script = held
        answers = [pool.submit(heard, router.router.url, request(asked(), BULK)) for _ in range(12)]
        until(lambda: len(one.asked) == 12)
        router.say(engine(one.url))
        until(lambda: router.teller.use(one.url).in_flight == 12)
        held.over.set()
        assert {each.result().status for each in answers} == {200}
        router.say(engine(one.url))
        until(lambda: router.teller.use(one.url).in_flight == 0)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({"schema": SCHEMA + 1}).encode(),
        json.dumps({"schema": SCHEMA}).encode(),
        b"[]",
        b"what?",
    ],
    ids=["another schema", "half a snapshot", "a list", "no JSON"],
)
def test_what_is_no_snapshot_is_not_believed_and_the_next_one_is(
    here: Told, scripted: ScriptedEngine, line: bytes
) -> None:
    scripted.script = polite
    here.say(engine(scripted.url))
    here.teller.babble(line + b"\n")
    assert where(here, BULK) == (200, "local/tiny", "pinned")
    here.say(engine(scripted.url))
    assert where(here) == (200, "local/tiny", "pinned")


def test_without_a_supervisor_who_may_spill_does_and_the_others_go_on(here: Told, scripted: ScriptedEngine) -> None:
    scripted.script = polite
    here.say(engine(scripted.url))
    here.teller.close()
    until(lambda: here.router.target("local/tiny")["stale"])
    assert where(here) == (200, "cloud/stand-in", "spill:queue")
    assert where(here, BULK) == (200, "local/tiny", "pinned")
    assert where(here, "x-spillway-privacy: local-only") == (200, "local/tiny", "privacy")
    here.teller.open()
    here.say(engine(scripted.url))
    assert where(here) == (200, "local/tiny", "pinned")


def test_an_engine_that_somebody_else_runs_gets_its_key_and_its_own_name_of_the_model(
    here: Told, scripted: ScriptedEngine
) -> None:
    scripted.script = polite
    here.say(engine(scripted.url, kind="url", served_name="studio/tiny", key_env="STUDIO_KEY"))
    assert where(here) == (200, "local/tiny", "pinned")
    asked_last = scripted.asked[-1]
    assert asked_last.fields["authorization"] == "Bearer sk-studio"
    assert json.loads(asked_last.body)["model"] == "studio/tiny"
    here.say(engine(scripted.url, kind="url", key_env="NO_SUCH_KEY"))
    assert where(here)[1] == "cloud/stand-in"
    assert "NO_SUCH_KEY" in here.router.target("local/tiny")["state"]


def test_engines_of_ours_get_no_key(here: Told, scripted: ScriptedEngine) -> None:
    scripted.script = polite
    here.say(engine(scripted.url))
    assert where(here, "authorization: Bearer sk-client") == (200, "local/tiny", "pinned")
    assert "authorization" not in scripted.asked[-1].fields


def test_the_status_shows_all_that_the_supervisor_says(here: Told, scripted: ScriptedEngine) -> None:
    here.say(engine(scripted.url, memory_bytes=7, memory_age_s=0.5, is_adopted=True, weight=0.5))
    status = here.router.get("/spillway/status")
    (shown,) = status["engines"]
    assert (shown["memory_bytes"], shown["memory_age_s"], shown["is_adopted"], shown["weight"]) == (7, 0.5, True, 0.5)
    assert (status["refused"], status["busy"], status["config"]["refused"]) == ("", "", "")
