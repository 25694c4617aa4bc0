"""What is said of a want that has no place: the sum, and ways that really fit when they are applied."""

import re
from collections.abc import Sequence
from dataclasses import replace
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.gpus.cards import declared
from engines.gpus.gpu import Gpu
from engines.models.lock import LockedModel
from engines.placement.case import Case, Way
from engines.placement.four_bit import four_bit
from engines.placement.place import Placement, place
from engines.placement.remedies import MOST_WAYS, explained, friendly, more_gpus, ways_of
from engines.placement.turns import on_gpus, take_turns
from engines.placement.want import Rules, Want
from tests.wants import GIB, RULES, gpu, gpus, model, want

SUM = re.compile(
    r"needs ([\d.]+) GiB(?: on each of \d+ GPUs)? = weights ([\d.]+) \+ KV ([\d.]+) \+ overhead ([\d.]+); "
)


def large() -> LockedModel:
    """A 70B model in 16 bits: 131.5 GiB."""
    return model(131.5, layers=80, heads=64, hidden_size=8192, intermediate_size=28_672)


def told(wants: Sequence[Want], cards: Sequence[Gpu], rules: Rules = RULES) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What is said of every engine without a place."""
    found = explained(place(wants, cards, rules), wants, cards, rules)
    return {each.name: (each.needs, each.ways) for each in found.unplaced}


def cases(wants: Sequence[Want], cards: Sequence[Gpu], rules: Rules = RULES) -> list[Case]:
    found = place(wants, cards, rules)
    names = {each.want for each in found.unplaced}
    return [Case(want, tuple(wants), tuple(cards), rules, found) for want in wants if want.name in names]


def named(case: Case) -> tuple[Way, ...]:
    return ways_of(case, more_gpus(case))


def fits(way: Way, case: Case) -> bool:
    """Whether the way, applied and placed anew, gives the want all its places and takes none from the others."""
    lost = {each.name for each in case.placement.unplaced}
    left_out = take_turns(way.wants, on_gpus(way.gpus, RULES)).unplaced
    return all(each.want != case.want.name and each.name in lost for each in left_out)


def test_a_placement_in_which_all_fits_stays_as_it_is() -> None:
    wants, cards = [want()], gpus(1)
    found = place(wants, cards, RULES)
    assert found.unplaced == ()
    assert explained(found, wants, cards, RULES) is found


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    needs, ways = told([want("chat", model=large(), tensor_parallel=1)], gpus(2))["chat"]
    sum_ = SUM.match(needs)
    assert sum_, needs
    total, weights, kv, overhead = map(float, sum_.groups())
    assert total == pytest.approx(weights + kv + overhead, abs=1e-9)
    assert weights == pytest.approx(131.5, abs=0.2)
    assert re.search(r"; 7[89]\.\d GiB there$", needs)
    assert ways[0] == "tensor parallel 2"
    assert any(re.fullmatch(r"FP8 weights \(6\d\.\d GiB\)", way) for way in ways)


def test_a_context_that_is_too_long_gets_the_longest_that_fits() -> None:
    wanted = want("chat", context_tokens=131_072, concurrent_requests=2, kv_cache_dtype="fp8", quantization="fp8")
    (case,) = cases([wanted], [gpu(total_gib=24)])
    (way,) = [way for way in named(case) if way.words.startswith("context")]
    chosen = int(way.words.split()[1])
    assert chosen in friendly(131_072)
    longer = min(number for number in [*friendly(131_072), 131_072] if number > chosen)
    assert place([replace(wanted, context_tokens=chosen)], case.gpus, RULES).unplaced == ()
    assert place([replace(wanted, context_tokens=longer)], case.gpus, RULES).unplaced != ()


def test_too_many_requests_get_the_most_that_fit() -> None:
    wanted = want("chat", concurrent_requests=100)
    (case,) = cases([wanted], [gpu(total_gib=48)])
    (way,) = [way for way in named(case) if way.words.endswith("at once")]
    most = int(way.words.split()[0])
    assert place([replace(wanted, concurrent_requests=most)], case.gpus, RULES).unplaced == ()
    assert place([replace(wanted, concurrent_requests=most + 1)], case.gpus, RULES).unplaced != ()


def test_a_promise_in_tokens_is_lowered_in_tokens() -> None:
    (_, ways) = told([want("chat", kv_tokens=1_000_000)], [gpu(total_gib=80)])["chat"]
    (way,) = [way for way in ways if way.startswith("kv_tokens")]
    assert place([want("chat", kv_tokens=int(way.split()[1]))], [gpu(total_gib=80)], RULES).unplaced == ()


def test_a_quantized_cache_is_offered_where_the_card_can_count_in_it() -> None:
    wanted = want("chat", concurrent_requests=80)
    new, old = [gpu(total_gib=80, capability=(9, 0))], [gpu(total_gib=80, capability=(8, 0))]
    assert "FP8 KV cache" in told([wanted], new)["chat"][1]
    assert "FP8 KV cache" not in told([wanted], old)["chat"][1]


def test_a_model_that_is_still_too_large_in_8_bits_is_offered_in_4() -> None:
    (_, ways) = told([want("chat", model=large())], gpus(2, 24))["chat"]
    assert any(way.startswith("AWQ 4-bit checkpoint (3") for way in ways)
    assert not any(way.startswith("FP8 weights") for way in ways)


def test_where_no_single_change_is_enough_two_are_named() -> None:
    (case,) = cases([want("chat", 15.0, context_tokens=32_768, concurrent_requests=2)], [gpu(total_gib=10)])
    ways = [way for way in named(case) if " and " in way.words]
    assert ways
    assert all(fits(way, case) for way in ways)


def test_fewer_replicas_are_offered_as_many_as_have_a_place() -> None:
    said = told([want("chat", 40.0, replicas=3)], gpus(2, 60))
    assert list(said) == ["chat-3"]
    assert "2 replicas" in said["chat-3"][1]


def test_another_model_that_is_in_the_way_is_named() -> None:
    wants = [want("first", 40.0), want("second", 60.0, quantization="fp8")]
    (name, (needs, ways)), *none = told(wants, [gpu(total_gib=60)]).items()
    assert none == []
    other = {"first": "second", "second": "first"}[name]
    assert f"GiB left beside {other}" in needs
    assert f"without {other}" in ways


def test_another_model_gives_up_requests_before_it_goes() -> None:
    wants = [want("small", 15.0, concurrent_requests=40), want("chat", 60.0, context_tokens=1024)]
    rules = RULES
    (case,) = cases(wants, [gpu(total_gib=100)], rules)
    words = [way.words for way in named(case)]
    if case.want.name == "chat":
        assert any(re.fullmatch(r"small with \d+ requests? at once", each) for each in words)
    assert not any(each.startswith("without") for each in words)


def test_more_gpus_and_larger_ones_are_named() -> None:
    (_, ways) = told([want("chat", model=large())], declared("1xH100-80GB").seen)["chat"]
    assert "1 more H100-80GB" in ways
    assert "1 x H200" in ways


def test_memory_that_others_hold_is_said() -> None:
    card = gpu(total_gib=80)
    rules = replace(RULES, foreign_bytes={card.uuid: 60 * GIB})
    assert "GiB there (other processes hold 60.0)" in told([want("chat", 30.0)], [card], rules)["chat"][0]


def test_two_models_that_are_more_than_all_gpus_hold_are_told_so() -> None:
    said = told([want("one", 70.0), want("two", 70.0)], gpus(1))
    (needs, _) = next(iter(said.values()))
    assert re.search(r"all models together need 14\d\.\d GiB and all GPUs have 7\d\.\d GiB$", needs)


@pytest.mark.parametrize(
    ("wanted", "cards", "words"),
    [
        (want("chat"), gpus(1, capability=(7, 0)), "compute capability 7.0"),
        (want("chat", tensor_parallel=3), gpus(4), "32 attention heads cannot be divided by 3"),
        (want("chat", context_tokens=262_144), gpus(1), "more than the 131072 tokens"),
        (want("chat", tensor_parallel=4), gpus(2), "needs as many GPUs and there are 2"),
    ],
)
def test_what_cannot_run_here_at_all_gets_the_reason(wanted: Want, cards: list[Gpu], words: str) -> None:
    needs, _ = told([wanted], cards)["chat"]
    assert needs.startswith("cannot run here: ")
    assert words in needs


def test_what_cannot_run_here_is_told_what_could() -> None:
    assert "tensor parallel 2" in told([want("chat", tensor_parallel=3)], gpus(4))["chat"][1]
    assert "context 131072" in told([want("chat", context_tokens=262_144)], gpus(1))["chat"][1]


def test_a_4_bit_checkpoint_keeps_what_is_not_linear() -> None:
    plain = model(10.0)
    weights = replace(plain.weights, embedding_bytes=GIB, replicated_bytes=GIB)
    smaller = four_bit(replace(plain, weights=weights))
    assert smaller is not None
    assert smaller.weights.embedding_bytes == smaller.weights.replicated_bytes == GIB
    assert smaller.weights.split_bytes == pytest.approx(2.6 * GIB, rel=0.001)
    assert four_bit(smaller) is None


small_wants = st.lists(
    st.builds(
        lambda weights, requests, context, replicas, parallel: (weights, requests, context, replicas, parallel),
        st.integers(1, 60),
        st.integers(1, 40),
        st.sampled_from((2048, 8192, 32_768)),
        st.integers(1, 2),
        st.sampled_from((None, None, 1, 2)),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12, deadline=None)
@given(small_wants, st.lists(st.sampled_from((16, 24, 48)), min_size=1, max_size=4))
def test_every_way_that_is_named_fits_when_it_is_applied(
    drawn: list[tuple[int, int, int, int, int | None]], sizes: list[int]
) -> None:
    wants = [
        want(
            f"m{number}",
            float(weights),
            concurrent_requests=requests,
            context_tokens=context,
            replicas=replicas,
            tensor_parallel=parallel,
        )
        for number, (weights, requests, context, replicas, parallel) in enumerate(drawn)
    ]
    cards = [gpu(number, size) for number, size in enumerate(sizes)]
    found = cases(wants, cards)
    assert (place(wants, cards, RULES).unplaced == ()) is (found == [])
    for case in found:
        ways = named(case)
        assert len({way.words for way in ways}) == len(ways) <= MOST_WAYS
        assert [way.words for way in ways if not fits(way, case)] == []


def test_the_words_of_a_way_say_what_was_placed() -> None:
    (case,) = cases([want("chat", context_tokens=32_768, concurrent_requests=32)], [gpu(total_gib=48)])
    for way in named(case):
        (tried,) = way.wants
        if found := re.fullmatch(r"context (\d+)", way.words):
            assert tried == replace(case.want, context_tokens=int(found[1]))
        elif found := re.fullmatch(r"(\d+) requests? at once", way.words):
            assert tried == replace(case.want, concurrent_requests=int(found[1]))
        elif way.words == "FP8 KV cache":
            assert tried == replace(case.want, kv_cache_dtype="fp8")
        else:
            assert len(way.gpus) > 1
            assert tried == case.want


def crowded() -> tuple[list[Want], tuple[Gpu, ...]]:
    """Twelve models, 18 engines, that are more than 16 GPUs hold."""
    many = [want(f"large-{number}", model=large(), replicas=2) for number in range(6)]
    return many + [want(f"small-{number}", concurrent_requests=20) for number in range(6)], declared(
        "16xH100-80GB"
    ).seen


def test_a_large_plan_is_explained_soon() -> None:
    wants, cards = crowded()
    found = place(wants, cards, RULES)
    start_s = process_time()
    said: Placement = explained(found, wants, cards, RULES)
    assert process_time() - start_s < 5
    assert len(said.unplaced) >= 4
    assert all(each.needs.startswith("needs ") and each.ways for each in said.unplaced)


def test_ways_of_a_large_plan_fit_when_all_is_placed_anew() -> None:
    wants, cards = crowded()
    case = cases(wants, cards)[0]
    assert [way.words for way in named(case)[:2] if not fits(way, case)] == []
