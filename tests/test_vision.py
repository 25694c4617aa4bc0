"""A question with an image: from the engine here to a free cloud to one that is paid, and never to who cannot see."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from engines.snapshot import ModelView
from tests.callers import Heard, heard, request
from tests.provider_words import Mode
from tests.providers import RunningProvider, deployment
from tests.routers import until
from tests.scripted import Line, ScriptedEngine, answered, closes, polite, scripted_engine
from tests.told import Told, engine, told

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(92)
SEEN = "I see image/png of 100 bytes. You said: What is it?"
TASKS = """
[tasks.vision]
tier = "standard"
model = "tiny"
needs = ["vision"]
[tasks.crowd]
tier = "standard"
model = "crowded"
[chains.tiny]
fallbacks = ["writes", "free"]
emergency = ["paid"]
[chains.crowded]
fallbacks = ["paid"]
"""


@pytest.fixture(scope="module")
def eye() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        yield running


@pytest.fixture(scope="module")
def running(eye: ScriptedEngine, provider: RunningProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """With an engine that sees, a cloud that only writes, a free one, a free one that is full and one that is paid."""
    free: dict[str, Any] = {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0}
    clouds = [
        deployment(provider.url, "deepseek", serves=["writes"], capabilities=["chat"]),
        deployment(provider.url, "gemini", serves=["free"], **free),
        deployment(provider.url, "gemini", Mode.FULL, "crowded", serves=["crowded"], **free),
        deployment(provider.url, "openai", serves=["paid"]),
    ]
    with told(tmp_path_factory.mktemp("vision"), engine(eye.url), config=TASKS + "".join(clouds)) as router:
        yield router


@pytest.fixture
def sees(running: Told, eye: ScriptedEngine) -> Told:
    """The engine is well, and the router knows it."""
    eye.script = polite
    said(running, eye, "chat", "vision")
    until(lambda: looked(running, "task/vision").one("x-spillway-target") == "local/tiny")
    return running


def said(running: Told, eye: ScriptedEngine, *capabilities: str) -> None:
    running.teller.say(running.router, engine(eye.url), models=(ModelView("tiny", 512, capabilities, None),))


def looked(running: Told, model: str, *lines: str, stream: bool = False) -> Heard:
    picture = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}}]
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": parts}], "stream": stream}
    return heard(running.router.url, request(json.dumps(asked).encode(), *lines))


def spoken(answer: Heard) -> str:
    return str(answer.json["choices"][0]["message"]["content"])


def test_the_engine_here_sees_first(sees: Told, eye: ScriptedEngine) -> None:
    answer = looked(sees, "task/vision")
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/tiny")
    part = json.loads(eye.asked[-1].body)["messages"][0]["content"][1]
    assert base64.b64decode(part["image_url"]["url"].partition(",")[2]) == PICTURE


def broken(line: Line) -> None:
    line.send(answered(b'{"error":{"message":"out of order"}}', "500 Internal Server Error"))


@pytest.mark.parametrize("script", [broken, closes], ids=["says so", "hangs up"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_where_it_fails_the_free_cloud_sees(sees: Told, eye: ScriptedEngine, script: Any, stream: bool) -> None:
    eye.script = script
    answer = looked(sees, "task/vision", stream=stream)
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/gemini")
    assert answer.one("x-spillway-reason").startswith("fallback:")
    if stream:
        assert b"image/png" in answer.body
        assert answer.body.endswith(b"data: [DONE]\n\n")
    else:
        assert spoken(answer) == SEEN
        assert answer.one("x-spillway-usd") == "0"


def test_where_the_free_one_is_full_the_paid_one_sees(sees: Told) -> None:
    answer = looked(sees, "task/crowd")
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/openai")
    assert spoken(answer) == SEEN
    assert answer.one("x-spillway-reason") == "fallback:429"
    assert float(answer.one("x-spillway-usd")) > 0


def test_who_only_writes_is_never_shown_an_image(sees: Told, eye: ScriptedEngine, provider: RunningProvider) -> None:
    provider.asked()
    said(sees, eye, "chat")
    answer = looked(sees, "task/vision")
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/gemini")
    assert {each["path"].split("/")[1] for each in provider.asked()} == {"gemini"}
    refused = looked(sees, "writes")
    assert (refused.status, refused.code) == (400, "unsupported_capability")
    assert provider.asked() == []


def test_an_image_that_must_stay_here_stays_here(sees: Told, eye: ScriptedEngine, provider: RunningProvider) -> None:
    provider.asked()
    said(sees, eye, "chat")
    answer = looked(sees, "task/vision", "x-spillway-privacy: local-only")
    assert answer.status in (400, 503)
    assert provider.asked() == []
