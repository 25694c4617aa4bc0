"""The crew over engines that do as the test says: who runs, who comes, who leaves, and under which name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from engines.life.note import Note
from engines.plan import EnginePlan
from engines.processes.record import ProcessId, Record
from engines.snapshot import EngineState
from tests.scripted_engines import Ship, planned

S = EngineState


@pytest.fixture
async def ship() -> Ship:
    return Ship()


async def test_an_engine_of_a_changed_plan_comes_beside_the_old_one_and_takes_its_name_when_it_serves(
    ship: Ship,
) -> None:
    (old,) = ship.serve(planned())
    ship.want(planned(revision="2"))
    assert ship.names() == {"one": S.READY, "one~2": S.LAUNCHING}
    assert ship.crew.busy == "starting another one"
    ship.made[1].state = S.READY
    ship.tick()
    assert ship.names() == {"one": S.READY, "one~old": S.DRAINING}
    assert [view.url for view in ship.crew.views()] == ["http://one~2", "http://one"]
    await ship.ends(old)
    assert (ship.names(), ship.crew.busy) == ({"one": S.READY}, "")


async def test_the_instance_of_an_engine_that_is_gone_is_free_again(ship: Ship) -> None:
    (old,) = ship.serve(planned())
    (second,) = ship.serve(planned(revision="2"))
    await ship.ends(old)
    ship.want(planned(revision="3"))
    assert [each.instance for each in ship.made] == ["one", "one~2", "one"]
    ship.made[2].state = S.READY
    ship.tick()
    assert second.told == ["stop"]


async def test_one_that_does_not_fit_beside_the_old_one_starts_once_that_is_gone(ship: Ship) -> None:
    (old,) = ship.serve(planned(size_bytes=60))
    ship.want(planned(size_bytes=60, revision="2"))
    assert (old.told, len(ship.made)) == (["stop"], 1)
    ship.tick()
    assert ship.names() == {"one": S.PLANNED, "one~old": S.DRAINING}
    await ship.ends(old)
    assert ship.names() == {"one": S.LAUNCHING}


async def test_engines_that_did_not_change_hear_nothing_of_a_change(ship: Ship) -> None:
    one, two, three = ship.serve(planned("one", 30), planned("two", 30), planned("three", 30))
    ship.want(planned("four", 5), replace(planned("two", 30), port=1), planned("one", 30))
    ship.tick()
    assert (one.told, two.told, three.told) == ([], [], ["stop"])
    assert ship.names() == {"four": S.LAUNCHING, "two": S.READY, "one": S.READY, "three": S.DRAINING}


async def test_a_replacement_that_does_not_start_leaves_the_old_engine_serving(ship: Ship) -> None:
    (old,) = ship.serve(planned())
    ship.want(planned(revision="2"))
    ship.made[1].fail(2)
    ship.tick()
    assert ship.crew.refused == ""
    ship.made[1].fail(3)
    ship.tick()
    assert (old.told, ship.made[1].told) == ([], ["stop"])
    assert ship.crew.refused.startswith("engine one does not start as it is wanted now")
    assert ship.crew.refused.endswith("no such flag")
    await ship.ends(ship.made[1])
    assert (ship.names(), len(ship.made)) == ({"one": S.READY}, 2)


async def test_one_whose_old_engine_had_to_go_first_gives_way_to_it_again(ship: Ship) -> None:
    (old,) = ship.serve(planned(size_bytes=60))
    ship.want(planned(size_bytes=60, revision="2"))
    await ship.ends(old)
    ship.made[1].fail(3)
    ship.tick()
    ship.tick()
    await ship.ends(ship.made[1])
    assert ship.made[2].plan == planned(size_bytes=60)
    assert "the one from before goes on" in ship.crew.refused


async def test_what_was_rejected_is_tried_again_when_it_is_asked_for_again(ship: Ship) -> None:
    ship.serve(planned())
    ship.want(planned(revision="2"))
    ship.made[1].fail(3)
    ship.tick()
    await ship.ends(ship.made[1])
    ship.want(planned(revision="2"))
    assert len(ship.made) == 2
    ship.want(planned(revision="2"), again=True)
    assert (len(ship.made), ship.crew.refused) == (3, "")


async def test_an_engine_that_never_served_is_not_given_up_for_nothing(ship: Ship) -> None:
    ship.want(planned())
    ship.made[0].fail(5)
    ship.tick()
    assert (ship.made[0].told, ship.crew.refused) == ([], "")


async def test_a_change_taken_back_ends_only_what_it_began(ship: Ship) -> None:
    (old,) = ship.serve(planned())
    ship.want(planned(revision="2"))
    ship.want(planned())
    assert (old.told, ship.made[1].told) == ([], ["stop"])


async def test_a_fault_in_one_engines_task_is_told_and_only_that_engine_begins_anew(ship: Ship) -> None:
    one, two = ship.serve(planned("one", 30), planned("two", 30))
    record = Record("one", ProcessId(1, 1), None, None)
    ship.records["one"] = record
    one.end.set_exception(RuntimeError("a slip"))
    await ship.settle()
    assert "RuntimeError: a slip" in ship.said[0]
    assert "Traceback" in ship.said[0]
    assert ship.names() == {"one": S.FAILED, "two": S.READY}
    assert "a slip" in (ship.crew.views()[0].last_error or "")
    await asyncio.wait_for(until(lambda: len(ship.made) == 3), 10)
    assert (ship.made[2].plan, ship.made[2].found, two.told) == (one.plan, record, [])


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


def record_of(plan: EnginePlan, instance: str, because: str = "") -> Record:
    return Record(instance, ProcessId(1, 1), None, None, note=Note(instance, 1, "", plan, because).to_json())


async def test_engines_of_an_earlier_supervisor_are_taken_over_under_their_names(ship: Ship) -> None:
    stranger = Record("thing", ProcessId(1, 1), None, None, note="what is this")
    found = (record_of(planned("one", 30), "one~2"), stranger)
    assert ship.crew.adopt(found, [planned("one", 30)]) == (stranger,)
    ship.want(planned("one", 30), planned("two", 30))
    assert [(each.instance, each.found is not None) for each in ship.made] == [("one~2", True), ("two", False)]
    ship.made[0].state = S.READY
    ship.tick()
    assert (ship.made[0].told, set(ship.names())) == ([], {"one", "two"})


async def test_a_replacement_under_way_when_the_supervisor_died_goes_on(ship: Ship) -> None:
    new, old = record_of(planned(revision="2"), "one~2"), record_of(planned(), "one")
    ship.crew.adopt((old, new), [planned(revision="2")])
    ship.want(planned(revision="2"))
    ship.made[0].state = S.READY
    ship.tick()
    assert ship.names() == {"one": S.READY, "one~2": S.LAUNCHING}
    ship.made[1].state = S.READY
    ship.tick()
    assert (ship.made[0].told, ship.made[1].told) == (["stop"], [])


async def test_what_an_earlier_supervisor_left_and_nobody_wants_is_drained(ship: Ship) -> None:
    ship.crew.adopt((record_of(planned("gone"), "gone"),), [])
    ship.want()
    assert (ship.made[0].told, ship.names()) == ([], {"gone": S.LAUNCHING})
    ship.made[0].state = S.READY
    ship.tick()
    assert (ship.made[0].told, ship.names()) == (["stop"], {"gone": S.DRAINING})


async def test_one_that_was_lowered_to_start_at_all_is_what_is_wanted(ship: Ship) -> None:
    wanted = planned()
    lowered = replace(wanted, shape=replace(wanted.shape, context_tokens=64))
    ship.crew.adopt((record_of(lowered, "one", because="out of memory"),), [wanted])
    ship.want(wanted)
    ship.made[0].state = S.READY
    ship.tick()
    assert (ship.made[0].plan, len(ship.made), ship.made[0].told) == (wanted, 1, [])


async def test_a_gpu_in_quarantine_ends_what_runs_there_and_nothing_else(ship: Ship) -> None:
    elsewhere = replace(planned("two"), gpu_uuids=("GPU-2",), device="GPU-2")
    one, two = ship.serve(planned("one"), elsewhere)
    for _ in range(2):
        ship.crew.quarantine({"GPU-1": "is lost"})
    assert (one.told, two.told) == (["GPU GPU-1 is lost"], [])
    ship.crew.quarantine({})
    assert one.told[1:] == ["mend"]


async def test_models_that_do_not_fit_at_once_take_turns(ship: Ship) -> None:
    first = planned("one", 60, keep=False)
    other = planned("two", 60, keep=False, is_alternate=True)
    ship.want(first, other)
    assert [each.state for each in ship.made] == [S.LAUNCHING, S.SLEEPING]
    one, two = ship.made
    one.state = S.READY
    ship.tick()
    assert (one.told, two.told) == ([], [])
    ship.tick(two=1)
    assert (one.told, two.told) == (["rest"], [])
    one.state = S.SLEEPING
    ship.tick()
    assert two.told == ["wake"]


async def test_a_model_that_need_not_sleep_any_more_wakes(ship: Ship) -> None:
    other = planned("two", 40, keep=False, is_alternate=True)
    ship.want(planned("one", 60, keep=False), other)
    ship.made[0].state = S.READY
    ship.want(planned("one", 60, keep=False), planned("two", 40))
    assert ship.made[1].told == ["wake"]


async def test_everybody_leaves_in_the_end(ship: Ship) -> None:
    one, two = ship.serve(planned("one", 30), planned("two", 30))
    ship.crew.dismiss()
    assert (one.told, two.told, set(ship.names())) == (["stop"], ["stop"], {"one", "two"})
    one.end.set_result(None)
    two.end.set_result(None)
    await asyncio.wait_for(ship.crew.gone(), 5)


async def test_no_engine_takes_the_log_and_record_of_a_process_that_still_ends(ship: Ship) -> None:
    ship.records["one"] = Record("one", ProcessId(1, 1), None, None, note="what is this")
    ship.want(planned())
    assert [each.instance for each in ship.made] == ["one~2"]
    assert ship.names() == {"one": S.LAUNCHING}
