"""Engines on GPUs: what fits, where it sits, and what is refused."""

import re
from dataclasses import replace

import pytest

from engines.memory.measured import Measured, key_of
from engines.memory.ollama import ONE_GPU_SHARE, predicted_bytes
from engines.placement.place import Kept, Placed, Placement, place
from engines.placement.remedies import explained
from engines.placement.room import margin_bytes
from tests.wants import GIB, RULES, gpu, gpus, joined, model, want


def taken_bytes(engine: Placed, cuda_bytes: int) -> float:
    """All that an engine takes of a GPU, counted from its flags."""
    return engine.footprint.outside_bytes + (engine.utilization or 0.0) * cuda_bytes


def names(placement: Placement) -> list[str]:
    return [engine.name for engine in placement.placed]


def homes(placement: Placement) -> dict[str, tuple[str, ...]]:
    return {engine.name: engine.gpu_uuids for engine in placement.placed}


def test_a_model_alone_on_a_card_gets_all_that_is_left_as_kv_cache() -> None:
    card = gpu()
    placement = place([want()], [card], RULES)
    (engine,) = placement.placed
    assert placement.unplaced == ()
    assert engine.gpu_uuids == ("GPU-0",)
    assert engine.utilization is not None
    assert round(engine.utilization, 4) == engine.utilization
    left = card.cuda_bytes - margin_bytes(card) - taken_bytes(engine, card.cuda_bytes)
    assert 0 <= left < card.cuda_bytes / 10_000 + 1
    inside = engine.footprint.inside_bytes
    assert engine.kv_bytes == pytest.approx(engine.utilization * card.cuda_bytes - inside, abs=1)
    assert engine.footprint.kv.requests_in(engine.kv_bytes) > 10


def test_what_others_hold_and_what_is_reserved_is_not_given_away() -> None:
    card = gpu(used_gib=20.0)
    free = place([want()], [gpu()], RULES).placed[0]
    for rules in (RULES, replace(RULES, foreign_bytes={"GPU-0": 20 * GIB}), replace(RULES, reserve_bytes=20 * GIB)):
        cards = [card] if rules is RULES else [gpu()]
        engine = place([want()], cards, rules).placed[0]
        assert free.kv_bytes - engine.kv_bytes == pytest.approx(20 * GIB, abs=card.cuda_bytes / 5_000)


def test_memory_of_our_own_engines_is_free_to_plan_with() -> None:
    rules = replace(RULES, foreign_bytes={"GPU-0": 0})
    assert place([want()], [gpu(used_gib=70.0)], rules) == place([want()], [gpu()], rules)


def test_a_model_too_large_for_one_card_is_cut_over_the_fewest_that_hold_it() -> None:
    (engine,) = place([want(weights_gib=131.0)], gpus(4), RULES).placed
    assert engine.shape.tensor_parallel == 2
    assert len(set(engine.gpu_uuids)) == 2


def test_a_fixed_tensor_parallel_size_stays() -> None:
    (engine,) = place([want(tensor_parallel=4)], gpus(4), RULES).placed
    assert engine.shape.tensor_parallel == len(engine.gpu_uuids) == 4


def test_two_models_share_a_card_in_proportion_to_what_they_promise() -> None:
    wants = [want("small", concurrent_requests=2), want("large", concurrent_requests=6)]
    placement = place(wants, [gpu()], RULES)
    small, large = placement.placed
    ratio = large.footprint.least_kv_bytes(6) / small.footprint.least_kv_bytes(2)
    assert large.kv_bytes / small.kv_bytes == pytest.approx(ratio, rel=0.01)


def test_what_does_not_fit_is_left_out_and_the_rest_has_a_place() -> None:
    placement = place([want("huge", weights_gib=200.0), want("chat")], [gpu()], RULES)
    assert names(placement) == ["chat"]
    assert [(each.name, each.want) for each in placement.unplaced] == [("huge", "huge")]


def test_replicas_are_spread_over_different_cards_first() -> None:
    placement = place([want(replicas=3)], gpus(3), RULES)
    assert names(placement) == ["chat", "chat-2", "chat-3"]
    assert len(set(homes(placement).values())) == 3


def test_a_card_that_cannot_run_the_model_is_named_as_the_reason() -> None:
    placement = place([want(model=model(quantization="mxfp4"))], [gpu(capability=(7, 5))], RULES)
    assert "compute capability" in placement.unplaced[0].needs


def test_a_context_longer_than_the_models_is_refused() -> None:
    placement = place([want(context_tokens=200_000)], [gpu()], RULES)
    assert "200000" in placement.unplaced[0].needs


def test_as_many_as_possible_have_a_place_and_of_as_many_the_earlier_ones() -> None:
    wants = [want("large", weights_gib=60.0), want("one", weights_gib=30.0), want("two", weights_gib=30.0)]
    assert names(place(wants, [gpu()], RULES)) == ["one", "two"]
    assert names(place([want(name, weights_gib=45.0) for name in ("one", "two")], [gpu()], RULES)) == ["one"]


def test_a_promise_in_tokens_is_kept() -> None:
    (engine,) = place([want(kv_tokens=50_000), want("other", concurrent_requests=60)], [gpu()], RULES).placed[:1]
    assert engine.footprint.kv.tokens_in(engine.kv_bytes) >= 50_000


def test_a_promise_that_cannot_be_kept_leaves_the_model_without_a_place() -> None:
    assert place([want(concurrent_requests=40)], [gpu()], RULES).unplaced == ()
    assert names(place([want(concurrent_requests=100)], [gpu()], RULES)) == []


def test_fixed_blocks_are_the_pool_and_leave_the_rest_to_others() -> None:
    fixed, other = place([want("fixed", kv_blocks=600), want("other")], [gpu()], RULES).placed
    assert fixed.kv_bytes == 600 * fixed.footprint.kv.block_bytes
    assert other.kv_bytes > 30 * GIB


def test_fewer_blocks_than_one_request_needs_are_refused() -> None:
    (left_out,) = place([want(kv_blocks=100)], [gpu()], RULES).unplaced
    assert "kv_blocks = 100 is fewer than the 513 blocks" in left_out.needs


def test_groups_stay_within_an_island_and_never_mix_cards() -> None:
    cards = joined(gpus(4), {0: 0, 1: 1, 2: 0, 3: 1})
    pairs = place([want(weights_gib=100.0, replicas=2)], cards, RULES).placed
    assert {frozenset(engine.gpu_uuids) for engine in pairs} == {
        frozenset(("GPU-0", "GPU-2")),
        frozenset(("GPU-1", "GPU-3")),
    }
    mixed = [gpu(0), gpu(1, total_gib=96.0)]
    assert names(place([want(weights_gib=100.0)], mixed, RULES)) == []


def test_a_mig_instance_holds_whole_engines_only() -> None:
    slices = [gpu(number, total_gib=40.0, name="Card MIG 3g.40gb", parent_uuid="GPU-whole") for number in range(2)]
    assert len(place([want(replicas=2)], slices, RULES).placed) == 2
    assert names(place([want(weights_gib=50.0)], slices, RULES)) == []
    (left_out,) = place([want(tensor_parallel=2)], slices, RULES).unplaced
    assert "tensor_parallel = 2" in left_out.needs


def test_replicas_go_to_different_boards_before_they_share_one_in_slices() -> None:
    parents = ["GPU-a", "GPU-a", "GPU-b"]
    slices = [gpu(number, 40.0, name="Card MIG 3g.40gb", parent_uuid=parent) for number, parent in enumerate(parents)]
    used = {each for engine in place([want(replicas=2)], slices, RULES).placed for each in engine.gpu_uuids}
    assert "GPU-2" in used


def test_an_ollama_model_lives_under_the_same_budget_and_never_grows() -> None:
    small = want("llama", engine="ollama", model=model(5.0, source="ollama:library/llama3"), concurrent_requests=2)
    ollama, vllm = place([small, want()], [gpu()], RULES).placed
    assert ollama.utilization is None
    assert ollama.kv_bytes == ollama.footprint.least_kv_bytes(2)
    card = gpu()
    left = card.cuda_bytes - margin_bytes(card) - ollama.gpu_bytes - taken_bytes(vllm, card.cuda_bytes)
    left -= ollama.headroom_bytes
    assert 0 <= left < card.cuda_bytes / 5_000


def test_an_ollama_model_finds_free_at_its_start_what_it_wants_of_one_gpu() -> None:
    small = want("llama", engine="ollama", model=model(20.0, source="ollama:library/llama3"), concurrent_requests=2)
    ollama, vllm = place([small, want()], [gpu()], RULES).placed
    free_bytes = gpu().cuda_bytes - vllm.gpu_bytes
    predicted = predicted_bytes(small.model, 8192, 2)
    # So much does Ollama use of one GPU before it spreads over several.
    assert ONE_GPU_SHARE * (free_bytes - GIB // 16) < predicted <= ONE_GPU_SHARE * free_bytes
    assert ollama.headroom_bytes > 0


def test_an_ollama_model_that_would_find_too_little_free_says_so() -> None:
    small = want("llama", engine="ollama", model=model(65.0, source="ollama:library/llama3"))
    found = place([small], [gpu()], RULES)
    (left_out,) = explained(found, [small], [gpu()], RULES).unplaced
    assert re.search(r"overhead \d\.\d \+ 1\d\.\d that Ollama wants free; 79\.2 GiB there", left_out.needs)
    assert place([small], gpus(2), RULES).unplaced == ()


def test_what_an_earlier_start_measured_replaces_the_estimate() -> None:
    first = place([want()], [gpu()], RULES).placed[0]
    key = key_of(RULES.engine, want().model.identity(), first.shape, gpu().name)
    rules = replace(RULES, measured={key: Measured(outside_bytes=3 * GIB, weights_bytes=16 * GIB)})
    again = place([want()], [gpu()], rules).placed[0]
    assert again.footprint.measured == {"outside_bytes", "weights_bytes"}
    more = again.footprint.outside_bytes + again.footprint.inside_bytes
    less = first.footprint.outside_bytes + first.footprint.inside_bytes
    assert first.kv_bytes - again.kv_bytes == pytest.approx(more - less, abs=gpu().cuda_bytes / 5_000)


def test_a_group_free_among_many_cards_is_found_though_not_all_groups_are_listed() -> None:
    cards = [gpu(number, used_gib=0.0 if number in (1, 6, 11, 12) else 70.0) for number in range(16)]
    (engine,) = place([want(weights_gib=200.0)], cards, RULES).placed
    assert engine.gpu_uuids == ("GPU-1", "GPU-6", "GPU-11", "GPU-12")


def test_an_engine_of_the_plan_before_stays_where_it_is() -> None:
    kept = [Kept("chat", ("GPU-2",), 1)]
    assert homes(place([want(), want("other")], gpus(4), RULES, kept))["chat"] == ("GPU-2",)


def test_an_engine_moves_where_only_that_gives_all_a_place() -> None:
    cards = [gpu(0), gpu(1, total_gib=40.0)]
    kept = [Kept("chat", ("GPU-0",), 1)]
    found = homes(place([want(), want("large", weights_gib=62.0)], cards, RULES, kept))
    assert found == {"chat": ("GPU-1",), "large": ("GPU-0",)}


def test_a_group_of_the_plan_before_keeps_its_size() -> None:
    kept = [Kept("chat", ("GPU-0", "GPU-3"), 2)]
    assert homes(place([want()], gpus(4), RULES, kept))["chat"] == ("GPU-0", "GPU-3")


def test_a_gpu_that_is_gone_is_no_reason_to_fail() -> None:
    kept = [Kept("chat", ("GPU-9",), 1), Kept("other", (), 1)]
    assert len(place([want(), want("other")], gpus(2), RULES, kept).placed) == 2


def test_without_a_gpu_nothing_has_a_place() -> None:
    (left_out,) = place([want()], [], RULES).unplaced
    assert "there is no GPU" in left_out.needs


def test_the_engine_that_has_grown_moves_and_not_its_neighbour() -> None:
    cards = [gpu(0), gpu(1)]
    for grown in ("one", "two"):
        before = place([want("one", concurrent_requests=8), want("two", concurrent_requests=8)], cards[:1], RULES)
        kept = [Kept(each.name, each.gpu_uuids, 1, each.kv_bytes) for each in before.placed]
        wants = [want(name, concurrent_requests=40 if name == grown else 8) for name in ("one", "two")]
        found = homes(place(wants, cards, RULES, kept))
        assert found[grown] == ("GPU-1",)
        assert set(found.values()) == {("GPU-0",), ("GPU-1",)}
