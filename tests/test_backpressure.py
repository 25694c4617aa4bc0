"""Slow readers slow their own stream only, and cost the router no more memory than others."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from router.ids import new_id
from tests.callers import calling, heard, request
from tests.routers import asked, until
from tests.scripted import DONE, HI, LAST, STOP, STREAM_HEAD, WHOLE, Line, framed, polite
from tests.test_sse import ROLE, USAGE, chunk
from tests.wired import Wired, quiet, wired

# A burst of small events as one piece, and enough of them to fill every buffer on the way many times.
EVENTS = [chunk(content=f"word {number} ") for number in range(700)]
BURST = framed(*EVENTS)
BURSTS = 80 * 2**20 // len(BURST)
WHOLE_S = 120.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    # The engine runs in this process, which is at work itself: it has its time to say that it is there.
    limits = f"[limits]\nwhole_answer_s = {WHOLE_S}\nconnect_s = {WHOLE_S}\n"
    with wired(tmp_path_factory.mktemp("slow"), limits) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    return quiet(shared)


def memory_bytes(wire: Wired) -> int:
    with open(f"/proc/{wire.router.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Pouring:
    """A script that sends `bursts` bursts as fast as they are taken, and counts them."""

    def __init__(self, bursts: int) -> None:
        self.bursts = bursts
        self.sent = 0
        self.stuck = threading.Event()

    def __call__(self, line: Line) -> None:
        line.socket.settimeout(1.0)
        line.send(STREAM_HEAD + framed(ROLE, HI))
        for _ in range(self.bursts):
            rest = memoryview(BURST)
            while rest:
                try:
                    rest = rest[line.socket.send(rest) :]
                except TimeoutError:
                    self.stuck.set()
            self.sent += 1
        line.send(framed(STOP, USAGE, DONE) + LAST)
        line.socket.settimeout(60.0)


def test_a_reader_that_stands_still_stops_its_own_stream_only(wire: Wired) -> None:
    pouring = Pouring(BURSTS)
    wire.engine.script = pouring
    with calling(wire.url, receive_bytes=4096) as slow:
        slow.send(request(asked(stream=True)) + request())
        answer = slow.begun()
        assert answer.status == 200
        before_bytes = memory_bytes(wire)
        assert pouring.stuck.wait(60), "the engine was never held up"
        # What fits into the buffers of the kernel was taken from it, and no more.
        assert pouring.sent * len(BURST) < 20 * 2**20
        wire.engine.script = polite
        with ThreadPoolExecutor(4) as others:
            bodies = list(others.map(lambda _: heard(wire.url, request(asked(stream=True))).body, range(40)))
        assert bodies == [ROLE + HI + STOP + DONE] * 40
        assert memory_bytes(wire) - before_bytes < 20 * 2**20
        size = sum(map(len, slow.pieces()))
        assert size == len(ROLE + HI + STOP + DONE) + BURSTS * sum(map(len, EVENTS))
        assert memory_bytes(wire) - before_bytes < 20 * 2**20
        # The next request on the same connection is the one that waited, and the engine's is good for it.
        next_one = slow.heard()
        assert next_one.body == WHOLE, next_one.body
    assert wire.engine.last_line.asked
    assert pouring.sent == BURSTS


def test_a_reader_that_stands_still_and_leaves_frees_the_engine(wire: Wired) -> None:
    pouring = Pouring(BURSTS)
    wire.engine.script = pouring
    name = new_id()
    with calling(wire.url, receive_bytes=4096) as slow:
        slow.send(request(asked(stream=True), f"x-request-id: {name}"))
        assert pouring.stuck.wait(60), "the engine was never held up"
    until(wire.engine.last_line.is_closed)
    until(lambda: wire.row(name) is not None)
    row = wire.row(name)
    assert row is not None
    assert row["status"] == 499


def test_many_slow_readers_cost_little_each(wire: Wired) -> None:
    wire.engine.script = Pouring(100)
    before_bytes = memory_bytes(wire)
    with ExitStack() as stack:
        callers = [stack.enter_context(calling(wire.url, receive_bytes=4096)) for _ in range(30)]
        for caller in callers:
            caller.send(request(asked(stream=True)))
        assert [caller.begun().status for caller in callers] == [200] * 30
        assert wire.in_flight == 30
        assert memory_bytes(wire) - before_bytes < 30 * 2**20
    until(lambda: wire.in_flight == 0)
