"""What workers show of themselves: whole, the last, and still there when the worker is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.shown import Shown, open_shown
from tests.routers import until

# Shows contents of many lengths without end, each one number repeated. Its first line says that it has begun.
SHOWER = """
import sys
from itertools import count
from router.shown import Shown

fd, number, workers = map(int, sys.argv[1:])
shown = Shown(fd, number, workers)
for n in count(1):
    shown.show(f"{n} ".encode() * (n * 7919 % 20_000 + 1))
    if n == 1:
        print("begun", flush=True)
"""


@pytest.fixture
def fd() -> Iterator[int]:
    opened = open_shown()
    yield opened
    os.close(opened)


def test_each_worker_reads_what_the_others_showed_last(fd: int) -> None:
    first, second, third = (Shown(fd, number, 3) for number in range(3))
    assert (list(first.others()), first.own()) == ([], b"")
    second.show(b"two, but longer")
    second.show(b"two")
    third.show(b"three")
    assert list(first.others()) == [b"two", b"three"]
    assert list(second.others()) == [b"three"]
    assert second.own() == b"two"


def test_a_successor_goes_on_from_what_the_dead_one_showed(fd: int) -> None:
    reader, dead = Shown(fd, 0, 2), Shown(fd, 1, 2)
    dead.show(b"41")
    dead.show(b"42")
    successor = Shown(fd, 1, 2)
    assert successor.own() == b"42"
    assert list(reader.others()) == [b"42"]
    successor.show(b"43")
    assert list(reader.others()) == [b"43"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=100)), max_size=20))
def test_whoever_shows_what_the_last_of_each_counts(history: list[tuple[int, bytes]]) -> None:
    fd = open_shown()
    try:
        seats = [Shown(fd, number, 3) for number in range(3)]
        last = [b"", b"", b""]
        for number, content in history:
            seats[number].show(content)
            last[number] = content
            for seat in range(3):
                assert seats[seat].own() == last[seat]
                assert list(seats[seat].others()) == [last[each] for each in range(3) if each != seat and last[each]]
    finally:
        os.close(fd)


def test_a_process_that_shows_all_the_time_is_read_whole_and_stays_readable_when_killed(fd: int) -> None:
    command = [sys.executable, "-c", SHOWER, str(fd), "1", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[fd]) as shower:
        assert shower.stdout
        assert shower.stdout.readline() == "begun\n"
        reader = Shown(fd, 0, 2)
        different: set[bytes] = set()

        def saw_enough() -> bool:
            (content,) = reader.others()
            numbers = content.split()
            assert len(set(numbers)) == 1
            assert len(numbers) == int(numbers[0]) * 7919 % 20_000 + 1
            different.add(numbers[0])
            return len(different) > 300

        until(saw_enough)
        shower.kill()
    assert [len(set(content.split())) for content in reader.others()] == [1]
