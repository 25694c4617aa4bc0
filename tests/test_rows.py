"""The rows that workers share: nobody sees a torn one, and what a dead worker published is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.health.breaker import Proof, Trouble
from router.health.opening import Opening
from router.rows import SLOTS, Rows, clear_rows, open_rows
from router.siblings import Row
from tests.routers import until

# Publishes rows whose fields all follow from one number, without end. Its first line says that it has begun.
HAMMER = """
import sys
from itertools import count
from router.health.breaker import Proof, Trouble
from router.health.opening import Opening
from router.rows import Rows
from router.siblings import Row

fd, number, workers = map(int, sys.argv[1:])
rows = Rows(fd, number, workers)
for n in count(1):
    for target in ("local/a", "local/b"):
        # Causes of many lengths, so that a row never lies where the last one lay.
        at_s, cause = float(n), f"{n} " * (n % 9)
        trouble = Trouble(5 * n, at_s, opening=Opening(n, cause, at_s, at_s + 1))
        rows.publish(target, Row(n, 2 * n, 3 * n, 4 * n, at_s, Proof(at_s, at_s), trouble))
    if n == 1:
        print("begun", flush=True)
"""
HELD = Row(requests=3, promised_tokens=700, unstarted=2, unstarted_tokens=90, oldest_sent_at_s=1.5)
FAILED = Trouble(1, 2.5, bad=1.0, counted_at_s=2.5)


@contextmanager
def shared(workers: int) -> Iterator[int]:
    fd = open_rows(workers)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def seated(fd: int, number: int, workers: int) -> Iterator[Rows]:
    rows = Rows(fd, number, workers)
    try:
        yield rows
    finally:
        rows.close()


@contextmanager
def hammering(fd: int, number: int, workers: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HAMMER, str(fd), str(number), str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[fd]) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def is_whole(row: Row) -> bool:
    n = row.requests
    opening = Opening(n, f"{n} " * (n % 9), float(n), float(n) + 1)
    proof, trouble = Proof(float(n), float(n)), Trouble(5 * n, float(n), opening=opening)
    return row == Row(n, 2 * n, 3 * n, 4 * n, float(n), proof, trouble)


def test_a_worker_sees_what_its_siblings_published_last_and_never_its_own() -> None:
    with shared(3) as fd, seated(fd, 0, 3) as first, seated(fd, 1, 3) as second, seated(fd, 2, 3) as third:
        assert list(first.others("local/a")) == []
        second.publish("local/a", HELD)
        third.publish("local/a", Row(requests=1))
        third.publish("local/a", Row(requests=2, trouble=FAILED))
        third.publish("local/b", Row(requests=9))
        assert list(first.others("local/a")) == [HELD, Row(requests=2, trouble=FAILED)]
        assert list(second.others("local/a")) == [Row(requests=2, trouble=FAILED)]
        assert list(third.others("local/a")) == [HELD]


def test_a_cleared_worker_has_nothing_in_flight_and_its_successor_begins_with_nothing() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader:
        with seated(fd, 1, 2) as dead:
            dead.publish("local/a", HELD)
            dead.publish("local/b", HELD)
            assert [list(reader.others(target)) for target in ("local/a", "local/b")] == [[HELD], [HELD]]
        clear_rows(fd, 1)
        assert [list(reader.others(target)) for target in ("local/a", "local/b")] == [[], []]
        with seated(fd, 1, 2) as successor:
            assert [list(reader.others(target)) for target in ("local/a", "local/b")] == [[], []]
            # It meets its targets in another order, so they lie elsewhere than before.
            successor.publish("local/b", Row(requests=6))
            assert [list(reader.others(target)) for target in ("local/b", "local/a")] == [[Row(requests=6)], []]


def test_a_successor_clears_what_nobody_cleared_before_it() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader:
        with seated(fd, 1, 2) as dead:
            dead.publish("local/a", HELD)
        with seated(fd, 1, 2):
            assert list(reader.others("local/a")) == []


def test_targets_that_come_and_go_take_the_slots_of_those_with_nothing_in_flight() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader, seated(fd, 1, 2) as writer:
        writer.publish("local/stays", HELD)
        for number in range(3 * SLOTS):
            writer.publish(f"local/{number}", Row(requests=number + 1))
            assert list(reader.others(f"local/{number}")) == [Row(requests=number + 1)]
            writer.publish(f"local/{number}", Row())
        assert list(reader.others("local/stays")) == [HELD]
        assert sum(row.requests for number in range(3 * SLOTS) for row in reader.others(f"local/{number}")) == 0


def test_a_slot_that_was_given_away_never_speaks_for_its_last_target() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader, seated(fd, 1, 2) as writer:
        for number in range(SLOTS):
            writer.publish(f"local/{number}", Row(trouble=FAILED))
        assert [len(reader.others(f"local/{number}")) for number in range(SLOTS)] == [1] * SLOTS
        writer.publish("local/new", HELD)
        left = [row for number in range(SLOTS) for row in reader.others(f"local/{number}")]
        assert left == [Row(trouble=FAILED)] * (SLOTS - 1)


def test_more_busy_targets_than_slots_are_told_once_and_harm_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader, seated(fd, 1, 2) as writer:
        for number in range(SLOTS + 2):
            writer.publish(f"local/{number}", Row(requests=1))
        seen = [len(reader.others(f"local/{number}")) for number in range(SLOTS + 2)]
        assert seen == [1] * SLOTS + [0, 0]
        assert capfd.readouterr().err.count(f"{SLOTS} targets are busy at once") == 1
        # As soon as one of them is idle there is room again.
        writer.publish("local/7", Row())
        writer.publish(f"local/{SLOTS}", HELD)
        assert list(reader.others(f"local/{SLOTS}")) == [HELD]


@pytest.mark.parametrize(
    "cause", ["", "connect", "x" * 10_000, "\N{WATER WAVE}" * 5_000], ids=["none", "a", "long", "wide"]
)
@pytest.mark.parametrize(
    "target", ["local/a", "cloud/" + "n" * 5_000, "local/\N{WATER WAVE}"], ids=["a", "long", "wide"]
)
def test_every_name_and_every_cause_can_be_published(target: str, cause: str) -> None:
    large = 2**53
    opening = Opening(large, cause, 1e300, 1e300, 1e300, 1e300)
    trouble = Trouble(large, 1e300, large, 1e300, 1e300, 1e300, 1e300, large, opening)
    row = Row(large, large, large, large, 1e300, Proof(1e300, 1e300), trouble)
    with shared(2) as fd, seated(fd, 0, 2) as reader, seated(fd, 1, 2) as writer:
        writer.publish(target, row)
        (seen,) = reader.others(target)
    assert seen.trouble is not None
    assert seen.trouble.opening is not None
    assert (seen.requests, seen.trouble.opening.until_s) == (large, 1e300)
    assert cause.startswith(seen.trouble.opening.cause)
    assert seen.trouble.opening.cause or not cause


WORKERS = 3
names = st.sampled_from(["local/a", "local/b", "cloud/c"])
rows_of_any_kind = st.builds(
    Row,
    requests=st.integers(0, 2**40),
    promised_tokens=st.integers(0, 2**60),
    oldest_sent_at_s=st.floats(allow_nan=False),
    trouble=st.none()
    | st.builds(
        Trouble,
        failed_at_s=st.floats(allow_nan=False),
        opening=st.none()
        | st.builds(Opening, st.integers(0, 9), st.text(max_size=20), st.floats(0, 9), st.floats(9, 19)),
    ),
)
published = st.tuples(st.integers(0, WORKERS - 1), names, rows_of_any_kind)
died = st.integers(0, WORKERS - 1)


@settings(max_examples=150, deadline=None)
@given(st.lists(published | died, max_size=30))
def test_whatever_is_published_and_whoever_dies_all_see_what_the_living_said_last(
    history: list[tuple[int, str, Row] | int],
) -> None:
    expected: list[dict[str, Row]] = [{} for _ in range(WORKERS)]
    with shared(WORKERS) as fd, ExitStack() as open_rows_of:
        seats = [open_rows_of.enter_context(seated(fd, number, WORKERS)) for number in range(WORKERS)]
        for step in history:
            if isinstance(step, int):
                expected[step] = {}
                seats[step] = open_rows_of.enter_context(seated(fd, step, WORKERS))
            else:
                number, target, row = step
                expected[number][target] = row
                seats[number].publish(target, row)
            for reader, seat in enumerate(seats):
                for target in ("local/a", "local/b", "cloud/c"):
                    said = [expected[each].get(target) for each in range(WORKERS) if each != reader]
                    assert list(seat.others(target)) == [row for row in said if row is not None]


@settings(max_examples=150, deadline=None)
@given(st.lists(published | died, max_size=30))
def test_who_looks_only_at_what_is_news_knows_all_that_was_said(history: list[tuple[int, str, Row] | int]) -> None:
    targets = ("local/a", "local/b", "cloud/c")
    with shared(WORKERS) as fd, ExitStack() as open_rows_of:
        reader, *seats = [open_rows_of.enter_context(seated(fd, number, WORKERS)) for number in range(WORKERS)]
        known: dict[str, list[Row]] = {}
        for step in history:
            if isinstance(step, int):
                if step:
                    seats[step - 1] = open_rows_of.enter_context(seated(fd, step, WORKERS))
            elif step[0]:
                seats[step[0] - 1].publish(*step[1:])
            news = reader.news()
            known |= {target: list(reader.others(target)) for target in (targets if news is None else news)}
            assert [known.get(target, []) for target in targets] == [list(reader.others(each)) for each in targets]


def test_only_what_was_published_since_is_news() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader, seated(fd, 1, 2) as writer:
        targets = ("local/a", "local/b", "cloud/c")
        for target in targets:
            writer.publish(target, Row(requests=1))
        assert reader.news() is None
        assert all(reader.others(target) for target in targets)
        assert reader.news() == set()
        writer.publish("local/b", Row(requests=2))
        writer.publish("cloud/c", Row(requests=2))
        assert reader.news() == {"local/b", "cloud/c"}
        assert reader.news() == set()
        writer.publish("local/new", Row(requests=1))
        assert reader.news() is None


def test_processes_that_publish_all_the_time_are_never_seen_torn_and_a_killed_one_is_reclaimed() -> None:
    workers = 3
    with (
        shared(workers) as fd,
        seated(fd, 0, workers) as reader,
        hammering(fd, 1, workers),
        hammering(fd, 2, workers) as killed,
    ):
        different: set[int] = set()

        def saw_enough() -> bool:
            for target in ("local/a", "local/b"):
                seen = reader.others(target)
                assert len(seen) == 2
                assert all(is_whole(row) for row in seen)
                different.update(row.requests for row in seen)
            return len(different) > 3_000

        # Only rows that change while they are looked at show anything.
        until(saw_enough)
        killed.kill()
        killed.wait()
        assert len(reader.others("local/a")) == 2
        clear_rows(fd, 2)
        assert len(reader.others("local/a")) == 1
        last = reader.others("local/a")[0].requests
        until(lambda: reader.others("local/a")[0].requests > last)


def test_killed_in_the_middle_of_anything_a_worker_leaves_a_whole_row() -> None:
    with shared(2) as fd, seated(fd, 0, 2) as reader:
        for _ in range(5):
            with hammering(fd, 1, 2) as killed:
                killed.kill()
                killed.wait()
                assert [is_whole(row) for row in reader.others("local/a")] == [True]
