"""A model of the hub, from one table in stack.toml to an answer: locked, downloaded, served offline by real vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.home import measured_path, running_supervisor
from engines.memory.measured import read
from engines.models.lock import read_lock
from engines.models.locked import ENGINES
from tests.ports import unused_port
from tests.stack_cases import tables
from tests.stacks import Place, ends_without_trace
from tests.stand_in_hub import StandInHub, standing_in_hub

SMOKE = ENGINES / "smoke" / "model"


@pytest.fixture(scope="module")
def hub() -> Iterator[StandInHub]:
    with standing_in_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def place(hub: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("own")
    hub.add("acme/tiny", SMOKE)
    port = unused_port()
    config = folder / "stack.toml"
    config.write_text(tables(port, "[models.tiny]\nsource = 'hf:acme/tiny'\ncontext_tokens = 2048\n"))
    made = Place(folder / "home", config, port, hub.environment(folder / "hf"))
    yield made
    if running_supervisor(made.home):
        made.down()


def lock_of(place: Place) -> Path:
    return place.config.with_name("models.lock")


def words(place: Place, verb: str) -> tuple[str, ...]:
    return (verb, "--config", str(place.config), "--lock", str(lock_of(place)))


def test_it_is_locked_planned_fetched_served_and_learned_from(place: Place, hub: StandInHub) -> None:
    said = place.run(*words(place, "lock"))
    assert said.returncode == 0, said.stdout + said.stderr
    locked = read_lock(lock_of(place)).models["tiny"]
    assert len(locked.revision) == 40
    assert locked.architecture.kv_heads == 2

    said = place.run(*words(place, "up"), "--profile", "cpu")
    assert said.returncode == 0, said.stdout + said.stderr
    assert place.complete("tiny")["choices"]

    (found,) = read(measured_path(place.home)).values()
    planned = place.run(*words(place, "plan"), "--profile", "cpu", "--json")
    assert found.kv_tokens == json.loads(planned.stdout)["engines"][0]["kv_tokens"]

    hub.asked.clear()
    ends_without_trace(place)
    assert hub.asked == []
    again = place.run(*words(place, "download"))
    assert again.returncode == 0, again.stdout
    assert hub.asked == []
