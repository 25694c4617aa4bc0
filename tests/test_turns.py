"""Models that take turns on the same memory: who stands at once, who is an alternate, and that none is too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gpus.gpu import Gpu
from engines.memory.asleep import sleeping_bytes
from engines.placement.partners import with_turn_ways
from engines.placement.place import Placed, Placement, place
from engines.placement.remedies import explained
from engines.placement.room import rooms
from engines.placement.turns import on_cpu, on_gpus, take_turns
from engines.placement.want import Want
from tests.wants import GIB, RULES, gpu, gpus, want

HOST = 512 * GIB
NO_HOST = 0


def turned(wants: Sequence[Want], cards: Sequence[Gpu], sleep_bytes: int = HOST) -> Placement:
    found = take_turns(wants, on_gpus(cards, RULES), (), sleep_bytes)
    return explained(found, wants, cards, RULES)


def by_name(found: Placement) -> Mapping[str, Placed]:
    return {each.name: each for each in found.placed}


def loose(name: str, weights_gib: float, **changes: object) -> Want:
    """One that need not be kept."""
    return want(name, weights_gib, keep=False, **changes)


def fits(found: Placement, wants: Sequence[Want], cards: Sequence[Gpu]) -> bool:
    """Whether those that start awake fit at once, and each alternate beside those that are kept, with all the others
    asleep."""
    always = {each.name for each in wants if each.keep}
    at_once = {each.name for each in found.placed if not each.is_alternate}
    choices = [at_once]
    choices += [
        {each.name, *(other.name for other in found.placed if other.want in always)}
        for each in found.placed
        if each.is_alternate
    ]
    room = {each.gpu.uuid: each.free_bytes for each in rooms(cards, RULES)}
    return all(
        sum(_held(each, each.name in awake) for each in found.placed if uuid in each.gpu_uuids) <= free
        for awake in choices
        for uuid, free in room.items()
    )


def _held(each: Placed, is_awake: bool) -> int:
    if is_awake:
        return each.gpu_bytes
    return sleeping_bytes(each.footprint.outside_bytes, each.footprint.graph_bytes) if each.may_sleep else 0


def test_what_fits_at_once_takes_no_turns() -> None:
    wants, cards = [want("a", 15.0), loose("b", 15.0)], gpus(1)
    assert turned(wants, cards) == place(wants, cards, RULES)


def test_the_first_that_fit_stand_beside_what_is_kept_and_the_others_are_alternates() -> None:
    wants, cards = [loose("first", 40.0), want("kept", 15.0), loose("second", 40.0)], gpus(1)
    found = turned(wants, cards)
    assert found.unplaced == ()
    assert {name: each.is_alternate for name, each in by_name(found).items()} == {
        "first": False,
        "kept": False,
        "second": True,
    }
    assert fits(found, wants, cards)


def test_what_is_kept_leaves_room_for_the_largest_alternate() -> None:
    wants, cards = [want("kept", 15.0), loose("small", 5.0), loose("large", 50.0)], gpus(1)
    found = turned(wants, cards)
    assert found.unplaced == ()
    assert fits(found, wants, cards)
    large = by_name(found)["large"]
    assert large.kv_bytes >= large.footprint.kv.bytes_for(1)


def test_what_is_kept_small_for_a_large_alternate_leaves_the_rest_to_the_first() -> None:
    wants, cards = [want("kept", 15.0), loose("small", 5.0), loose("large", 50.0, concurrent_requests=4)], gpus(1)
    found = by_name(turned(wants, cards, NO_HOST))
    taken = found["kept"].gpu_bytes + found["small"].gpu_bytes
    assert taken > 0.98 * rooms(cards, RULES)[0].free_bytes


def test_an_alternate_that_is_alone_has_the_whole_gpu() -> None:
    wants, cards = [loose("a", 15.0), loose("b", 70.0)], gpus(1)
    found = by_name(turned(wants, cards, NO_HOST))
    assert found["b"].gpu_bytes > 0.95 * rooms(cards, RULES)[0].free_bytes


def test_what_is_kept_moves_where_an_alternate_would_have_no_place() -> None:
    # Apart, the kept ones leave most KV cache; then neither GPU has room for the large one.
    wants, cards = [want("k1", 15.0), want("k2", 15.0), loose("a", 20.0), loose("large", 65.0)], gpus(2)
    found = turned(wants, cards)
    assert found.unplaced == ()
    assert fits(found, wants, cards)


def test_what_has_no_place_even_alone_is_unplaced_with_ways_that_concern_it_and_what_is_kept() -> None:
    wants, cards = [loose("a", 25.0), want("kept", 40.0), loose("large", 60.0)], gpus(1)
    (left_out,) = turned(wants, cards).unplaced
    assert left_out.name == "large"
    assert "beside kept" in left_out.needs
    assert "keep = false on kept: they take turns" in left_out.ways


def test_replicas_without_a_place_beside_the_first_ones_take_turns() -> None:
    wants, cards = [want("kept", 40.0), loose("many", 30.0, replicas=2)], gpus(1)
    found = by_name(turned(wants, cards))
    assert found["many-2"].is_alternate
    assert not found["many"].is_alternate


def test_those_that_take_turns_sleep_where_host_memory_holds_their_weights() -> None:
    wants, cards = [want("kept", 5.0), loose("a", 40.0), loose("b", 40.0)], gpus(1)
    assert {name for name, each in by_name(turned(wants, cards, 100 * GIB)).items() if each.may_sleep} == {"a", "b"}
    assert {name for name, each in by_name(turned(wants, cards, 50 * GIB)).items() if each.may_sleep} == {"a"}
    assert not any(each.may_sleep for each in turned(wants, cards, NO_HOST).placed)


def test_room_is_kept_for_what_sleepers_still_hold() -> None:
    wants, cards = [loose("a", 40.0), loose("b", 50.0)], gpus(1)
    found = turned(wants, cards)
    assert all(each.may_sleep for each in found.placed)
    assert fits(found, wants, cards)


def test_where_a_sleeper_would_be_in_the_way_it_ends_instead() -> None:
    wants, cards = [loose("a", 77.0, context_tokens=1024), loose("b", 77.0, context_tokens=1024)], gpus(1)
    found = turned(wants, cards)
    assert found.unplaced == ()
    assert not any(each.may_sleep for each in found.placed)


def test_models_that_are_all_kept_are_told_that_they_could_take_turns() -> None:
    wants, cards = [want("one", 60.0), want("two", 60.0)], gpus(1)
    (left_out,) = turned(wants, cards).unplaced
    assert "keep = false on one and two: they take turns" in left_out.ways
    changed = [replace(each, keep=False) for each in wants]
    assert turned(changed, cards).unplaced == ()


def test_turns_are_no_way_for_a_model_that_is_too_large_alone() -> None:
    (left_out,) = turned([want("one", 20.0), want("two", 90.0, tensor_parallel=1)], gpus(1)).unplaced
    assert not any("take turns" in way for way in left_out.ways)


def small(name: str, gib: int, **changes: object) -> Want:
    return want(name, 1.0, context_tokens=1024, cpu_kv_cache_gib=gib, **changes)


def test_on_a_cpu_models_take_turns_in_the_memory_of_the_machine() -> None:
    wants = [small("kept", 10), small("a", 30, keep=False), small("b", 30, keep=False)]
    found = take_turns(wants, on_cpu((0, 1), 64 * GIB, RULES))
    assert found.unplaced == ()
    assert [each.is_alternate for each in found.placed] == [False, False, True]


def test_on_a_cpu_too_turns_are_among_the_ways() -> None:
    wants, machine = [small("a", 40), small("b", 40)], on_cpu((0, 1), 64 * GIB, RULES)
    (left_out,) = with_turn_ways(take_turns(wants, machine), wants, machine).unplaced
    assert left_out.ways == ("a lower cpu_kv_cache_gib", "keep = false on a and b: they take turns")


WANTS = st.lists(
    st.tuples(st.sampled_from([5.0, 20.0, 45.0, 70.0]), st.booleans(), st.integers(1, 2)), min_size=2, max_size=5
).map(
    lambda found: [
        want(f"m{number}", weights, keep=keep, replicas=replicas, tensor_parallel=1)
        for number, (weights, keep, replicas) in enumerate(found)
    ]
)


@given(WANTS, st.integers(1, 2), st.sampled_from([NO_HOST, 64 * GIB, HOST]))
@settings(max_examples=60, deadline=None)
def test_no_choice_takes_more_than_there_is_and_all_that_fits_alone_has_a_turn(
    wants: Sequence[Want], count: int, sleep_bytes: int
) -> None:
    cards = gpus(count)
    found = take_turns(wants, on_gpus(cards, RULES), (), sleep_bytes)
    assert fits(found, wants, cards)
    always = [each for each in wants if each.keep]
    if not place(always, cards, RULES).unplaced:
        alone = [each for each in wants if not each.keep]
        beside = [each for each in alone if not place([*always, replace(each, replicas=1)], cards, RULES).unplaced]
        assert {each.want for each in found.placed} == {each.name for each in (*always, *beside)}


def test_who_stands_at_once_takes_no_place_that_leaves_another_without_a_turn() -> None:
    kept = want("kept", 20.0, replicas=2, tensor_parallel=1)
    double, large = (want("double", 45.0, keep=False, replicas=2, tensor_parallel=1), loose("large", 70.0))
    assert turned([kept, double, replace(large, tensor_parallel=1)], gpus(2)).unplaced == ()


def test_a_small_card_beside_a_large_one_has_its_own_turns() -> None:
    wants, cards = [loose("a", 60.0), loose("b", 60.0), loose("c", 15.0), loose("d", 15.0)], [gpu(0), gpu(1, 24.0)]
    found = turned(wants, cards)
    assert found.unplaced == ()
    assert fits(found, wants, cards)
