"""The ledger of one engine, held against a simulated engine that does the work."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.simulator.steps import Steps
from router.spilling.lengths import GUESS
from router.spilling.load import EngineLoad
from router.spilling.speeds import Speeds, Tempo, pairs_of
from router.spilling.stay import Stay
from tests.watched_engine import WatchedEngine, chat, coefficients

RTX_4090, RTX_PRO = "rtx4090-llama3.1-8b", "rtxpro6000-llama3.1-8b"
KV_TOKENS = 41_408


def decode_errors(load: EngineLoad, steps: Steps) -> list[float]:
    tempo = load.speeds.tempo
    cases = ((2, 2000), (6, 7000), (12, 14_000))
    return [abs(tempo.decode_s(*each) / steps.decode_s(*each) - 1) for each in cases]


def prefill_errors(load: EngineLoad, steps: Steps) -> list[float]:
    tempo = load.speeds.tempo
    cases = (500, 1000, 1500, 2000)
    return [
        abs(tempo.prefill_s(each, pairs_of(each), 6, 7000) / steps.mixed_s(6, 7000, [(each, 0)]) - 1) for each in cases
    ]


@pytest.mark.parametrize(("name", "per_s"), [(RTX_4090, 1.0), (RTX_4090, 2.0), (RTX_PRO, 3.0)])
def test_400_requests_teach_the_speeds_of_an_engine(name: str, per_s: float) -> None:
    steps, load = Steps(coefficients(name)), EngineLoad(Speeds(), KV_TOKENS)
    WatchedEngine(steps, load).run(chat(400, per_s))
    assert max(decode_errors(load, steps)) < 0.05
    assert max(prefill_errors(load, steps)) < 0.10


def test_an_engine_that_was_slowed_down_is_known_anew_after_150_requests() -> None:
    steps, slowed = Steps(coefficients()), Steps(coefficients(slower=1.5))
    load = EngineLoad(Speeds(), KV_TOKENS)
    first = WatchedEngine(steps, load)
    first.run(chat(300, 1.5))
    now_s = first.engine.now_s + 1.0
    second = WatchedEngine(slowed, load)
    second.engine.advance(now_s)
    second.run(chat(150, 1.0, 2, now_s))
    assert max(decode_errors(load, slowed)) < 0.06
    assert max(prefill_errors(load, slowed)) < 0.10


def test_each_engine_is_learned_by_itself() -> None:
    known = []
    for name, per_s in ((RTX_4090, 1.5), (RTX_PRO, 2.5)):
        steps, load = Steps(coefficients(name)), EngineLoad(Speeds(), KV_TOKENS)
        WatchedEngine(steps, load).run(chat(300, per_s))
        known.append((load, steps))
    (slow, slow_steps), (fast, fast_steps) = known
    assert slow.speeds.tempo.token_s > 1.8 * fast.speeds.tempo.token_s
    assert max(decode_errors(slow, slow_steps) + decode_errors(fast, fast_steps)) < 0.06


def test_first_tokens_come_when_they_were_predicted() -> None:
    load = EngineLoad(Speeds(), KV_TOKENS)
    watched = WatchedEngine(Steps(coefficients()), load)
    watched.run(chat(200, 1.5))
    load.accuracy = type(load.accuracy)()
    watched.run(chat(300, 1.5, 2, watched.engine.now_s))
    errors = load.accuracy.errors()
    assert errors.count == 300
    assert errors.p50_s is not None
    assert errors.p95_s is not None
    assert errors.bias_p50_s is not None
    assert errors.p50_s < 0.015
    assert errors.p95_s < 0.08
    assert abs(errors.bias_p50_s) < 0.005


@pytest.mark.parametrize("count_each_s", [None, 0.3])
def test_what_sequences_hold_is_reckoned_without_a_count_of_each_token(count_each_s: float | None) -> None:
    load = EngineLoad(Speeds(), KV_TOKENS)
    watched = WatchedEngine(Steps(coefficients()), load)
    watched.run(chat(100, 1.5))
    errors: list[float] = []

    def look(now_s: float) -> None:
        decoding = watched.decoding()
        assert load.standing(now_s).sequences == len(decoding)
        held = sum(each.prompt_tokens + watched.engine.generated(each) for each in decoding)
        if held > 4000:
            errors.append(abs(load.kv_tokens / held - 1))

    watched.look = look
    if count_each_s is not None:
        watched.count_each_s = count_each_s
    watched.run(chat(200, 2.0, 3, watched.engine.now_s))
    assert len(errors) > 100
    assert statistics.median(errors) < 0.005
    assert sorted(errors)[int(0.95 * len(errors))] < 0.02


def test_with_a_small_chunk_a_prompt_takes_many_steps_and_is_learned_as_well() -> None:
    steps = Steps(coefficients())
    load = EngineLoad(Speeds(Tempo.given(4000, 30, 512)), KV_TOKENS)
    WatchedEngine(steps, load, chunk_tokens=512).run(chat(400, 1.5))
    assert max(decode_errors(load, steps)) < 0.06
    errors = load.accuracy.errors()
    assert errors.p50_s is not None
    assert errors.p50_s < 0.02


def test_nothing_is_left_when_all_have_gone_however_they_went() -> None:
    load, chance, now_s = EngineLoad(Speeds(), KV_TOKENS), random.Random(3), 0.0
    stays: list[Stay] = []
    for _ in range(2000):
        now_s += chance.expovariate(20)
        if len(stays) < 20 and chance.random() < 0.5:
            stays.append(load.sent(chance.randint(1, 3000), now_s, lengths=chance.choice([None, GUESS])))
        elif stays:
            stay = chance.choice(stays)
            if stay.first_s is None and chance.random() < 0.7:
                load.began(stay, now_s)
            else:
                load.ended(stay, chance.choice([None, 1, round(load.so_far(stay))]), now_s)
                stays.remove(stay)
        standing = load.standing(now_s)
        assert standing.sequences + standing.waiting == len(stays)
        assert standing.waiting_tokens == sum(each.prompt_tokens for each in stays if each.first_s is None)
    for stay in stays:
        load.ended(stay, None, now_s)
    standing = load.standing(now_s)
    assert (standing.sequences, standing.waiting, standing.kv_tokens) == (0, 0, 0.0)
    assert (standing.unread_tokens, standing.unread_pairs, standing.room_tokens) == (0.0, 0.0, KV_TOKENS)


def test_what_is_said_twice_counts_once() -> None:
    load = EngineLoad(Speeds(), KV_TOKENS)
    stay = load.sent(100, 0.0)
    load.began(stay, 0.1)
    load.began(stay, 0.2)
    assert load.standing(0.2).sequences == 1
    load.ended(stay, 5, 0.3)
    load.ended(stay, 5, 0.4)
    load.began(stay, 0.5)
    load.counted(stay, 9, 0.6)
    assert load.standing(0.6).sequences == 0


def test_one_count_of_tokens_tells_how_far_all_the_others_are() -> None:
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), KV_TOKENS)
    stays = [load.sent(100, 0.0) for _ in range(3)]
    for stay in stays:
        load.began(stay, 0.1)
    load.standing(1.1)
    assert load.so_far(stays[2]) == pytest.approx(50, rel=0.1)
    load.counted(stays[0], 60, 1.1)
    assert load.so_far(stays[2]) == pytest.approx(60, rel=0.02)
    assert load.kv_tokens == pytest.approx(300 + 3 * 60, rel=0.02)


def test_one_that_was_preempted_does_not_set_the_others_back() -> None:
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), KV_TOKENS)
    stays = [load.sent(100, 0.0) for _ in range(3)]
    for stay in stays:
        load.began(stay, 0.1)
    load.counted(stays[1], 500, 10.1)
    believed = load.so_far(stays[2])
    load.counted(stays[0], 20, 10.2)
    assert load.so_far(stays[2]) > believed - 20
    assert load.so_far(stays[0]) == pytest.approx(20, abs=1)


def test_a_prompt_without_room_waits_and_reading_begins_when_another_ends() -> None:
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), 5000)
    first = load.sent(3000, 0.0)
    load.began(first, 0.3)
    assert not load.standing(0.4).fits(2500)
    load.sent(2500, 0.4)
    assert load.standing(1.0).is_blocked
    assert load.standing(1.0).reading_s == 0.0
    load.ended(first, 40, 1.0)
    assert not load.standing(1.1).is_blocked
    assert load.standing(1.1).reading_s == pytest.approx(0.1)


def test_a_prompt_behind_others_waits_for_what_is_left_of_them() -> None:
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), KV_TOKENS)
    alone_s = load.standing(0.0).ttft_s(1000)
    assert alone_s == pytest.approx(0.1, rel=0.1)
    load.sent(1000, 0.0)
    behind_s = load.standing(0.0).ttft_s(1000)
    assert behind_s > 1.7 * alone_s
    assert load.standing(0.05).ttft_s(1000) == pytest.approx(behind_s - 0.05, abs=0.002)


def test_the_pace_of_an_answer_is_predicted_from_who_is_there_and_how_many_prompts_come() -> None:
    load = EngineLoad(Speeds(), KV_TOKENS)
    watched = WatchedEngine(Steps(coefficients()), load)
    watched.run(chat(200, 1.5))
    errors: list[float] = []
    for request in chat(250, 1.5, 5, watched.engine.now_s):
        # Those before it are there when it comes.
        watched.run_until(request.arrival_s)
        predicted_s = load.standing(request.arrival_s).tpot_s(request.prompt_tokens, request.output_tokens)
        watched.take(request)
        watched.predicted_s[request] = predicted_s
    watched.run([])
    for request, predicted_s in watched.predicted_s.items():
        if request.output_tokens > 20:
            assert request.first_s is not None
            assert request.end_s is not None
            errors.append(predicted_s * (request.output_tokens - 1) / (request.end_s - request.first_s) - 1)
    assert len(errors) > 200
    assert statistics.median(map(abs, errors)) < 0.16
    assert abs(statistics.median(errors)) < 0.06
