"""A change of what is wanted, while engines run: who goes on as it is, and who must make room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gpus.gpu import Gpu
from engines.memory.measured import Measured, key_of
from engines.placement.place import Kept, Placement, place
from engines.placement.room import rooms
from engines.placement.steady import Ran, steady
from engines.placement.turns import on_gpus, take_turns
from engines.placement.want import Rules, Want
from tests.wants import GIB, RULES, gpus, model, want


def running(found: Placement) -> tuple[Ran, ...]:
    return tuple(
        Ran(each.name, each.gpu_uuids, each.shape, each.utilization, each.is_alternate, each.may_sleep)
        for each in found.placed
    )


def pins(found: Placement) -> tuple[Kept, ...]:
    return tuple(Kept(each.name, each.gpu_uuids, each.shape.tensor_parallel, each.kv_bytes) for each in found.placed)


def changed(before: Sequence[Want], after: Sequence[Want], cards: Sequence[Gpu], rules: Rules = RULES) -> set[str]:
    """The names of those that run and must start anew, or have gone."""
    ran = place(before, cards, RULES)
    afresh = take_turns(after, on_gpus(cards, rules), pins(ran))
    found = steady(afresh, after, cards, rules, running(ran), pins(ran))
    assert [each.name for each in found.placed] == [each.name for each in afresh.placed]
    assert {each.name: each.want for each in found.placed} == {each.name: each.want for each in afresh.placed}
    assert fits(found, cards, rules)
    now = {each.name: each for each in running(found)}
    return {each.name for each in running(ran) if now.get(each.name) != each}


def fits(found: Placement, cards: Sequence[Gpu], rules: Rules) -> bool:
    room = {each.gpu.uuid: each.free_bytes for each in rooms(cards, rules)}
    return all(
        sum(each.gpu_bytes for each in found.placed if uuid in each.gpu_uuids) <= free for uuid, free in room.items()
    )


A, B, C = want("a", 15.0), want("b", 10.0), want("c", 5.0)


def test_all_that_is_wanted_as_before_goes_on() -> None:
    assert changed([A, B, C], [A, B, C], gpus(2)) == set()


def test_one_that_leaves_stops_nobody_else() -> None:
    assert changed([A, B, C], [A, C], gpus(1)) == {"b"}


def test_one_that_finds_room_beside_the_others_stops_nobody() -> None:
    assert changed([A, B], [A, C], gpus(1)) == {"b"}


def test_one_that_finds_none_has_the_largest_pool_give_some_and_the_others_go_on() -> None:
    assert changed([A, replace(B, concurrent_requests=20)], [A, replace(B, concurrent_requests=20), C], gpus(1)) == {
        "b"
    }


def test_on_other_gpus_everything_goes_on() -> None:
    cards = gpus(2)
    ran = place([A, B], cards, RULES)
    (alone,) = [each for each in ran.placed if each.name == "b"]
    assert alone.gpu_uuids != next(each for each in ran.placed if each.name == "a").gpu_uuids
    assert len(changed([A, B], [A, B, C], cards)) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(A, context_tokens=16_384),
        replace(A, quantization="fp8"),
        replace(A, max_num_seqs=32),
        replace(A, tensor_parallel=2),
    ],
)
def test_one_that_is_wanted_otherwise_starts_anew_alone(other: Want) -> None:
    assert changed([A, B, C], [other, B, C], gpus(4)) == {"a"}


@pytest.mark.parametrize("requests", [2, 40])
def test_another_promise_that_the_pool_keeps_too_is_no_reason_to_start_anew(requests: int) -> None:
    assert changed([replace(A, concurrent_requests=4)], [replace(A, concurrent_requests=requests)], gpus(1)) == set()


def test_a_promise_that_has_outgrown_the_pool_is_one() -> None:
    before, after = [A, replace(B, concurrent_requests=20)], [replace(A, concurrent_requests=20), B]
    assert "a" in changed(before, after, gpus(1))


def test_what_others_have_taken_meanwhile_is_made_room_for() -> None:
    rules = replace(RULES, foreign_bytes={"GPU-0": 10 * GIB})
    assert changed([A, B], [A, B], gpus(1), rules) == {"a"}


def test_engines_on_a_gpu_that_is_gone_move_and_the_others_stay() -> None:
    cards = gpus(3)
    ran = place([A, B, C], cards, RULES)
    (lost,) = next(each.gpu_uuids for each in ran.placed if each.name == "a")
    left = [card for card in cards if card.uuid != lost]
    found = steady(place([A, B, C], left, RULES, pins(ran)), [A, B, C], left, RULES, running(ran), pins(ran))
    now = {each.name: each for each in running(found)}
    assert sum(now[each.name] == each for each in running(ran)) == 1
    assert fits(found, left, RULES)


LOOSE = [want("kept", 5.0), want("a", 40.0, keep=False), want("b", 50.0, keep=False)]


def test_those_that_take_turns_all_go_on_while_the_same_is_wanted() -> None:
    cards, host_bytes = gpus(1), 200 * GIB
    ran = take_turns(LOOSE, on_gpus(cards, RULES), (), host_bytes)
    assert any(each.may_sleep for each in ran.placed)
    # What a start has told of one of them would place all of them otherwise.
    first = ran.placed[0]
    key = key_of(RULES.engine, LOOSE[0].model.identity(), first.shape, cards[0].name)
    rules = replace(RULES, measured={key: Measured(activation_bytes=0, graph_bytes=0)})
    afresh = take_turns(LOOSE, on_gpus(cards, rules), pins(ran), host_bytes)
    found = steady(afresh, LOOSE, cards, rules, running(ran), pins(ran))
    assert running(afresh) != running(ran)
    assert running(found) == running(ran)


def test_where_turns_change_all_who_take_them_are_placed_afresh() -> None:
    ran = take_turns(LOOSE, on_gpus(gpus(1), RULES))
    more = [*LOOSE, want("c", 20.0, keep=False)]
    afresh = take_turns(more, on_gpus(gpus(1), RULES), pins(ran))
    assert steady(afresh, more, gpus(1), RULES, running(ran), pins(ran)) is afresh


def test_an_ollama_engine_goes_on_beside_one_that_changes() -> None:
    small = want("small", engine="ollama", model=model(4.6, "Q4_K_M", "ollama:acme/small"))
    assert changed([A, small], [replace(A, context_tokens=4096), small], gpus(1)) == {"a"}


def test_where_nothing_runs_the_placement_is_the_fresh_one() -> None:
    afresh = place([A, B], gpus(1), RULES)
    assert steady(afresh, [A, B], gpus(1), RULES, ()) is afresh


SOME = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from([4.0, 12.0, 25.0]), st.sampled_from([None, 8])),
    max_size=4,
    unique_by=lambda drawn: drawn[0],
).map(lambda found: [want(name, weights, concurrent_requests=requests) for name, weights, requests in found])


@given(SOME, SOME, st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_whatever_changes_all_that_fits_afresh_has_a_place_and_keeps_its_promise(
    before: list[Want], after: list[Want], count: int
) -> None:
    cards = gpus(count)
    ran = place(before, cards, RULES)
    afresh = place(after, cards, RULES, pins(ran))
    found = steady(afresh, after, cards, RULES, running(ran), pins(ran))
    assert {each.name for each in found.placed} == {each.name for each in afresh.placed}
    assert fits(found, cards, RULES)
    promised = {each.name: each.concurrent_requests or 1 for each in after}
    assert all(each.footprint.kv.requests_in(each.kv_bytes) >= promised[each.name] for each in found.placed)
