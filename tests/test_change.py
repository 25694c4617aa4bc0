"""From what runs to what is wanted: exactly the engines concerned, and never more than the memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.life.change import SHARE_SLACK, changes, devices_of, due, is_same
from engines.plan import EnginePlan, Sum
from tests.supervised import engine_plan

CARD_BYTES = 100
NAMES = ("a", "b", "c", "d")
GPUS = ("GPU-1", "GPU-2")


ONE = engine_plan("one", gpu_uuids=GPUS[:1])


def planned(name: str, size_bytes: int = 10, gpus: tuple[str, ...] = GPUS[:1], revision: str = "1") -> EnginePlan:
    size = Sum(weights_bytes=size_bytes)
    plan = replace(ONE, name=name, model=name, gpu_uuids=gpus, device=",".join(gpus), revision=revision, sum=size)
    return replace(plan, gpu_memory_utilization=size_bytes / CARD_BYTES)


@st.composite
def stacks(draw: st.DrawFn) -> tuple[EnginePlan, ...]:
    """Engines that fit their cards together, as a plan's do. Sizes differ by more than the slack."""
    left = dict.fromkeys(GPUS, CARD_BYTES)
    found = []
    for name in draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]:
        gpus = draw(st.sampled_from([GPUS[:1], GPUS[1:], GPUS]))
        size_bytes = 5 * draw(st.integers(1, max(1, min(left[gpu] for gpu in gpus) // 5 - len(NAMES))))
        left |= {gpu: left[gpu] - size_bytes for gpu in gpus}
        found.append(planned(name, size_bytes, gpus, draw(st.sampled_from("12"))))
    return tuple(found)


@given(stacks(), stacks())
def test_every_wanted_engine_is_kept_or_started_or_replaced_and_every_other_ends(
    running: tuple[EnginePlan, ...], wanted: tuple[EnginePlan, ...]
) -> None:
    found = changes(running, wanted)
    assert sorted((*found.keep, *found.start, *found.replace)) == sorted(each.name for each in wanted)
    assert sorted((*found.keep, *found.stop, *found.replace)) == sorted(each.name for each in running)


@given(stacks(), stacks())
def test_an_engine_that_is_what_is_wanted_is_left_alone(
    running: tuple[EnginePlan, ...], wanted: tuple[EnginePlan, ...]
) -> None:
    found = changes(running, (*wanted, *(each for each in running if each.name not in {one.name for one in wanted})))
    untouched = {each.name for each in running if each.name not in {one.name for one in wanted} or each in wanted}
    assert untouched <= set(found.keep)


@given(stacks(), stacks(), st.data())
def test_the_order_of_the_tables_does_not_matter(
    running: tuple[EnginePlan, ...], wanted: tuple[EnginePlan, ...], data: st.DataObject
) -> None:
    one = changes(running, wanted)
    other = changes(data.draw(st.permutations(running)), data.draw(st.permutations(wanted)))
    assert [set(each) for each in (one.keep, one.start, one.stop, one.replace)] == [
        set(each) for each in (other.keep, other.start, other.stop, other.replace)
    ]


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        pytest.param({"sum": Sum(kv_bytes=5), "port": 7}, True, id="the arithmetic and the port"),
        pytest.param({"drain_s": 1.0, "keep": False, "min_residence_s": 0.0}, True, id="what is not the engine's"),
        pytest.param({"gpu_memory_utilization": 0.9, "max_num_queued_reqs": 9}, True, id="a neighbour has left"),
        pytest.param({"gpu_memory_utilization": 0.5 - SHARE_SLACK / 2}, True, id="a measured term"),
        pytest.param({"gpu_memory_utilization": 0.4}, False, id="room for a neighbour"),
        pytest.param({"max_num_queued_reqs": 9, "gpu_memory_utilization": 0.4}, False, id="less of both"),
        pytest.param({"revision": "2" * 40}, False, id="other weights"),
        pytest.param({"extra_args": ("--seed", "1")}, False, id="another flag"),
        pytest.param({"may_sleep": True}, False, id="started so that it can sleep"),
        pytest.param({"gpu_uuids": ("GPU-2",), "device": "GPU-2"}, False, id="another card"),
    ],
)
def test_only_what_was_asked_for_differently_is_another_engine(changed: dict[str, Any], same: bool) -> None:
    one = planned("a", size_bytes=50)
    assert is_same(one, replace(one, **changed)) is same


class Machine:
    """Two cards and what runs on them, one thing after the other: `due` decides, nothing may ever be over-full."""

    def __init__(self, running: Sequence[EnginePlan]) -> None:
        self.serving = {each.name: each for each in running}
        self.starting: dict[str, EnginePlan] = {}
        self.draining: list[EnginePlan] = []
        self.touched: set[str] = set()

    def free_bytes(self) -> dict[str, int]:
        there = (*self.serving.values(), *self.starting.values(), *self.draining)
        return {gpu: CARD_BYTES - sum(each.sum.total_bytes for each in there if gpu in each.gpu_uuids) for gpu in GPUS}

    def settle(self, wanted: Sequence[EnginePlan]) -> None:
        """Until it is as wanted. Fails when a plan that fits does not come to be within a few rounds."""
        for _ in range(6 * len(NAMES)):
            found = changes(list(self.serving.values()), wanted)
            if len(found.keep) == len(wanted) == len(self.serving) and not self.draining and not self.starting:
                return
            self._round(wanted, found.start, found.stop, found.replace)
        raise AssertionError("it never settles")

    def _round(
        self, wanted: Sequence[EnginePlan], start: Sequence[str], stop: Sequence[str], replaced: Sequence[str]
    ) -> None:
        by_name = {each.name: each for each in wanted}
        for name in stop:
            self._drain(name)
        on_the_way = (*self.starting.values(), *self.draining)
        leaving = [each for name, each in self.serving.items() if name in self.starting]
        moving = frozenset(device for each in (*on_the_way, *leaving) for device in devices_of(each))
        waiting = [(self.serving[name], by_name[name]) for name in replaced if name not in self.starting]
        fresh = [by_name[name] for name in start if name not in self.starting]
        found = due(waiting, fresh, self.free_bytes(), moving)
        self.starting |= {name: by_name[name] for name in found.start}
        for name in found.drain:
            self._drain(name)
        assert min(self.free_bytes().values()) >= 0, self.free_bytes()
        self._time_passes()

    def _drain(self, name: str) -> None:
        self.touched.add(name)
        self.draining.append(self.serving.pop(name))

    def _time_passes(self) -> None:
        """One thing at a time comes to its end, so that every state in between is met."""
        if self.draining:
            self.draining.pop(0)
        elif self.starting:
            name = next(iter(self.starting))
            if name in self.serving:
                self._drain(name)
            self.serving[name] = self.starting.pop(name)


@given(stacks(), stacks())
def test_every_change_comes_to_its_end_without_ever_filling_a_card_too_full(
    running: tuple[EnginePlan, ...], wanted: tuple[EnginePlan, ...]
) -> None:
    machine = Machine(running)
    machine.settle(wanted)
    assert all(is_same(machine.serving[each.name], each) for each in wanted)
    assert machine.touched.isdisjoint(changes(running, wanted).keep)


OLD = planned("a", 40, revision="0")


def test_where_memory_allows_the_new_one_starts_beside_the_old() -> None:
    found = due([(OLD, planned("a", 40))], [], {"GPU-1": 60}, frozenset())
    assert (found.start, found.drain) == (("a",), ())


def test_where_it_does_not_the_old_one_is_drained_first() -> None:
    found = due([(OLD, planned("a", 70))], [], {"GPU-1": 60}, frozenset())
    assert (found.start, found.drain) == ((), ("a",))


def test_free_memory_that_nobody_tells_is_not_taken_for_granted() -> None:
    found = due([(OLD, planned("a", 1))], [], {}, frozenset())
    assert (found.start, found.drain) == ((), ("a",))


def test_two_replacements_take_turns_where_only_one_fits_beside_the_old() -> None:
    found = due([(OLD, planned("a", 40)), (OLD, planned("b", 40))], [], {"GPU-1": 60}, frozenset())
    assert (found.start, found.drain) == (("a",), ())


def test_one_that_does_not_fit_yet_waits_for_what_moves() -> None:
    found = due([(OLD, planned("a", 70))], [planned("b", 70)], {"GPU-1": 60}, frozenset({"GPU-1"}))
    assert (found.start, found.drain) == ((), ())


def test_one_that_nothing_makes_room_for_tries_all_the_same_and_says_why() -> None:
    assert due([], [planned("b", 70)], {"GPU-1": 60}, frozenset()).start == ("b",)
