"""Presets, tasks, chains and routes, obeyed by a real router in front of two engines and a cloud."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.callers import Heard, heard, request
from tests.routers import TIERS, Router, asked, cloud_table, running_router, until
from tests.scripted import ScriptedEngine, answered, polite, says, scripted_engine

CONFIG = """
active_preset = "mine"
[presets.mine]
default = "first"
[presets.mine.tasks]
writing = ["first", "next"]
[tasks.writing]
tier = "standard"
temperature = 0.2
max_tokens = 77
[chains.first]
emergency = ["next"]
[[routes]]
name = "theirs"
tenants = ["acme"]
model = "next"
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A router with two engines and a cloud."""

    router: Router
    first: ScriptedEngine
    next: ScriptedEngine
    folder: Path

    def ask(self, model: str, *lines: str, **more: Any) -> Heard:
        body = {key: value for key, value in json.loads(asked(model, **more)).items() if value is not None}
        return heard(self.router.url, request(json.dumps(body).encode(), *lines))

    def route_of(self, name: str) -> str | None:
        """The ledger's, once the row is written."""
        found: list[tuple[str | None]] = []

        def is_written() -> bool:
            with closing(sqlite3.connect(self.folder / "home" / "ledger.sqlite3", timeout=20)) as books:
                found[:] = books.execute("SELECT route FROM outcome WHERE request_id = ?", (name,)).fetchall()
            return bool(found)

        until(is_written)
        return found[0][0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("directed")
    with scripted_engine() as first, scripted_engine() as other, scripted_engine() as cloud:
        config = CONFIG + TIERS + cloud_table(cloud.url, serves="faraway")
        with running_router(folder, config, {"first": first.url, "next": other.url}) as router:
            yield Scene(router, first, other, folder)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.first.script = polite
    # What a test before left to the first engine is forgiven.
    until(lambda: shared.ask("first").one("x-spillway-target") == "local/first")
    shared.first.asked.clear()
    return shared


@pytest.mark.parametrize("stream", [False, True])
def test_a_task_goes_to_the_model_of_the_preset_with_what_it_fills_in(scene: Scene, stream: bool) -> None:
    answer = scene.ask("task/writing", max_tokens=None, stream=stream)
    assert (answer.status, answer.one("x-spillway-target"), answer.one("x-spillway-reason")) == (
        200,
        "local/first",
        "task",
    )
    sent = json.loads(scene.first.asked[-1].body)
    assert (sent["temperature"], sent["max_tokens"], sent["model"]) == (0.2, 77, "tiny")


def test_what_the_client_says_goes_before_what_its_task_fills_in(scene: Scene) -> None:
    scene.ask("task/writing", max_tokens=5, temperature=1.0)
    sent = json.loads(scene.first.asked[-1].body)
    assert (sent["temperature"], sent["max_tokens"]) == (1.0, 5)


@pytest.mark.parametrize("model", ["task/writing", "first"], ids=["by the preset", "by the model's chain"])
def test_another_model_stands_in_when_the_first_fails(scene: Scene, model: str) -> None:
    scene.first.script = says(answered(b'{"error":{"message":"broken"}}', "500 Internal Server Error"))
    answer = scene.ask(model)
    assert (answer.status, answer.one("x-spillway-target"), answer.one("x-spillway-attempts")) == (
        200,
        "local/next",
        "2",
    )
    assert answer.one("x-spillway-reason") == "fallback:500"


def test_a_route_sends_a_tenant_elsewhere_and_the_ledger_names_it(scene: Scene) -> None:
    theirs = scene.ask("auto", "x-request-id: theirs", user="acme")
    assert theirs.one("x-spillway-target") == "local/next"
    ours = scene.ask("task/writing", "x-request-id: ours", user="us")
    assert ours.one("x-spillway-target") == "local/first"
    assert (scene.route_of("theirs"), scene.route_of("ours")) == ("theirs", None)


def test_hints_that_cannot_both_be_kept_are_400_and_nothing_is_sent(scene: Scene) -> None:
    answer = scene.ask("faraway", "x-spillway-privacy: local-only")
    assert (answer.status, answer.code) == (400, "conflicting_hints")
    assert "cloud/stand-in" in answer.json["error"]["message"]
