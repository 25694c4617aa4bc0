"""Does an engine hang: looks second by second, canaries, and what must never be called a hang."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as any_of

from engines.life.heartbeat import (
    CANARY_S,
    FIRST_S,
    FIRST_STEPS,
    IDLE_S,
    LONGEST_ALLOWANCE_S,
    OVERLOAD_S,
    STILL_S,
    Beat,
    Limits,
    Look,
    Sign,
    Suspicion,
    allowance_s,
    beat,
    first,
    is_hung,
    proved,
    suspicion,
)
from engines.snapshot import EngineUse

LIMITS = Limits(tokens_per_s=100.0, step_tokens=2048, context_tokens=8192)
NO_PROMPT = EngineUse(in_flight=1)
STEP_S = 0.25
BUSY = Look(0.0, 0.0, steps=100, own=1, use=NO_PROMPT)


def prompt(tokens: int, many: int = 1) -> EngineUse:
    return EngineUse(in_flight=many, unstarted=many, longest_prompt_tokens=tokens, oldest_wait_s=0.1)


def seconds(
    found: Beat, look: Look, from_s: float, to_s: float, limits: Limits = LIMITS
) -> tuple[Beat, Suspicion | None]:
    """Look on every quarter of a second, its server answering, until a canary is due or the time is up."""
    now_s = from_s
    while now_s <= to_s:
        heard_s = now_s if look.heard_s == look.now_s else look.heard_s
        found = beat(found, replace(look, now_s=now_s, heard_s=heard_s), limits)
        if suspected := suspicion(found, limits):
            return found, suspected
        now_s += STEP_S
    return found, None


def test_one_that_stands_still_with_requests_is_suspected_after_five_seconds_and_hangs_after_nine() -> None:
    found, suspected = seconds(first(BUSY, LIMITS), BUSY, 0.0, 20.0)
    assert suspected is not None
    assert (suspected.sign, suspected.at_s) == (Sign.STILL, STILL_S)
    assert suspected.why == "it has requests and has made no step for 5 s"
    assert suspected.at_s + suspected.canary_s == pytest.approx(STILL_S + CANARY_S)
    found = beat(found, replace(BUSY, now_s=9.0, heard_s=9.0), LIMITS)
    assert is_hung(suspected, found)


def test_a_canary_that_comes_back_ends_the_suspicion() -> None:
    found, _ = seconds(first(BUSY, LIMITS), BUSY, 0.0, 20.0)
    found, suspected = seconds(proved(found, 6.0), BUSY, 6.25, 10.75)
    assert suspected is None


def test_a_step_during_the_canary_ends_the_suspicion_though_the_canary_is_lost() -> None:
    found, suspected = seconds(first(BUSY, LIMITS), BUSY, 0.0, 20.0)
    assert suspected is not None
    found = beat(found, replace(BUSY, steps=101, now_s=8.0, heard_s=8.0), LIMITS)
    assert not is_hung(suspected, found)


@pytest.mark.parametrize("tokens", [10, 1000, 7000])
def test_a_long_prompt_has_the_time_that_it_takes(tokens: int) -> None:
    use = prompt(tokens)
    takes_s = tokens / LIMITS.tokens_per_s
    look = replace(BUSY, use=use)
    found, suspected = seconds(first(BUSY, LIMITS), look, 0.0, STILL_S + takes_s / 2 - STEP_S)
    assert suspected is None
    found, suspected = seconds(found, look, STILL_S + takes_s / 2, 1000.0)
    assert suspected is not None
    # The canary waits behind the prompt; what is left is enough for both.
    assert suspected.at_s + suspected.canary_s >= takes_s + CANARY_S
    assert suspected.at_s + suspected.canary_s <= takes_s + STILL_S + CANARY_S + STEP_S


def test_a_step_full_of_other_prompts_may_come_first() -> None:
    found, _ = seconds(first(BUSY, LIMITS), replace(BUSY, use=prompt(1000, many=2)), 0.0, 1.0)
    assert allowance_s(found, LIMITS) == 20.0
    found, _ = seconds(first(BUSY, LIMITS), replace(BUSY, use=prompt(1000, many=50)), 0.0, 1.0)
    assert allowance_s(found, LIMITS) == (1000 + LIMITS.step_tokens) / LIMITS.tokens_per_s


def test_the_longest_prompt_counts_even_once_its_client_has_gone() -> None:
    found, _ = seconds(first(BUSY, LIMITS), replace(BUSY, use=prompt(5000)), 0.0, 1.0)
    found, _ = seconds(found, replace(BUSY, use=NO_PROMPT), 1.0, 3.0)
    assert allowance_s(found, LIMITS) == 50.0


def test_a_request_that_no_router_knows_may_be_as_long_as_the_context() -> None:
    found, _ = seconds(first(BUSY, LIMITS), replace(BUSY, use=EngineUse()), 0.0, 1.0)
    assert allowance_s(found, LIMITS) == pytest.approx(LIMITS.context_tokens / LIMITS.tokens_per_s)


def test_no_allowance_is_beyond_bounds() -> None:
    slow = replace(LIMITS, tokens_per_s=0.1)
    found, _ = seconds(first(BUSY, slow), replace(BUSY, use=prompt(8000)), 0.0, 1.0, slow)
    assert allowance_s(found, slow) == LONGEST_ALLOWANCE_S


def test_first_requests_may_compile_for_long_while_processors_work() -> None:
    young = replace(BUSY, steps=FIRST_STEPS - 1)
    working, _ = seconds(first(young, LIMITS), replace(young, is_working=True), 0.0, 4.0)
    stuck, _ = seconds(first(young, LIMITS), young, 0.0, 4.0)
    assert allowance_s(working, LIMITS) - allowance_s(stuck, LIMITS) == FIRST_S
    old, _ = seconds(first(BUSY, LIMITS), replace(BUSY, is_working=True), 0.0, 4.0)
    assert allowance_s(old, LIMITS) == 0.0


def test_a_silent_server_is_suspected_even_without_requests() -> None:
    silent = Look(0.0, -1.0, steps=100)
    found, suspected = seconds(first(silent, LIMITS), silent, 0.0, 10.0)
    assert suspected is not None
    assert (suspected.sign, suspected.at_s) == (Sign.SILENT, 4.0)
    assert is_hung(suspected, beat(found, replace(silent, now_s=8.0), LIMITS))
    assert not is_hung(suspected, beat(found, replace(silent, now_s=8.0, heard_s=7.9), LIMITS))


def test_a_silent_server_that_computes_is_overloaded_for_a_while() -> None:
    silent = Look(0.0, -1.0, steps=100, is_computing=True)
    _, suspected = seconds(first(silent, LIMITS), silent, 0.0, 100.0)
    assert suspected is not None
    assert suspected.at_s == STILL_S + OVERLOAD_S - 1.0


def test_one_that_says_itself_that_it_is_dead_is_asked_at_once() -> None:
    sick = replace(BUSY, is_sick=True)
    found, suspected = seconds(first(BUSY, LIMITS), sick, 0.0, 10.0)
    assert suspected is not None
    assert (suspected.sign, suspected.at_s) == (Sign.SICK, 0.0)
    assert is_hung(suspected, found)
    assert not is_hung(suspected, beat(found, replace(BUSY, now_s=1.0, heard_s=1.0), LIMITS))


def test_an_idle_engine_gets_a_canary_once_a_minute() -> None:
    idle = Look(0.0, 0.0, steps=100)
    found, suspected = seconds(first(idle, LIMITS), idle, 0.0, 200.0)
    assert suspected is not None
    assert (suspected.sign, suspected.at_s) == (Sign.IDLE, IDLE_S)
    _, suspected = seconds(proved(found, 60.5), idle, 60.75, 200.0)
    assert suspected is not None
    assert suspected.at_s == 60.5 + IDLE_S


def test_idle_time_is_not_standing_still() -> None:
    found, suspected = seconds(first(BUSY, LIMITS), Look(0.0, 0.0, steps=100), 0.0, 50.0)
    assert suspected is None
    _, suspected = seconds(found, BUSY, 50.0, 50.0 + STILL_S - STEP_S)
    assert suspected is None


def test_an_engine_without_steps_and_without_a_free_slot_is_left_alone_for_long() -> None:
    slots = replace(LIMITS, slots=2)
    full = Look(0.0, 0.0, use=EngineUse(in_flight=2))
    _, suspected = seconds(first(full, slots), full, 0.0, 100.0, slots)
    assert suspected is None
    _, suspected = seconds(first(full, slots), replace(full, use=NO_PROMPT), 0.0, 100.0, slots)
    assert suspected is not None
    assert suspected.at_s == STILL_S


def learned(stalls: list[tuple[int, float]]) -> float:
    """The rate after lone prompts of so many tokens that stood still for so long and then made a step."""
    found, now_s, steps = first(BUSY, LIMITS), 0.0, 100
    for tokens, stood_s in stalls:
        idle = Look(now_s, now_s, steps=steps)
        waits = replace(idle, use=prompt(tokens))
        moved = replace(waits, now_s=now_s + stood_s, heard_s=now_s + stood_s, steps=steps + 1)
        for look in (idle, waits, moved):
            found = beat(found, look, LIMITS)
        now_s, steps = now_s + stood_s + 1.0, steps + 1
    return found.tokens_per_s


def test_a_slow_engine_is_believed_at_once_and_a_fast_one_little_by_little() -> None:
    assert learned([(1000, 10.0)]) == 50.0
    once, often = learned([(8000, 2.0)]), learned([(8000, 2.0)] * 50)
    assert 100.0 < once < 140.0
    assert 380.0 < often <= 400.0


def test_short_prompts_and_short_stalls_teach_nothing() -> None:
    assert learned([(100, 5.0), (5000, 0.5)]) == LIMITS.tokens_per_s


LOOKS = any_of.lists(
    any_of.tuples(
        any_of.floats(min_value=0.01, max_value=20.0),
        any_of.booleans(),
        any_of.integers(min_value=0, max_value=9000),
        any_of.integers(min_value=0, max_value=5),
    ),
    min_size=1,
    max_size=60,
)


@given(LOOKS)
def test_there_is_no_verdict_while_steps_move(looks: list[tuple[float, bool, int, int]]) -> None:
    found, now_s, steps = first(BUSY, LIMITS), 0.0, 100
    for wait_s, is_working, tokens, many in looks:
        suspected = suspicion(found, LIMITS)
        now_s, steps = now_s + wait_s, steps + 1
        use = EngineUse(in_flight=many, unstarted=many, longest_prompt_tokens=tokens if many else 0)
        found = beat(found, Look(now_s, now_s, steps, many, use, is_working=is_working), LIMITS)
        assert suspected is None or not is_hung(suspected, found)
        assert suspicion(found, LIMITS) is None


@given(
    any_of.lists(any_of.floats(min_value=0.05, max_value=1.5), min_size=400, max_size=400),
    any_of.integers(min_value=0, max_value=8000),
    any_of.integers(min_value=1, max_value=40),
    any_of.floats(min_value=0.0, max_value=10_000.0),
)
def test_one_that_stands_still_is_always_found_within_ten_seconds_and_its_allowance(
    waits_s: list[float], tokens: int, many: int, starts_s: float
) -> None:
    """Whatever the rhythm of the looks, up to a second and a half; the canary never comes back."""
    use = prompt(tokens, many)
    look = Look(starts_s, starts_s, 100, many, use)
    found = beat(first(look, LIMITS), look, LIMITS)
    now_s, suspected = starts_s, None
    for wait_s in waits_s:
        now_s += wait_s
        found = beat(found, replace(look, now_s=now_s, heard_s=now_s), LIMITS)
        if suspected := suspicion(found, LIMITS):
            break
    assert suspected is not None
    ends_s = suspected.at_s + suspected.canary_s
    found = beat(found, replace(look, now_s=ends_s, heard_s=ends_s), LIMITS)
    assert is_hung(suspected, found)
    assert ends_s - starts_s <= 10.0 + allowance_s(found, LIMITS)


@given(any_of.integers(min_value=1, max_value=8192), any_of.floats(min_value=0.3, max_value=1.0))
def test_a_prefill_as_slow_as_allowed_survives(tokens: int, share: float) -> None:
    """It takes up to all that the cautious rate allows; the canary comes right after its token."""
    ends_s = share * tokens / LIMITS.tokens_per_s
    look = replace(BUSY, use=prompt(tokens))
    found, suspected = seconds(first(BUSY, LIMITS), look, 0.0, ends_s)
    if suspected:
        assert suspected.at_s + suspected.canary_s >= ends_s + CANARY_S / 2
        moved = replace(look, now_s=ends_s, heard_s=ends_s, steps=101)
        assert ends_s <= suspected.at_s or not is_hung(suspected, beat(found, moved, LIMITS))
