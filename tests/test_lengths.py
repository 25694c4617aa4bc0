"""Lengths of answers are learned for each kind of request, and borrowed from wider kinds where little is known."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable
from random import Random

import pytest
from msgspec.structs import replace

from router.spilling.lengths import Kind, Lengths

CHAT = Kind(model="m", prompt_tokens=800)


def drawn(rng: Random, median: float, sigma: float = 0.3) -> int:
    return max(round(rng.lognormvariate(math.log(median), sigma)), 1)


def taught(lengths: Lengths, kind: Kind, median: float, times: int, seed: int = 1) -> Lengths:
    rng = Random(seed)
    for _ in range(times):
        lengths.learn(kind, drawn(rng, median))
    return lengths


def test_what_is_not_known_is_a_wide_guess_and_never_zero() -> None:
    sample = Lengths().sample(CHAT)
    assert sample.answers == 0
    assert sample.quantile(0.05) < 30
    assert sample.quantile(0.95) > 1000
    assert all(0 < share < 1 for share in sample.ends_within(0, (1, 64, 4096)))
    assert sample.left(3000) > 100


def test_what_ended_is_expected_again() -> None:
    sample = taught(Lengths(), CHAT, 200, 500).sample(CHAT)
    assert sample.answers == pytest.approx(500, rel=0.2)
    assert sample.mean == pytest.approx(200 * math.exp(0.3**2 / 2), rel=0.06)
    assert sample.quantile(0.5) == pytest.approx(200, rel=0.06)
    assert sample.quantile(0.9) == pytest.approx(200 * math.exp(0.3 * 1.28), rel=0.08)


def test_longer_than_any_that_was_seen_is_possible() -> None:
    sample = taught(Lengths(), CHAT, 200, 2000).sample(CHAT)
    assert sample.left(5000) > 100
    assert 0 < sample.ends_within(5000, (50,))[0] < 0.5


def test_prompts_of_other_lengths_have_other_answers() -> None:
    # As on Azure's conversations: the answers' length falls where prompts are longer than 1,500 tokens.
    lengths, rng = Lengths(), Random(2)
    for _ in range(3000):
        prompt = rng.randint(200, 3000)
        median = 400 if 700 < prompt < 1500 else 90
        lengths.learn(Kind(prompt_tokens=prompt), drawn(rng, median))
    medians = [lengths.sample(Kind(prompt_tokens=prompt)).quantile(0.5) for prompt in (500, 900, 1200, 2000)]
    assert medians == pytest.approx([90, 400, 400, 90], rel=0.25)


def test_a_class_without_answers_is_told_by_its_neighbours() -> None:
    lengths, rng = Lengths(), Random(3)
    for _ in range(2000):
        prompt = rng.choice([rng.randint(300, 500), rng.randint(1000, 1040), rng.randint(1100, 1400)])
        lengths.learn(Kind(prompt_tokens=prompt), drawn(rng, 400 if prompt >= 1000 else 50))
    # Nobody asked with 1,041 to 1,099 tokens.
    assert lengths.sample(Kind(prompt_tokens=1070)).quantile(0.5) == pytest.approx(400, rel=0.25)


@pytest.mark.parametrize("prompts_tell", [True, False])
def test_classes_are_used_where_they_tell_and_cost_nothing_where_they_do_not(prompts_tell: bool) -> None:
    rng, lengths, alike = Random(4), Lengths(), Lengths()
    pairs = []
    for _ in range(4000):
        prompt = round(2 ** rng.uniform(6, 13))
        median = 20 if prompt % 2 else 600
        if prompts_tell:
            median = 20 if prompt < 700 else 600
        pairs.append((Kind(prompt_tokens=prompt), drawn(rng, median)))
    saved = bits(alike, [(Kind(), tokens) for _, tokens in pairs]) - bits(lengths, pairs)
    assert saved > 0.7 if prompts_tell else abs(saved) < 0.05


def bits(lengths: Lengths, pairs: Iterable[tuple[Kind, int]]) -> float:
    scores = []
    for kind, tokens in pairs:
        sample = lengths.sample(kind)
        scores.append(-math.log2(sample.longer(tokens - 1) - sample.longer(tokens)))
        lengths.learn(kind, tokens)
    return sum(scores) / len(scores)


def test_a_new_tenant_borrows_until_it_has_answers_of_its_own() -> None:
    lengths = Lengths()
    old, new = (Kind(tenant=name, model="m", prompt_tokens=300) for name in ("old", "new"))
    taught(lengths, old, 500, 400)
    assert lengths.sample(new).quantile(0.5) == pytest.approx(500, rel=0.15)
    taught(lengths, new, 30, 200)
    assert lengths.sample(new).quantile(0.5) == pytest.approx(30, rel=0.15)
    assert lengths.sample(old).quantile(0.5) == pytest.approx(500, rel=0.15)


@pytest.mark.parametrize("field", ["model", "task", "tenant"])
def test_models_tasks_and_tenants_are_told_apart(field: str) -> None:
    lengths = Lengths()
    ours, theirs = (replace(Kind(), **{field: name}) for name in ("ours", "theirs"))
    taught(lengths, ours, 40, 300)
    taught(lengths, theirs, 900, 300)
    assert lengths.sample(ours).quantile(0.5) == pytest.approx(40, rel=0.2)
    assert lengths.sample(theirs).quantile(0.5) == pytest.approx(900, rel=0.2)


def test_what_changes_is_forgotten() -> None:
    lengths = taught(taught(Lengths(), CHAT, 50, 2000), CHAT, 800, 1000)
    assert lengths.sample(CHAT).quantile(0.5) == pytest.approx(800, rel=0.2)


def test_nothing_is_longer_than_the_max_tokens_of_its_request() -> None:
    lengths = taught(Lengths(), CHAT, 200, 300)
    sample = lengths.sample(replace(CHAT, most_tokens=150))
    assert sample.quantile(1) == 150
    assert sample.ends_within(140, (10,)) == [1]
    assert sample.mean < 150 < lengths.sample(CHAT).mean


def test_answers_cut_at_max_tokens_do_not_teach_that_answers_are_short() -> None:
    lengths = taught(Lengths(), CHAT, 400, 300)
    before = lengths.sample(CHAT).mean
    for _ in range(300):
        lengths.learn(replace(CHAT, most_tokens=16), 16)
    assert lengths.sample(CHAT).mean == pytest.approx(before, rel=0.1)
    assert lengths.sample(CHAT).longer(16) > 0.95


def test_answers_whose_client_left_count_as_longer_ones() -> None:
    whole, left, believed = Lengths(), Lengths(), Lengths()
    rng = Random(5)
    for _ in range(600):
        tokens, leaves = drawn(rng, 300, 0.5), rng.randint(1, 900)
        whole.learn(CHAT, tokens)
        left.learn(CHAT, min(tokens, leaves), cut=leaves < tokens)
        believed.learn(CHAT, min(tokens, leaves))
    mean = whole.sample(CHAT).mean
    assert left.sample(CHAT).mean == pytest.approx(mean, rel=0.15)
    assert believed.sample(CHAT).mean < 0.8 * mean


def test_a_sample_stays_the_same_until_enough_is_learned() -> None:
    lengths = taught(Lengths(), CHAT, 200, 300)
    sample = lengths.sample(CHAT)
    assert lengths.sample(replace(CHAT, prompt_tokens=801)) is sample
    lengths.learn(CHAT, 200)
    assert lengths.sample(CHAT) is sample
    taught(lengths, replace(CHAT, prompt_tokens=20), 200, 300)
    assert lengths.sample(CHAT) is not sample


def test_max_tokens_that_cut_nothing_make_no_sample_of_their_own() -> None:
    lengths = taught(Lengths(), replace(CHAT, most_tokens=9000), 200, 300)
    samples = [lengths.sample(replace(CHAT, most_tokens=most)) for most in range(8200, 16000, 100)]
    assert all(sample is samples[0] for sample in samples)
    assert lengths.sample(replace(CHAT, most_tokens=200)) is not samples[0]


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    lengths = Lengths(lines=3)
    kept, forgotten, third, fourth = (Kind(tenant=name) for name in ("kept", "forgotten", "third", "fourth"))
    taught(lengths, kept, 3000, 200)
    taught(lengths, forgotten, 30, 200)
    for kind in (third, kept):
        taught(lengths, kind, 3000, 200)
    assert lengths.sample(forgotten).quantile(0.5) == pytest.approx(30, rel=0.2)
    for kind in (third, kept, fourth):
        taught(lengths, kind, 3000, 200)
    assert lengths.sample(kept).quantile(0.1) > 300
    assert lengths.sample(forgotten).quantile(0.5) > 300


def test_memory_is_bounded() -> None:
    lengths = Lengths(lines=20)
    tracemalloc.start()
    try:
        sizes = []
        for start in (0, 60, 120):
            for number in range(start, start + 60):
                kind = Kind(tenant=f"tenant {number}", most_tokens=number, prompt_tokens=number)
                lengths.learn(kind, number)
                lengths.sample(kind)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[2] < 1.1 * sizes[0]
    assert sizes[2] < 20 * 25_000


def test_strange_lengths_are_borne() -> None:
    lengths = Lengths()
    kind = Kind(most_tokens=0, prompt_tokens=10**9)
    lengths.learn(kind, 0)
    lengths.learn(kind, 10**9)
    assert lengths.sample(kind).quantile(1) == 1
    assert lengths.sample(Kind()).mean > 1
