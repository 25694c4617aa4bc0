"""Workers of one router: what one has in flight and sees fail, all of them count."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health.breaker import LONGEST_OPEN_S
from router.health.verdict import WELL, Verdict
from router.routing.fleet import InFlight, Target
from router.siblings import Row
from router.watch import Flight, Usage, Watch
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

    def news(self) -> Collection[str] | None:
        return None


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
    assert engine_in(here, 4.0).in_flight == engine_in(there, 4.0).in_flight == InFlight(2, 2200, 2, 2000, 1.0)
    here.first_token(mine, 4.0)
    assert engine_in(there, 5.0).in_flight == InFlight(2, 2200, 1, 1000, 2.0)
    there.first_token(theirs, 5.0)
    there.finish(theirs, Usage(1000, 50), 6.0)
    assert engine_in(here, 6.0).in_flight == InFlight(1, 1100)


def test_a_flight_queues_behind_those_of_the_siblings() -> None:
    here, there = workers(2)
    for _ in range(9):
        take_off(there, 1.0)
    flight = take_off(here, 1.0)
    assert flight.queued_tokens == 10_000
    assert flight.was_full


def cause_in(watch: Watch, now_s: float) -> str | None:
    return engine_in(watch, now_s).health.cause


def test_an_engine_that_died_is_passed_over_everywhere() -> None:
    here, there = workers(2)
    fail(here, 10.0)
    assert [cause_in(watch, 10.9) for watch in (here, there)] == ["connect", "connect"]
    assert [cause_in(watch, 11.1) for watch in (here, there)] == [None, None]


def test_deaths_in_a_row_are_counted_across_workers() -> None:
    here, there = workers(2)
    fail(here, 10.0)
    fail(there, 11.5)
    fail(here, 14.0)
    assert cause_in(there, 17.9) == "connect"
    assert cause_in(there, 18.1) is None


def test_requests_of_two_workers_that_fail_together_are_one_failure() -> None:
    here, there = workers(2)
    flights = [(watch, take_off(watch, 9.0)) for watch in (here, there, here, there)]
    for watch, flight in flights:
        watch.finish(flight, None, 10.0)
        watch.failed(flight, "connect", None, 10.0)
    assert cause_in(here, 11.1) is None


@pytest.mark.parametrize("hero", [0, 1, 2], ids=["who failed", "who heard of it", "who failed too"])
def test_a_success_of_any_worker_ends_it_in_all(hero: int) -> None:
    watches = workers(3)
    fail(watches[0], 10.0, retry_after_s=20.0)
    fail(watches[2], 11.0, retry_after_s=25.0)
    assert cause_in(watches[1], 12.0) == "connect"
    succeed(watches[hero], 13.0)
    assert [cause_in(watch, 14.0) for watch in watches] == [None, None, None]
    fail(watches[1], 20.0)
    assert cause_in(watches[0], 20.9) == "connect"
    assert cause_in(watches[0], 21.1) is None


def cloud_in(watch: Watch, now_s: float) -> Target:
    found = watch.view(now_s).named("cloud/nano")
    assert found is not None
    return found


def ask_cloud(watch: Watch, now_s: float) -> Flight:
    return watch.start(ASKED, cloud_in(watch, now_s), now_s)


def err(watch: Watch, now_s: float) -> None:
    flight = ask_cloud(watch, now_s)
    watch.finish(flight, None, now_s)
    watch.failed(flight, "500", None, now_s)


def test_five_failures_in_a_row_open_the_breaker_whichever_workers_saw_them() -> None:
    watches = workers(3)
    for number in range(4):
        err(watches[number % 3], 10.0 + number / 10)
    assert [cloud_in(watch, 10.5).health for watch in watches] == [WELL] * 3
    err(watches[1], 10.5)
    assert [cloud_in(watch, 10.6).health for watch in watches] == [Verdict("500", 0.0)] * 3


def test_one_probe_is_sent_by_all_workers_together_and_its_success_is_a_return_for_all() -> None:
    watches = workers(3)
    for _ in range(5):
        err(watches[0], 10.0)
    assert [cloud_in(watch, 11.5).health.probes for watch in watches] == [1, 1, 1]
    flight = ask_cloud(watches[2], 11.5)
    assert [cloud_in(watch, 11.6).health.probes for watch in watches] == [0, 0, 0]
    watches[2].first_token(flight, 12.0)
    seen = [cloud_in(watch, 12.5).health for watch in watches]
    assert seen == [seen[0]] * 3
    assert (seen[0].cause, seen[0].was, 0.1 < seen[0].share < 1) == (None, "500", True)
    assert [cloud_in(watch, 13.1).health for watch in watches] == [WELL] * 3


def test_a_router_of_one_worker_and_one_of_two_decide_alike() -> None:
    alone = Watch(RULES)
    alone.heard(snapshot(), 0.0)
    here, _ = workers(2)
    for watch in (alone, here):
        for step in range(6):
            fail(watch, step * 40.0)
    assert cause_in(alone, 210.0) == cause_in(here, 210.0) == "connect"
    assert cause_in(alone, 200.0 + LONGEST_OPEN_S) is cause_in(here, 200.0 + LONGEST_OPEN_S) is None


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
