"""The targets as they are seen: kept from one look to the next, and yet always what a look anew would find."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.snapshot import Snapshot
from router.quotas.room import Room
from router.routing.fleet import STALE_S, Fleet, Target
from router.routing.groups import serving
from router.watch import Flight, Usage, Watch
from tests.specimens import ENGINE, ENVIRONMENT, IDLE, MODEL, RULES, ask, snapshot

ENGINES = [replace(ENGINE, name=name, url=f"http://127.0.0.1:{port}") for port, name in enumerate("abc", 8000)]
STREAM = ask(stream=True, prompt_bytes=4000)


def heard() -> Snapshot:
    return snapshot(*ENGINES)


def watching() -> Watch:
    watch = Watch(RULES, environment=ENVIRONMENT)
    watch.heard(heard(), 0.0)
    return watch


def targets(watch: Watch, now_s: float) -> dict[str, Target]:
    return {target.name: target for target in watch.view(now_s).targets}


def test_a_target_that_nothing_happens_to_is_kept() -> None:
    watch = watching()
    before = targets(watch, 0.1)
    flight = watch.start(STREAM, before["local/b"], 0.2)
    after = targets(watch, 0.3)
    assert [name for name in before if after[name] is not before[name]] == ["local/b"]
    assert after["local/b"].in_flight.requests == 1
    watch.finish(flight, None, 0.4)
    assert targets(watch, 0.5)["local/b"].in_flight.requests == 0


def test_the_same_fleet_is_not_built_twice() -> None:
    watch = watching()
    assert watch.view(0.1).targets is watch.view(0.2).targets


def test_news_grow_old_though_nothing_happens() -> None:
    watch = watching()
    old_from_s = STALE_S - IDLE.age_s
    assert [targets(watch, at)["local/a"].stale for at in (0.1, old_from_s - 0.01, old_from_s + 0.01)] == [
        False,
        False,
        True,
    ]
    watch.heard(heard(), 5.0)
    assert not targets(watch, 5.1)["local/a"].stale


def test_who_failed_comes_back_with_time_alone() -> None:
    watch = watching()
    flight = watch.start(STREAM, targets(watch, 0.0)["local/a"], 0.0)
    watch.failed(flight, "connect", None, 0.1)
    watch.finish(flight, None, 0.1)
    assert targets(watch, 0.2)["local/a"].health.cause == "connect"
    assert any(targets(watch, at / 10)["local/a"].health.cause is None for at in range(3, 1000))


def test_who_failed_is_looked_at_again_only_when_its_time_has_come() -> None:
    watch = watching()
    flight = watch.start(STREAM, targets(watch, 0.0)["local/a"], 0.0)
    watch.failed(flight, "connect", None, 0.1)
    watch.finish(flight, None, 0.1)
    ill = targets(watch, 0.2)["local/a"]
    assert watch.view(0.3).targets is watch.view(0.9).targets
    other = watch.start(STREAM, targets(watch, 0.9)["local/b"], 0.9)
    assert targets(watch, 0.95)["local/a"] is ill
    watch.finish(other, None, 1.0)
    assert targets(watch, 1.2)["local/a"].health.cause is None


def test_room_is_what_the_limits_leave() -> None:
    watch, rooms = watching(), {"cloud/nano": Room(3.0, "requests per minute", 0.0)}
    watch.rooms = lambda: rooms
    assert targets(watch, 0.1)["cloud/nano"].room.ready_in_s == 3.0
    watch.rooms = dict
    assert targets(watch, 0.2)["cloud/nano"].room == Room()


def test_the_targets_of_a_model_are_found_without_a_search() -> None:
    watch = watching()
    watch.heard(
        snapshot(*ENGINES, replace(ENGINE, name="d", model="other"), models=(MODEL, replace(MODEL, name="other"))), 1.0
    )
    fleet = watch.view(1.1)
    assert fleet.where is not None
    for model in ("smoke", "other", "a", "nobody"):
        engines, clouds = serving(fleet, model)
        assert [*engines, *clouds] == [target for target in fleet.targets if model in target.models]
        looked_for = serving(Fleet(fleet.targets), model)
        assert ([*engines], [*clouds]) == looked_for


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "token", "finish", "fail", "hear"]), st.integers(0, 7)), max_size=30
)


def step(watch: Watch, flying: list[Flight], kind: str, number: int, now_s: float) -> None:
    if kind == "hear":
        watch.heard(heard(), now_s)
    elif kind == "start" or not flying:
        name = f"local/{'abc'[number % 3]}"
        flying.append(watch.start(STREAM, targets(watch, now_s)[name], now_s))
    elif kind == "token":
        flight = flying[number % len(flying)]
        if flight.first_token_at_s is None:
            watch.first_token(flight, now_s)
    else:
        flight = flying.pop(number % len(flying))
        if kind == "fail":
            watch.failed(flight, "503", None, now_s)
        watch.finish(flight, Usage(1000, 10), now_s)


@given(steps=STEPS, pause_s=st.sampled_from([0.01, 0.3, 1.0]))
def test_whoever_looked_before_sees_what_one_sees_who_looks_now(steps: list[tuple[str, int]], pause_s: float) -> None:
    often, once = watching(), watching()
    here, there = list[Flight](), list[Flight]()
    for number, (kind, which) in enumerate(steps):
        step(often, here, kind, which, number * pause_s)
        often.view(number * pause_s)
        step(once, there, kind, which, number * pause_s)
    at_s = len(steps) * pause_s
    assert often.view(at_s).targets == once.view(at_s).targets


@pytest.mark.parametrize("engines", [0, 1])
def test_whoever_left_is_not_seen(engines: int) -> None:
    watch = watching()
    watch.view(0.1)
    watch.heard(Snapshot(2, 1, tuple(ENGINES[:engines]), (), (), heard().host), 1.0)
    assert [name for name in targets(watch, 1.1) if name.startswith("local/")] == ["local/a"][:engines]
