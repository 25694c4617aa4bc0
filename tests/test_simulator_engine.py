"""The simulated engine: it skips steps that are alike, and nothing that can be seen may change by that."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from benchmarks.simulator.engine import Engine, Event, Request
from benchmarks.simulator.steps import Attention, Coefficients, Steps
from tests.plain_engine import PlainEngine

STEPS = Steps(
    Coefficients(
        source="made up",
        dense_ms=((1, 15.0), (64, 16.0), (256, 24.0), (2048, 180.0)),
        head_ms=((1, 1.1), (256, 2.0)),
        alone=Attention(0.4, 6.0, 150.0),
        beside=Attention(0.5, 35.0, 340.0),
        chunk_us=1.2,
        pair_ns=4.0,
    )
)


def times(requests: Sequence[Request]) -> list[tuple[float | None, float | None]]:
    return [(each.first_s, each.end_s) for each in requests]


def crowd(rng: Random, kv_tokens: int, *, prefixes: bool) -> list[Request]:
    """Requests that come faster than they are served and want more KV than there is."""
    at_s, made = 0.0, []
    for number in range(rng.randint(8, 30)):
        at_s += rng.expovariate(rng.choice((1, 10, 50)))
        prompt = rng.randint(1, kv_tokens // 3)
        answer = min(rng.choice((1, 2, rng.randint(1, 60), rng.randint(1, 400))), kv_tokens - 16 - prompt)
        made.append(Request(number, at_s, prompt, answer, prefix=chain(rng, prompt) if prefixes else ()))
    return made


def chain(rng: Random, prompt_tokens: int) -> tuple[int, ...]:
    """Ids that say what comes before them too, as those of a trace do: many begin alike, then part."""
    ids: list[int] = []
    for place in range(prompt_tokens // 512 + 1):
        ids.append(
            hash((ids[-1] if ids else rng.randint(0, 1), place if rng.random() < 0.8 else rng.randint(100, 103)))
        )
    return tuple(ids)


def served(engine: Engine, requests: Sequence[Request]) -> list[Event]:
    events: list[Event] = []
    for request in requests:
        while found := engine.advance(request.arrival_s):
            events += found
        engine.add(request, request.arrival_s)
    while not engine.is_idle:
        events += engine.advance(engine.due_s)
    return events


@pytest.mark.parametrize(("cache", "prefixes"), [(False, False), (True, False), (True, True)])
def test_it_answers_at_the_moments_at_which_one_does_that_takes_every_step(cache: bool, prefixes: bool) -> None:
    yielded = 0
    for seed in range(12):
        kv_tokens = (1600, 3200, 6400)[seed % 3]
        budget, seats, ahead = (64, 256, 2048)[seed // 3 % 3], (16, 64, 4)[seed % 3], seed % 2 == 0
        skipping = crowd(Random(seed), kv_tokens, prefixes=prefixes)
        stepping = crowd(Random(seed), kv_tokens, prefixes=prefixes)
        plain = PlainEngine(STEPS, kv_tokens, budget, seats, cache, ahead)
        plain.run(stepping)
        engine = Engine(
            STEPS,
            kv_tokens,
            max_batched_tokens=budget,
            max_sequences=seats,
            prefix_cache=cache,
            async_scheduling=ahead,
        )
        served(engine, skipping)
        assert [each for pair in times(skipping) for each in pair] == pytest.approx(
            [each for pair in times(stepping) for each in pair]
        )
        assert engine.preemptions == plain.preemptions
        assert engine.kv_used_tokens == engine.unprefilled_tokens == engine.queued_tokens == 0
        yielded += engine.preemptions
    assert yielded > 0


def test_who_looks_often_sees_the_same_as_who_looks_at_events() -> None:
    seldom, often = (crowd(Random(3), 3200, prefixes=False) for _ in range(2))
    served(Engine(STEPS, 3200), seldom)
    engine, looks = Engine(STEPS, 3200), Random(4)
    for request in often:
        while engine.now_s < request.arrival_s:
            engine.advance(min(engine.now_s + looks.expovariate(100), request.arrival_s))
        engine.add(request, request.arrival_s)
    while not engine.is_idle:
        engine.advance(engine.now_s + looks.expovariate(100))
    assert times(often) == times(seldom)


def test_nothing_of_a_step_shows_before_it_is_over() -> None:
    engine, request = Engine(STEPS, 32_000), Request(0, 0.0, 1000, 5)
    engine.add(request, 0.0)
    first_s = engine.due_s
    assert first_s == STEPS.mixed_s(0, 0, [(1000, 0)])
    assert engine.advance(first_s * 0.999) == ()
    assert (engine.unprefilled_tokens, engine.generated(request), request.first_s) == (1000, 0, None)
    assert engine.advance(1e9) == [(first_s, "first", request)]
    assert (engine.unprefilled_tokens, engine.generated(request), engine.now_s) == (0, 1, first_s)


def test_between_events_each_token_shows_as_its_step_ends() -> None:
    engine, request = Engine(STEPS, 32_000), Request(0, 0.0, 1000, 300)
    engine.add(request, 0.0)
    engine.advance(1.0)
    at_s = engine.now_s
    for made in range(1, 200):
        assert engine.generated(request) == made
        assert engine.kv_used_tokens == -(-(1000 + made) // 16) * 16
        at_s += STEPS.decode_s(1, 1000 + made)
        assert engine.advance(at_s - 1e-6) == ()
        assert engine.generated(request) == made
        assert engine.advance(at_s + 1e-6) == ()
    assert engine.busy_s == pytest.approx(at_s, abs=1e-5)


def test_who_comes_within_a_step_waits_for_the_next_but_one_where_steps_are_planned_ahead() -> None:
    firsts = {}
    for ahead in (False, True):
        engine, early, late = (
            Engine(STEPS, 32_000, async_scheduling=ahead),
            *(Request(number, 0.0, 160, 100) for number in range(2)),
        )
        engine.add(early, 0.0)
        engine.advance(1.0)
        began_s = engine.now_s
        engine.advance(began_s + 0.001)
        engine.add(late, engine.now_s)
        while late.first_s is None:
            engine.advance(1.0)
        firsts[ahead] = late.first_s - began_s
    step_s = STEPS.decode_s(1, 161)
    assert firsts[False] == pytest.approx(step_s + STEPS.mixed_s(1, 162, [(160, 0)]))
    assert firsts[True] == pytest.approx(firsts[False] + step_s, abs=1e-5)


def test_who_is_taken_out_is_heard_of_no_more_and_gives_its_room_to_who_waits() -> None:
    engine = Engine(STEPS, 1600)
    holder, waiter, last = (Request(number, 0.0, 1000, 100) for number in range(3))
    for request in (holder, waiter, last):
        engine.add(request, 0.0)
    engine.advance(1.0)
    assert (list(engine.running), list(engine.waiting), len(engine.waiting)) == ([holder], [waiter, last], 2)
    assert (engine.queued_tokens, waiter in engine.waiting, holder in engine.waiting) == (2000, True, False)
    engine.advance(0.2)
    engine.abort(waiter)
    engine.abort(holder)
    assert list(engine.waiting) == [last]
    heard: list[Event] = []
    while not engine.is_idle:
        heard += engine.advance(engine.due_s)
    assert [(kind, request.number) for _, kind, request in heard] == [("first", 2), ("end", 2)]
    assert last.first_s is not None
    assert last.first_s < 0.5
    assert engine.kv_used_tokens == engine.unprefilled_tokens == 0
    engine.abort(holder)


def test_a_known_prefix_is_not_computed_again_until_others_took_its_room() -> None:
    def ttft_s(between: Sequence[int]) -> float:
        engine = Engine(STEPS, 8000, prefix_cache=True)
        prompts = [(1100, (1, 2)), *((tokens, ()) for tokens in between), (1100, (1, 2, 3))]
        for number, (tokens, prefix) in enumerate(prompts):
            request = Request(number, engine.now_s, tokens, 2, prefix=prefix)
            served(engine, [request])
        assert request.first_s is not None
        hit_tokens.append(engine.hit_tokens)
        return request.first_s - request.arrival_s

    hit_tokens: list[int] = []
    known_s, unknown_s = STEPS.mixed_s(0, 0, [(76, 1024)]), STEPS.mixed_s(0, 0, [(1100, 0)])
    assert ttft_s([]) == pytest.approx(known_s)
    assert ttft_s([5000]) == pytest.approx(known_s)
    assert ttft_s([5000, 5000]) == pytest.approx(unknown_s)
    assert hit_tokens == [1024, 1024, 0]


def test_what_could_never_end_or_comes_out_of_order_is_refused() -> None:
    engine = Engine(STEPS, 1600)
    large = Request(7, 0.0, 1500, 200)
    assert not engine.fits(large)
    with pytest.raises(ValueError, match=r"request 7 needs 1500 \+ 200 tokens and the engine has 1584"):
        engine.add(large, 0.0)
    engine.add(Request(0, 0.0, 100, 10), 0.0)
    with pytest.raises(ValueError, match=r"advance it to 9\.0+ s before adding"):
        engine.add(Request(1, 9.0, 100, 10), 9.0)
    with pytest.raises(KeyError, match="request 7 is not in this engine"):
        engine.generated(large)
    with pytest.raises(ValueError, match="two blocks of 16"):
        Engine(STEPS, 16)
    with pytest.raises(ValueError, match="max_batched_tokens 128 is below max_sequences 256"):
        Engine(STEPS, 1600, max_batched_tokens=128)
