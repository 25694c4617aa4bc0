"""Long conversations move up to a longer context, and nobody's prompt is cut without a word: with a real router."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.callers import Heard, heard, request
from tests.routers import cloud_table, until
from tests.scripted import ScriptedEngine, polite, scripted_engine
from tests.wired import Wired, wired

# The engine has 512 tokens, as it says itself.
SENTENCE = "Where does all the water of the lake go when it rains for a week? "


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wired, ScriptedEngine]]:
    with scripted_engine() as cloud, wired(tmp_path_factory.mktemp("long"), cloud_table(cloud.url)) as wire:
        yield wire, cloud


@pytest.fixture
def wire(shared: tuple[Wired, ScriptedEngine]) -> Wired:
    made, cloud = shared
    for each in (made.engine, cloud):
        each.script = polite
        each.asked.clear()
    until(lambda: made.in_flight == 0)
    return made


def say(wire: Wired, *contents: str, privacy: str = "any") -> Heard:
    """A conversation of these messages."""
    messages = [{"role": ("user", "assistant")[at % 2], "content": each} for at, each in enumerate(contents)]
    body = json.dumps({"model": "tiny", "messages": messages}).encode()
    return heard(wire.url, request(body, f"x-spillway-privacy: {privacy}"))


def test_a_conversation_that_grows_moves_up_when_its_engine_is_too_small(wire: Wired) -> None:
    turns = [SENTENCE * 8] * 9
    where = [say(wire, *turns[: count + 1]) for count in range(len(turns))]
    targets = [each.one("x-spillway-target") for each in where]
    assert (targets[0], targets[-1]) == ("local/tiny", "cloud/stand-in")
    # Once it has moved it stays there.
    assert targets == sorted(targets, reverse=True)
    reasons = {each.one("x-spillway-reason") for each in where if each.one("x-spillway-target") != "local/tiny"}
    assert reasons == {"escalate:context"}
    assert {each.one("x-spillway-attempts") for each in where} == {"1"}


def test_what_bytes_leave_open_an_estimate_of_the_text_decides(wire: Wired) -> None:
    # 3,800 bytes could be 475 tokens at eight bytes each; as numbers they are far more.
    answer = say(wire, "4711 " * 760)
    assert (answer.one("x-spillway-target"), answer.one("x-spillway-reason")) == ("cloud/stand-in", "escalate:context")
    assert wire.engine.asked == []


def test_a_prompt_that_may_fit_is_not_kept_from_its_engine(wire: Wired) -> None:
    # About 300 tokens, which bytes alone would put between 190 and 1,200.
    assert say(wire, SENTENCE * 23).one("x-spillway-target") == "local/tiny"


def test_a_prompt_that_may_go_nowhere_is_refused_with_all_the_figures(wire: Wired) -> None:
    answer = say(wire, SENTENCE * 100, privacy="local-only")
    assert (answer.status, answer.code) == (400, "context_length_exceeded")
    assert "local/tiny 512" in answer.json["error"]["message"]
    assert wire.engine.asked == []
