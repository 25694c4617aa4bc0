"""A prompt that is let in stalls those who decode: who loses by that is found, as the simulated engine then shows."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from benchmarks.simulator.engine import Engine
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.steps import Steps
from router.spilling.accuracy import Accuracy
from router.spilling.guard import lost, to_recover_tokens
from router.spilling.lengths import Kind, Lengths
from router.spilling.load import EngineLoad
from router.spilling.sample import Sample
from router.spilling.speeds import Speeds, Tempo
from router.spilling.stay import Stay
from tests.watched_engine import coefficients

TPOT_S = 0.1
TEMPO = Tempo.given(10_000, 50)


def answers(tokens: int) -> Sample:
    lengths = Lengths()
    for _ in range(300):
        lengths.learn(Kind(), tokens)
    return lengths.sample(Kind())


def begun(load: EngineLoad, at_s: float, lengths: Sample | None = None) -> Stay:
    stay = load.sent(500, at_s, lengths=lengths)
    load.began(stay, at_s + 0.05)
    return stay


def harm(load: EngineLoad, now_s: float, prompt_tokens: int) -> float:
    return lost(load, load.standing(now_s), TPOT_S, prompt_tokens)


def test_a_short_answer_that_has_just_begun_is_lost_to_a_long_prompt() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    begun(load, 0.0, answers(4))
    assert harm(load, 0.06, 4000) > 0.8


def test_a_long_answer_gains_the_stall_back() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    begun(load, 0.0, answers(400))
    assert harm(load, 0.06, 4000) < 0.1


def test_one_that_has_gained_enough_bears_it() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    begun(load, 0.0, answers(44))
    assert harm(load, 0.85, 4000) == 0.0
    # As many tokens are left of this one, but it has gained nothing yet.
    begun(load, 0.85, answers(4))
    assert harm(load, 0.91, 4000) > 0.8


def test_a_small_prompt_harms_nobody() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    begun(load, 0.0, answers(4))
    assert harm(load, 0.3, 200) == 0.0


def test_nobody_there_nobody_lost() -> None:
    assert harm(EngineLoad(Speeds(TEMPO), 100_000), 0.0, 8000) == 0.0


def test_one_that_waits_sits_through_the_prompt_behind_it() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    load.sent(1500, 0.0, lengths=answers(4))
    assert harm(load, 0.01, 8000) > 0.8
    # What fits into the same step begins with it.
    assert harm(load, 0.01, 300) < 0.1


def test_who_is_lost_without_it_as_well_does_not_count() -> None:
    load = EngineLoad(Speeds(TEMPO), 100_000)
    begun(load, 0.0, answers(4))
    load.sent(12_000, 0.06, lengths=answers(400))
    assert harm(load, 0.07, 2000) < 0.2


def test_where_steps_become_too_long_all_are_lost() -> None:
    load = EngineLoad(Speeds(Tempo(0.05, 0.0, 1e-5, 1.0, 1e-4, 0.0)), 100_000)
    stays = [begun(load, 0.0, answers(400)) for _ in range(7)]
    assert harm(load, 0.06, 4000) == len(stays)


def test_what_was_lost_is_made_good_by_each_token_that_comes_in_time() -> None:
    assert to_recover_tokens(0.4, 0.02, 0.1) == pytest.approx(5)
    assert to_recover_tokens(0.0, 0.02, 0.1) == 0
    assert to_recover_tokens(0.4, 0.1, 0.1) == math.inf


def test_who_is_at_risk_is_found_without_a_look_at_all_of_them() -> None:
    load, chance, now_s = EngineLoad(Speeds(TEMPO), None, most_sequences=10_000, tpot_s=TPOT_S), random.Random(11), 0.0
    firsts: dict[Stay, tuple[float, float]] = {}
    for _ in range(600):
        now_s += chance.uniform(0.0, 0.2)
        if chance.random() < 0.6 or not firsts:
            stay = load.sent(200, now_s)
            now_s += 0.03
            load.began(stay, now_s)
            firsts[stay] = (now_s, load.so_far(stay))
        else:
            gone = chance.choice(list(firsts))
            load.ended(gone, None, now_s)
            del firsts[gone]
        stall_s = chance.uniform(0.0, 3.0)
        load.standing(now_s)
        expected = {
            stay: behind_s
            for stay, (first_s, _) in firsts.items()
            if (behind_s := now_s + stall_s - first_s - TPOT_S * (load.so_far(stay) + 2 - 1)) > 0
        }
        found = dict(load.at_risk(stall_s, 2))
        assert found.keys() == expected.keys()
        assert all(found[stay] == pytest.approx(expected[stay], abs=1e-6) for stay in found)


def bursts(count: int, seed: int) -> list[Request]:
    """Ten at a time, every 5 s: long prompts with short answers, like those of a code assistant."""
    chance = random.Random(seed)
    return [
        Request(
            number,
            5.0 * (number // 10),
            chance.randint(500, 4000),
            max(2, round(chance.lognormvariate(math.log(15), 0.8))),
        )
        for number in range(count)
    ]


def kept(requests: Sequence[Request], most_lost: float) -> float:
    """The share whose time per token was within the promise, where each waits until few would be lost by it."""
    load, engine = EngineLoad(Speeds(), 41_408), Engine(Steps(coefficients()), 41_408)
    lengths, coming, held, now_s = Lengths(), list(requests), list[Request](), 0.0
    stays: dict[Request, Stay] = {}
    while coming or held or not engine.is_idle:
        until_s = min(coming[0].arrival_s if coming else math.inf, now_s + 0.02 if held else math.inf)
        events = engine.advance(until_s)
        now_s = engine.now_s if events else max(engine.now_s, min(until_s, now_s + 10))
        for at_s, kind, request in events:
            if kind == "first":
                load.began(stays[request], at_s)
            else:
                load.ended(stays[request], request.output_tokens, at_s)
                lengths.learn(Kind(), request.output_tokens)
        while coming and coming[0].arrival_s <= now_s:
            held.append(coming.pop(0))
        while held:
            standing, request = load.standing(now_s), held[0]
            if not standing.fits(request.prompt_tokens) or standing.waiting >= 2:
                break
            if lost(load, standing, TPOT_S, request.prompt_tokens) > most_lost:
                break
            stays[request] = load.sent(held.pop(0).prompt_tokens, now_s, lengths=lengths.sample(Kind()))
            engine.add(request, now_s)
    return sum(tpot_s(each) <= TPOT_S for each in requests) / len(requests)


def tpot_s(request: Request) -> float:
    assert request.first_s is not None
    assert request.end_s is not None
    return (request.end_s - request.first_s) / (request.output_tokens - 1)


def test_bursts_of_prompts_break_few_promises_where_each_waits_until_few_are_lost_by_it() -> None:
    assert kept(bursts(600, 1), math.inf) < 0.85
    assert kept(bursts(600, 1), 0.1) > 0.97


def test_errors_are_of_the_newest_predictions() -> None:
    accuracy = Accuracy()
    assert accuracy.errors().p50_s is None
    for _ in range(1000):
        accuracy.judge(9.0, 1.0)
    for error_s in (-0.1, 0.0, 0.1, 0.2) * 200:
        accuracy.judge(1.0, 1.0 + error_s)
    errors = accuracy.errors()
    assert errors.count == 1800
    assert errors.p50_s == pytest.approx(0.1)
    assert errors.p95_s == pytest.approx(0.2)
    assert errors.bias_p50_s == pytest.approx(0.1)
