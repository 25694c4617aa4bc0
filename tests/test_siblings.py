"""Workers of one router: what one has in flight and sees fail, all of them count."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.fleet import InFlight, Target
from router.siblings import Row, rest_of
from router.watch import LONGEST_REST_S, Flight, Usage, Watch
from tests.specimens import ENVIRONMENT, RULES, ask, snapshot

ASKED = ask(prompt_bytes=4000, max_tokens=100)


class Family:
    """Rows of all workers in one memory. Each worker gets a Member of it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], Row] = {}


class Member:
    """A worker's view of the family."""

    def __init__(self, family: Family, number: int) -> None:
        self._family = family
        self._number = number

    def publish(self, target: str, row: Row) -> None:
        self._family.rows[self._number, target] = row

    def others(self, target: str) -> Sequence[Row]:
        rows = self._family.rows.items()
        return [row for (number, name), row in rows if name == target and number != self._number]


def workers(count: int) -> list[Watch]:
    family = Family()
    watches = [Watch(RULES, Member(family, number), ENVIRONMENT) for number in range(count)]
    for watch in watches:
        watch.heard(snapshot(), 0.0)
    return watches


def engine_in(watch: Watch, now_s: float) -> Target:
    found = watch.view(now_s).named("local/smoke")
    assert found is not None
    return found


def take_off(watch: Watch, now_s: float) -> Flight:
    return watch.start(ASKED, engine_in(watch, now_s), now_s)


def fail(watch: Watch, now_s: float, retry_after_s: float | None = None) -> None:
    flight = take_off(watch, now_s)
    watch.finish(flight, None, now_s)
    watch.failed(flight, "connect", retry_after_s, now_s)


def succeed(watch: Watch, now_s: float) -> None:
    flight = take_off(watch, now_s)
    watch.first_token(flight, now_s)
    watch.finish(flight, None, now_s)


def test_what_a_sibling_has_in_flight_is_counted_here_too() -> None:
    here, there = workers(2)
    mine, theirs = take_off(here, 1.0), take_off(there, 2.0)
    assert engine_in(here, 4.0).in_flight == engine_in(there, 4.0).in_flight == InFlight(2, 2200, 2, 2000, 3.0)
    here.first_token(mine, 4.0)
    assert engine_in(there, 5.0).in_flight == InFlight(2, 2200, 1, 1000, 3.0)
    there.first_token(theirs, 5.0)
    there.finish(theirs, Usage(1000, 50), 6.0)
    assert engine_in(here, 6.0).in_flight == InFlight(1, 1100, 0, 0, 0.0)


def test_a_flight_queues_behind_those_of_the_siblings() -> None:
    here, there = workers(2)
    for _ in range(9):
        take_off(there, 1.0)
    flight = take_off(here, 1.0)
    assert flight.queued_tokens == 10_000
    assert flight.was_full


def test_a_failure_rests_the_target_everywhere() -> None:
    here, there = workers(2)
    fail(here, 10.0)
    assert [engine_in(watch, 10.9).resting for watch in (here, there)] == ["connect", "connect"]
    assert [engine_in(watch, 11.1).resting for watch in (here, there)] == [None, None]


def test_failures_in_a_row_are_counted_across_workers() -> None:
    here, there = workers(2)
    fail(here, 10.0)
    fail(there, 11.5)
    fail(here, 14.0)
    assert engine_in(there, 17.9).resting == "connect"
    assert engine_in(there, 18.1).resting is None


def test_requests_of_two_workers_that_fail_together_are_one_failure() -> None:
    here, there = workers(2)
    for watch in (here, there, here, there):
        fail(watch, 10.0)
    assert engine_in(here, 11.1).resting is None


@pytest.mark.parametrize("hero", [0, 1, 2], ids=["who failed", "who heard of it", "who failed too"])
def test_a_success_of_any_worker_ends_the_rest_in_all(hero: int) -> None:
    watches = workers(3)
    fail(watches[0], 10.0, retry_after_s=20.0)
    fail(watches[2], 11.0, retry_after_s=25.0)
    assert engine_in(watches[1], 12.0).resting == "connect"
    succeed(watches[hero], 13.0)
    assert [engine_in(watch, 14.0).resting for watch in watches] == [None, None, None]
    fail(watches[1], 20.0)
    assert engine_in(watches[0], 20.9).resting == "connect"
    assert engine_in(watches[0], 21.1).resting is None


def test_a_router_of_one_worker_and_one_of_two_decide_alike() -> None:
    alone = Watch(RULES, environment=ENVIRONMENT)
    alone.heard(snapshot(), 0.0)
    here, _ = workers(2)
    for watch in (alone, here):
        for step in range(6):
            fail(watch, step * 40.0)
    assert engine_in(alone, 220.0).resting == engine_in(here, 220.0).resting == "connect"
    assert engine_in(alone, 200.0 + LONGEST_REST_S).resting is engine_in(here, 200.0 + LONGEST_REST_S).resting is None


def test_nobody_rests_who_never_failed() -> None:
    assert rest_of([]) is None
    assert rest_of([Row(), Row(requests=3)]) is None


ROWS = st.builds(
    Row,
    failures=st.integers(0, 5),
    failed_at_s=st.integers(0, 20).map(float),
    rest_until_s=st.integers(0, 40).map(float),
    succeeded_at_s=st.integers(0, 20).map(float),
    cause=st.sampled_from(["connect", "503"]),
)


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_only_failures_after_every_success_count_and_the_longest_rest_wins(rows: list[Row]) -> None:
    last_success_s = max(row.succeeded_at_s for row in rows)
    ends_s = [row.rest_until_s for row in rows if row.failures and row.failed_at_s > last_success_s]
    rest = rest_of(rows)
    assert (rest and rest.until_s) == (max(ends_s) if ends_s else None)
    assert rest is None or rest.cause in {row.cause for row in rows if row.rest_until_s == rest.until_s}


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["start", "token", "finish"]), st.integers(0, 9)), max_size=40
    )
)
def test_all_workers_count_the_same(steps: list[tuple[int, str, int]]) -> None:
    watches, flying = workers(3), [list[Flight]() for _ in range(3)]
    for now_s, (number, kind, index) in enumerate(steps, start=1):
        watch, flights = watches[number], flying[number]
        if kind == "start" or not flights:
            flights.append(take_off(watch, float(now_s)))
        elif kind == "token":
            watch.first_token(flights[index % len(flights)], float(now_s))
        else:
            watch.finish(flights.pop(index % len(flights)), None, float(now_s))
        counted = [engine_in(each, float(now_s)).in_flight for each in watches]
        assert counted[0] == counted[1] == counted[2]
        assert counted[0].requests == sum(map(len, flying))
