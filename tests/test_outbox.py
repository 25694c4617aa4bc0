"""A request alone is sent at once; those of a crowd go out together, in their order, in the next turn of the loop."""

from __future__ import annotations

import asyncio

from router.outbox import MANY, Outbox


class Line(asyncio.Transport):
    """A transport that notes what was written, and by whom it was closed."""

    def __init__(self, name: str, written: list[str]) -> None:
        super().__init__()
        self._name, self._written, self._closing = name, written, False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written.append(f"{self._name}: {bytes(data).decode()}")

    def is_closing(self) -> bool:
        return self._closing

    def abort(self) -> None:
        self._closing = True


class Request:
    def stop(self) -> None:
        """Runs for ever."""


def crowded() -> Outbox:
    outbox = Outbox()
    outbox.running.update(Request() for _ in range(MANY))
    return outbox


async def test_few_are_sent_at_once() -> None:
    outbox, written = Outbox(), list[str]()
    outbox.running.update(Request() for _ in range(MANY - 1))
    outbox.send(Line("a", written), b"1")
    assert written == ["a: 1"]


async def test_many_are_sent_together_in_their_order() -> None:
    outbox, written = crowded(), list[str]()
    a, b = Line("a", written), Line("b", written)
    for line, data in ((a, b"1"), (b, b"2"), (a, b"3")):
        outbox.send(line, data)
    assert written == []
    await asyncio.sleep(0)
    assert written == ["a: 1", "b: 2", "a: 3"]


async def test_what_comes_when_the_crowd_is_gone_does_not_overtake() -> None:
    outbox, written = crowded(), list[str]()
    line = Line("a", written)
    outbox.send(line, b"1")
    outbox.running.clear()
    outbox.send(line, b"2")
    assert written == []
    outbox.flush()
    assert written == ["a: 1", "a: 2"]
    await asyncio.sleep(0)
    assert written == ["a: 1", "a: 2"]


async def test_nothing_is_written_to_who_has_left_meanwhile() -> None:
    outbox, written = crowded(), list[str]()
    gone, there = Line("gone", written), Line("there", written)
    outbox.send(gone, b"1")
    outbox.send(there, b"2")
    gone.abort()
    await asyncio.sleep(0)
    assert written == ["there: 2"]
