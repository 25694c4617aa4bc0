"""An engine dies with many requests in its hands: whoever has no token yet is answered by somebody else, or by its
successor. The supervisor has not noticed: in the snapshot the engine is ready throughout."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from engines.snapshot import EngineState
from tests.callers import Heard, heard, request
from tests.routers import asked, cloud_table, until
from tests.scripted import HI, STREAM_HEAD, Line, ScriptedEngine, answered, framed, scripted_engine
from tests.stand_ins import StandIn
from tests.test_sse import ROLE
from tests.told import Told, engine, told

MANY = 50
BULK = "x-spillway-tier: bulk"
DEAD = answered(b'{"error":{"message":"EngineCore encountered an issue","code":500}}', "500 Internal Server Error")


class Deathbed:
    """Holds every request, after a first piece of its answer if there is one, until the engine dies."""

    def __init__(self, first: bytes = b"", last: bytes = b"") -> None:
        self._first, self._last = first, last
        self.over = threading.Event()

    def __call__(self, line: Line) -> None:
        if self._first:
            line.send(self._first)
        assert self.over.wait(20)
        if self._last:
            line.send(self._last)
        line.close()


def dies(dying: ScriptedEngine, bed: Deathbed) -> None:
    """As a killed process: nobody listens any more, and every connection is closed by the kernel."""
    bed.over.set()
    dying.close()


@pytest.fixture(scope="module")
def here(fast_cloud: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("deaths")
    with told(folder, engine("http://127.0.0.1:9"), config=cloud_table(fast_cloud.url)) as running:
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Without a cloud."""
    with told(tmp_path_factory.mktemp("alone"), engine("http://127.0.0.1:9")) as running:
        yield running


@contextmanager
def crowded(
    here: Told, dying: ScriptedEngine, bed: Deathbed, *lines: str, stream: bool = True, many: int = MANY
) -> Iterator[Crowd]:
    """So many requests that the engine has."""
    # News, for those who may spill trust no engine of which nothing was heard for long.
    here.say(engine(dying.url))
    dying.script = bed
    with ThreadPoolExecutor(many) as pool:
        crowd = Crowd()

        def ask() -> None:
            crowd.add(heard(here.router.url, request(asked(stream=stream), *lines)))

        asking = [pool.submit(ask) for _ in range(many)]
        until(lambda: len(dying.asked) == many)
        yield crowd
        for each in asking:
            each.result()


class Crowd:
    """Answers, in the order in which they came, with the moment of the first."""

    def __init__(self) -> None:
        self.answers: list[Heard] = []
        self.first_at_s: float | None = None

    def add(self, answer: Heard) -> None:
        self.first_at_s = self.first_at_s or time.monotonic()
        self.answers.append(answer)


@pytest.mark.parametrize(
    "bed",
    [
        pytest.param(Deathbed, id="it says nothing"),
        pytest.param(lambda: Deathbed(STREAM_HEAD), id="it has sent its head"),
        pytest.param(lambda: Deathbed(STREAM_HEAD + framed(ROLE)), id="it has sent a role and no token"),
        pytest.param(lambda: Deathbed(last=DEAD), id="it says that it is dead"),
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "whole"])
def test_a_death_is_unseen_by_those_who_may_spill(here: Told, bed: Callable[[], Deathbed], stream: bool) -> None:
    with scripted_engine() as dying:
        held = bed()
        with crowded(here, dying, held, stream=stream) as crowd:
            dies(dying, held)
        assert [each.status for each in crowd.answers] == [200] * MANY
        assert {each.one("x-spillway-target") for each in crowd.answers} == {"cloud/stand-in"}


def test_the_first_spilled_token_comes_within_a_second_of_the_death(here: Told) -> None:
    with scripted_engine() as dying:
        held = Deathbed(STREAM_HEAD)
        with crowded(here, dying, held, many=1) as crowd:
            killed_at_s = time.monotonic()
            dies(dying, held)
        assert crowd.first_at_s is not None
        assert crowd.first_at_s - killed_at_s < 1.0


def test_those_who_may_not_spill_are_answered_by_its_successor(alone: Told) -> None:
    with scripted_engine() as dying:
        held = Deathbed()
        with crowded(alone, dying, held, BULK) as crowd:
            port = dying.port
            dies(dying, held)
            until(lambda: alone.waiting == MANY)
            with scripted_engine(port) as successor:
                until(lambda: len(crowd.answers) == MANY)
                assert len(successor.asked) == MANY
        assert [each.status for each in crowd.answers] == [200] * MANY


def test_the_successor_may_be_elsewhere_and_is_asked_as_soon_as_it_is_ready(alone: Told) -> None:
    with scripted_engine() as dying, scripted_engine() as successor:
        held = Deathbed()
        with crowded(alone, dying, held) as crowd:
            dies(dying, held)
            until(lambda: alone.waiting == MANY)
            alone.say(engine(dying.url, EngineState.FAILED, last_error="killed by signal KILL"))
            assert crowd.answers == []
            alone.say(engine(successor.url))
        assert [each.status for each in crowd.answers] == [200] * MANY
        assert {each.one("x-spillway-attempts") for each in crowd.answers} == {"2"}


def test_nobody_is_sent_to_a_stranger_that_takes_the_port_of_the_dead(alone: Told) -> None:
    with scripted_engine() as dying, scripted_engine() as successor:
        held = Deathbed()
        with crowded(alone, dying, held, many=1):
            port = dying.port
            dies(dying, held)
            until(lambda: alone.waiting == 1)
            with scripted_engine(port) as stranger, ThreadPoolExecutor(1) as pool:
                late = pool.submit(lambda: heard(alone.router.url, request(asked())))
                until(lambda: alone.waiting == 2)
                alone.say(engine(dying.url, EngineState.FAILED, last_error="killed by signal KILL"))
                alone.say(engine(successor.url))
                assert late.result().status == 200
                assert stranger.asked == []


def test_a_request_that_kills_every_engine_is_not_sent_for_ever(alone: Told) -> None:
    with scripted_engine() as cursed:
        alone.say(engine(cursed.url))
        cursed.script = Line.close
        answer = heard(alone.router.url, request(asked()))
        assert (answer.status, answer.code) == (503, "no_target")
        assert len(cursed.asked) == 2


@pytest.mark.parametrize("ending", [b"", framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"], ids=["nothing", "a clean end"])
def test_after_the_first_token_a_death_is_told_and_never_a_clean_end(here: Told, ending: bytes) -> None:
    with scripted_engine() as dying:
        held = Deathbed(STREAM_HEAD + framed(ROLE, HI), ending)
        with crowded(here, dying, held) as crowd:
            dies(dying, held)
        # Whose token the router had not seen yet is answered by somebody else.
        begun = [each for each in crowd.answers if each.one("x-spillway-target") != "cloud/stand-in"]
        assert begun
        assert {b'"error"' in each.body for each in begun} == {True}
        assert {b"[DONE]" in each.body for each in begun} == {False}
        assert {b'"error"' in each.body for each in crowd.answers if each not in begun} <= {False}
