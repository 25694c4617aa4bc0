"""A client that leaves, at whatever moment, frees its engine within a tenth of a second, and is settled as gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.ids import new_id
from tests.callers import Caller, calling, head, heard, request
from tests.routers import asked, until
from tests.scripted import HI, STREAM_HEAD, WHOLE, Line, answered, framed, polite
from tests.test_sse import ROLE
from tests.wired import Wired, quiet, wired

SOON_S = 0.1
TRIES = 5


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("leaving")) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    return quiet(shared)


def is_gone(wire: Wired, name: str) -> bool:
    row = wire.row(name)
    return row is not None and row["status"] == 499


def said_then_silent(data: bytes) -> Callable[[Line], None]:
    def script(line: Line) -> None:
        line.send(data)
        line.until_closed()

    return script


def time_to_hang_up_s(wire: Wired, stream: bool, begins: bool, how: Callable[[Caller], None]) -> float:
    name, before = new_id(), len(wire.engine.asked)
    with calling(wire.url) as caller:
        caller.send(request(asked(stream=stream), f"x-request-id: {name}"))
        if begins:
            assert caller.begun().status == 200
        until(lambda: len(wire.engine.asked) > before)
        line = wire.engine.last_line
        line.until_read()
        left_at_s = time.monotonic()
        how(caller)
    until(line.is_closed)
    until(lambda: is_gone(wire, name))
    assert line.closed_at_s is not None
    return line.closed_at_s - left_at_s


MOMENTS = {
    "before the first token": (True, b""),
    "after the role": (True, STREAM_HEAD + framed(ROLE)),
    "in the middle of a stream": (True, STREAM_HEAD + framed(ROLE, HI)),
    "before a whole answer": (False, b""),
    "in the middle of a whole answer": (False, answered()[:-3]),
}


@pytest.mark.parametrize("how", [Caller.leave, Caller.reset], ids=["closes", "resets"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_that_leaves_frees_the_engine_at_once(wire: Wired, moment: str, how: Callable[[Caller], None]) -> None:
    stream, said = MOMENTS[moment]
    wire.engine.script = said_then_silent(said)
    times_s = [time_to_hang_up_s(wire, stream, "stream" in moment, how) for _ in range(TRIES)]
    # The machine may be busy with other things now and then, but not each time.
    assert min(times_s) < SOON_S
    assert wire.in_flight == 0
    assert wire.resting is None


def test_a_client_that_leaves_while_the_engine_is_being_called_leaves_nothing_behind(tmp_path: Path) -> None:
    name = new_id()
    with wired(tmp_path, "[limits]\nconnect_s = 20.0\n") as wire, wire.engine.deaf():
        with calling(wire.url) as caller:
            caller.send(request(None, f"x-request-id: {name}"))
            until(lambda: wire.in_flight == 1)
        until(lambda: wire.in_flight == 0)
        until(lambda: is_gone(wire, name))


def test_clients_that_leave_at_any_moment_leave_nothing_behind(wire: Wired) -> None:
    def a_token_at_any_moment(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        line.until_closed()

    wire.engine.script = a_token_at_any_moment
    names = [new_id() for _ in range(200)]
    for number, name in enumerate(names):
        before = len(wire.engine.asked)
        with calling(wire.url) as caller:
            caller.send(request(asked(stream=True), f"x-request-id: {name}"))
            # As the answer comes, a little earlier and a little later.
            if number % 4:
                while len(wire.engine.asked) == before:
                    pass
            for _ in range(number * 20):
                pass
            caller.reset()
    until(lambda: wire.in_flight == 0)
    until(
        lambda: all(line.is_closed() for line in wire.engine.lines if line.asked and line is not wire.engine.last_line)
    )
    rows = [wire.row(name) for name in names]
    assert {row["status"] for row in rows if row is not None} == {499}
    # Those that were gone before the router had read them are known to nobody.
    assert sum(row is not None for row in rows) >= 150
    wire.engine.script = polite
    assert heard(wire.url, request()).body == WHOLE


@pytest.mark.parametrize("data", [head("content-length: 100"), request()[:-1], head()[:-3]])
def test_a_client_that_leaves_before_it_has_asked_is_nobody(wire: Wired, data: bytes) -> None:
    before = len(wire.engine.asked)
    for how in (Caller.leave, Caller.reset):
        with calling(wire.url) as caller:
            caller.send(data)
            how(caller)
    assert heard(wire.url, request()).body == WHOLE
    assert len(wire.engine.asked) == before + 1


def test_a_client_that_leaves_with_more_requests_in_the_queue_asks_none_of_them(wire: Wired) -> None:
    wire.engine.script = said_then_silent(STREAM_HEAD + framed(ROLE, HI))
    names = [new_id() for _ in range(3)]
    before = len(wire.engine.asked)
    with calling(wire.url) as caller:
        caller.send(b"".join([request(asked(stream=True), f"x-request-id: {name}") for name in names]))
        assert caller.begun().status == 200
        wire.engine.last_line.send(framed(HI) * 1000)
        caller.reset()
        # Nothing is read from who has asked for more than he was answered: only writing tells that he is gone.
        wire.engine.last_line.send(framed(HI))
        until(lambda: wire.in_flight == 0)
    until(lambda: is_gone(wire, names[0]))
    assert len(wire.engine.asked) == before + 1
