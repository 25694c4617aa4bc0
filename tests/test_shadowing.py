"""Shadows and splits, carried out by a real router: what clients notice of them, and what the ledger tells."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from router.books import read_compared
from router.comparing.arms import ArmFigures, arms_of
from tests.callers import Heard, heard, request
from tests.routers import TIERS, Router, asked, cloud_table, running_router, until
from tests.scripted import ScriptedEngine, answered, polite, scripted_engine

SHADOWS = """
[tasks.at_home]
tier = "standard"
[tasks.to_cloud]
tier = "standard"
[tasks.halved]
tier = "standard"
[splits.half]
percent = 50
model = "next"
models = ["first"]
tasks = ["halved"]
[shadows.new]
percent = 100
model = "next"
tasks = ["at_home"]
[shadows.absent]
percent = 100
model = "absent"
tasks = ["to_none"]
[tasks.to_none]
tier = "standard"
[chains.absent]
fallbacks = ["next"]
[shadows.paid]
percent = 100
model = "twin"
tasks = ["to_cloud"]
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A router with an engine, another one that hears copies, and a cloud that does too."""

    router: Router
    engine: ScriptedEngine
    next: ScriptedEngine
    cloud: ScriptedEngine
    folder: Path

    def ask(self, name: str, *lines: str, **more: Any) -> Heard:
        return heard(self.router.url, request(asked("first", **more), f"x-request-id: {name}", *lines))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Of a request and its copy, the request first; both once they are written."""
        query = "SELECT * FROM outcome WHERE request_id = ? OR shadow_of = ? ORDER BY shadow_of IS NOT NULL"
        with closing(sqlite3.connect(self.folder / "home" / "ledger.sqlite3", timeout=20)) as books:
            books.row_factory = sqlite3.Row
            return [dict(row) for row in books.execute(query, (name, name)).fetchall()]

    def both(self, name: str) -> list[dict[str, Any]]:
        until(lambda: len(self.rows(name)) == 2)
        return self.rows(name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("shadows")
    with scripted_engine() as engine, scripted_engine() as other, scripted_engine() as cloud:
        config = TIERS + SHADOWS + cloud_table(cloud.url, serves="twin")
        with running_router(folder, config, {"first": engine.url, "next": other.url}) as router:
            yield Scene(router, engine, other, cloud, folder)


@pytest.fixture
def scene(shared: Scene) -> Scene:
    for each in (shared.engine, shared.next, shared.cloud):
        each.script = polite
        each.asked.clear()
    return shared


@pytest.mark.parametrize("stream", [False, True])
def test_another_engine_is_asked_too_and_its_answer_is_written(scene: Scene, stream: bool) -> None:
    name = f"home-{stream}"
    answer = scene.ask(name, "x-spillway-task: at_home", stream=stream)
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/first")
    original, copy = scene.both(name)
    assert (original["target"], original["arm"], original["shadow_of"]) == ("local/first", None, None)
    assert (copy["target"], copy["arm"], copy["shadow_of"]) == ("local/next", "new/trial", name)
    assert (copy["reason"], copy["status"], copy["prompt_tokens"], copy["completion_tokens"]) == (
        "shadow:new",
        200,
        7,
        3,
    )
    (question,) = scene.next.asked
    assert json.loads(question.body)["messages"] == json.loads(scene.engine.asked[-1].body)["messages"]


def test_a_copy_to_a_cloud_is_paid_like_any_call(scene: Scene) -> None:
    assert scene.ask("paid", "x-spillway-task: to_cloud").one("x-spillway-usd") == "0"
    original, copy = scene.both("paid")
    assert original["usd"] == 0.0
    assert (copy["target"], copy["status"]) == ("cloud/stand-in", 200)
    assert copy["usd"] == pytest.approx((7 * 0.15 + 3 * 0.60) / 1e6)


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        pytest.param("x-spillway-privacy: local-only", "local-only", id="privacy"),
        pytest.param("x-spillway-max-usd: 0.000000001", "budget", id="money"),
    ],
)
def test_a_copy_that_may_not_go_to_a_cloud_never_does(scene: Scene, hint: str, code: str) -> None:
    assert scene.ask(code, "x-spillway-task: to_cloud", hint).status == 200
    _, copy = scene.both(code)
    assert copy["target"] == "none"
    assert code in copy["error"]
    assert scene.cloud.asked == []


def test_a_copy_is_never_sent_to_a_model_that_stands_in(scene: Scene) -> None:
    assert scene.ask("absent", "x-spillway-task: to_none").status == 200
    _, copy = scene.both("absent")
    assert (copy["target"], copy["status"], copy["attempts"]) == ("none", 503, 0)
    assert "not sent: no target of absent" in copy["error"]
    assert scene.next.asked == []


def test_a_copy_that_fails_is_a_row_and_nobody_hears_of_it(scene: Scene) -> None:
    scene.next.script = lambda line: line.send(answered(b'{"error":{"message":"no"}}', "400 Bad Request"))
    answer = scene.ask("fails", "x-spillway-task: at_home")
    assert (answer.status, answer.one("x-spillway-attempts")) == (200, "1")
    original, copy = scene.both("fails")
    assert (original["status"], original["attempts"]) == (200, 1)
    assert (copy["target"], copy["status"]) == ("none", 400)


def test_an_answer_does_not_wait_for_its_copy(scene: Scene) -> None:
    # The copy is never answered: it ends with the connection of the engine.
    scene.next.script = lambda line: None
    assert scene.ask("first", "x-spillway-task: at_home").status == 200
    until(lambda: len(scene.next.asked) == 1)
    assert [row["shadow_of"] for row in scene.rows("first")] in ([], [None])
    scene.next.hang_up()
    _, copy = scene.both("first")
    assert copy["status"] == 503


def test_what_no_shadow_wants_is_not_copied(scene: Scene) -> None:
    assert scene.ask("plain").status == 200
    assert scene.ask("later", "x-spillway-task: at_home").status == 200
    scene.both("later")
    assert len(scene.rows("plain")) == 1
    assert len(scene.next.asked) == 1


def test_a_split_keeps_each_tenant_with_one_model_and_writes_both_arms(scene: Scene) -> None:
    served: dict[str, set[str]] = {}
    for tenant in ("a", "b", "c", "d", "e", "f") * 2:
        answer = scene.ask(f"split-{tenant}", "x-spillway-task: halved", user=tenant)
        served.setdefault(tenant, set()).add(answer.one("x-spillway-target"))
    assert all(len(targets) == 1 for targets in served.values())
    assert set().union(*served.values()) == {"local/first", "local/next"}
    path = scene.folder / "home" / "ledger.sqlite3"
    until(lambda: sum(figures.requests for figures in half_of(path)) == 12)
    control, trial = half_of(path)
    assert (control.targets, trial.targets) == (("local/first",), ("local/next",))
    assert (control.errors, trial.errors) == (0, 0)


def half_of(path: Path) -> tuple[ArmFigures, ArmFigures]:
    return arms_of(read_compared(path, ("half/control", "half/trial"), 0.0), "half/trial")
