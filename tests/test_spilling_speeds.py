"""Speeds are learned from what was measured, however noisy, and stay sane where the measurements say little."""

import random
from collections.abc import Callable

import pytest

from router.spilling.fit import Fit
from router.spilling.speeds import UNKNOWN, Decoded, Read, Speeds, Tempo, pairs_of

# An RTX 4090 with Llama-3.1-8B, about.
TRUE = Tempo(0.0167, 0.00012, 1.8e-7, 1.5, 95e-6, 4e-9)
Shape = Callable[[random.Random], tuple[int, float]]


def mixed(chance: random.Random) -> tuple[int, float]:
    sequences = chance.randint(1, 30)
    return sequences, sequences * chance.uniform(600, 1600)


def teach(speeds: Speeds, count: int, *, slower: float = 1.0, shape: Shape = mixed, seed: int = 1) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        sequences, kv_tokens = shape(chance)
        seconds = slower * TRUE.decode_s(sequences, kv_tokens) * chance.lognormvariate(0, 0.04)
        speeds.learn_step(Decoded(seconds * 40, 40, sequences, kv_tokens))


def worst(tempo: Tempo, slower: float = 1.0) -> float:
    """The greatest error of a decode step, as a share, over small and large batches."""
    cases = [(count, count * each) for count in (1, 8, 16, 30) for each in (600, 1600)]
    return max(abs(tempo.decode_s(*case) / (slower * TRUE.decode_s(*case)) - 1) for case in cases)


def read(tempo: Tempo, tokens: int, *, waits: bool = False) -> Read:
    seconds = tempo.prefill_s(tokens, pairs_of(tokens), 4, 4000)
    lag_s = tempo.lag_steps * tempo.decode_s(4, 4000) if waits else 0.0
    return Read(seconds + lag_s, tokens, pairs_of(tokens), 4, 4000, waits)


def test_a_decode_step_is_learned_within_3_percent_of_300_noisy_ones() -> None:
    speeds = Speeds()
    assert worst(speeds.tempo) > 0.5
    teach(speeds, 300)
    assert worst(speeds.tempo) < 0.03


def test_an_engine_that_slows_down_is_followed_within_40_steps() -> None:
    speeds = Speeds()
    teach(speeds, 300)
    teach(speeds, 40, slower=1.4, seed=2)
    assert worst(speeds.tempo, 1.4) < 0.06
    teach(speeds, 40, seed=3)
    assert worst(speeds.tempo) < 0.06


def test_one_step_that_stalled_moves_nothing() -> None:
    speeds = Speeds()
    teach(speeds, 300)
    before = speeds.tempo.decode_s(10, 10_000)
    speeds.learn_step(Decoded(40.0, 40, 10, 10_000))
    teach(speeds, 8, seed=4)
    assert speeds.tempo.decode_s(10, 10_000) == pytest.approx(before, rel=0.05)


def test_a_load_that_never_changes_says_how_long_its_steps_are_and_runs_away_with_nothing() -> None:
    speeds = Speeds()
    teach(speeds, 1000, shape=lambda chance: (20, 20_000.0))
    tempo = speeds.tempo
    assert tempo.decode_s(20, 20_000) == pytest.approx(TRUE.decode_s(20, 20_000), rel=0.03)
    assert min(tempo.step_s, tempo.sequence_s, tempo.kv_token_s) >= 0
    assert TRUE.decode_s(1, 500) / 3 < tempo.decode_s(1, 500) < 3 * TRUE.decode_s(1, 500)
    assert TRUE.decode_s(60, 60_000) / 3 < tempo.decode_s(60, 60_000) < 3 * TRUE.decode_s(60, 60_000)


@pytest.mark.parametrize("given", [UNKNOWN, Tempo.given(200_000, 300), Tempo.given(150, 4)])
def test_whatever_was_given_a_prompt_is_learned_within_6_percent_of_200_noisy_ones(given: Tempo) -> None:
    speeds, chance = Speeds(given), random.Random(7)
    for _ in range(200):
        prompt = round(chance.lognormvariate(6.8, 0.8)) + 20
        seen = read(TRUE, min(prompt, 6000), waits=chance.random() < 0.8)
        teach(speeds, 1, seed=chance.randint(0, 10**6))
        noisy = Read(seen.seconds * chance.lognormvariate(0, 0.05), seen.tokens, seen.pairs, 4, 4000, seen.waits)
        speeds.learn_first_token(noisy)
    for tokens in (500, 1000, 2000, 4000):
        believed_s = read(speeds.tempo, tokens).seconds
        assert believed_s == pytest.approx(read(TRUE, tokens).seconds, rel=0.06)
    assert speeds.tempo.lag_steps == pytest.approx(TRUE.lag_steps, abs=0.5)


def test_until_something_is_measured_what_was_given_holds() -> None:
    given = Tempo.given(10_000, 60, 512)
    assert Speeds(given).tempo is given
    assert given.prefill_s(10_000, 0.0, 0, 0) == pytest.approx(1.0, rel=0.1)
    assert given.decode_s(1, 500) == pytest.approx(1 / 60, rel=0.02)


def test_nonsense_is_not_learned() -> None:
    speeds = Speeds()
    speeds.learn_step(Decoded(0.0, 10, 3, 100))
    speeds.learn_step(Decoded(1.0, 0, 3, 100))
    speeds.learn_step(Decoded(1.0, 10, 0, 0))
    speeds.learn_first_token(Read(0.0, 100, 0.0, 3, 100, False))
    speeds.learn_first_token(Read(1.0, 0, 0.0, 3, 100, False))
    assert speeds.observations == (0, 0)
    assert speeds.tempo is UNKNOWN


def test_prompts_are_read_in_chunks_beside_those_who_decode() -> None:
    tempo = Tempo(0.02, 0.0, 0.0, 1.0, 1e-4, 0.0, 500)
    assert tempo.steps(400, 100) == 1
    assert tempo.steps(401, 100) == 2
    one_s = tempo.prefill_s(400, 0.0, 100, 0)
    assert one_s == pytest.approx((0.02**2 + 0.05**2) ** 0.5)
    assert tempo.prefill_s(800, 0.0, 100, 0) == pytest.approx(2 * one_s)
    assert tempo.prefill_s(0, 0.0, 100, 0) == 0


def test_a_cached_beginning_is_not_read_but_still_looked_at() -> None:
    assert pairs_of(1000) == 500_000
    assert pairs_of(1000, 600) == 400 * 800
    assert pairs_of(1000, 1000) == 0


def test_no_coefficient_is_ever_negative() -> None:
    fit, chance = Fit((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), random.Random(5)
    for _ in range(400):
        x1 = chance.uniform(0, 2)
        fit.learn(1.0, x1, chance.uniform(0, 2), max(0.1, 3.0 - x1))
        assert min(fit.values) >= 0
    assert sum(fit.values[:1]) == pytest.approx(2.0, abs=0.5)


def test_times_that_mean_nothing_are_survived() -> None:
    speeds, chance = Speeds(), random.Random(5)
    for _ in range(3000):
        seconds, tokens = 10 ** chance.uniform(-6, 3), 10 ** chance.uniform(0, 5)
        speeds.learn_first_token(Read(seconds, tokens, tokens**2 / 2, chance.randint(0, 9), 1e4, chance.random() < 0.5))
        speeds.learn_step(Decoded(seconds, tokens, chance.randint(1, 300), chance.uniform(0, 1e6)))
        assert speeds.tempo.decode_s(4, 4000) > 0
        assert speeds.tempo.prefill_s(100, 0.0, 4, 4000) >= 0
