"""What a Fleet tells of a wait: each term alone, and what is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.routing.fleet import InFlight, Pace, Target
from router.routing.forecast import Forecast, Need, forecast, is_timely
from tests.specimens import LOCAL, ask, busy, load, local

SMALL = Need(prompt_tokens=0, answer_tokens=10)


def waiting(seconds: float) -> Target:
    """A target whose forecast is exactly this."""
    return busy(oldest_sent_at_s=-seconds)


@pytest.mark.parametrize(
    ("target", "need", "expected"),
    [
        pytest.param(LOCAL, SMALL, Forecast(0.0, "spill:ttft"), id="an idle engine serves at once"),
        pytest.param(LOCAL, replace(SMALL, prompt_tokens=8000), Forecast(2.0, "spill:ttft"), id="its own prompt"),
        pytest.param(busy(unstarted_tokens=4000), SMALL, Forecast(1.0, "spill:ttft"), id="the prompts before it"),
        pytest.param(
            local(pace=Pace(prefill_tokens_per_s=100.0)),
            replace(SMALL, prompt_tokens=800),
            Forecast(8.0, "spill:ttft"),
            id="a slow engine",
        ),
        pytest.param(busy(promised_tokens=9990), SMALL, Forecast(0.0, "spill:ttft"), id="the last room is room"),
        pytest.param(busy(promised_tokens=13_990), SMALL, Forecast(2.0, "spill:kv"), id="room that must be freed"),
        pytest.param(
            local(load=load(kv_used_fraction=1.0)),
            replace(SMALL, answer_tokens=2000),
            Forecast(1.0, "spill:kv"),
            id="room that others hold",
        ),
        pytest.param(
            replace(busy(promised_tokens=13_990), pace=Pace(freed_tokens_per_s=400)),
            SMALL,
            Forecast(10.0, "spill:kv"),
            id="room that is freed slowly",
        ),
        pytest.param(waiting(3.0), SMALL, Forecast(3.0, "spill:queue"), id="the head of the queue"),
        pytest.param(
            busy(unstarted_tokens=4000, oldest_sent_at_s=-3.0),
            SMALL,
            Forecast(3.0, "spill:queue"),
            id="the largest term counts",
        ),
        pytest.param(
            local(load=None, in_flight=InFlight(promised_tokens=10**9)),
            SMALL,
            Forecast(0.0, "spill:ttft"),
            id="no capacity is known and none is missed",
        ),
    ],
)
def test_the_wait_is_the_largest_of_the_terms(target: Target, need: Need, expected: Forecast) -> None:
    found = forecast(target, need)
    assert found.cause == expected.cause
    assert found.ttft_s == pytest.approx(expected.ttft_s)


def test_old_news_count_as_full_and_never_as_idle() -> None:
    assert forecast(local(stale=True), SMALL).ttft_s == float("inf")
    assert forecast(local(stale=True), SMALL).cause == "spill:queue"


@given(
    target=st.builds(
        local,
        load=st.none() | st.builds(load, kv_used_fraction=st.floats(0, 1), kv_capacity_tokens=st.integers(0, 10**6)),
        in_flight=st.builds(InFlight, promised_tokens=st.integers(0, 10**9), unstarted_tokens=st.integers(0, 10**9)),
        stale=st.booleans(),
    ),
    more=st.integers(0, 10**6),
)
def test_more_work_never_makes_the_wait_shorter(target: Target, more: int) -> None:
    # An engine may report no capacity at all: that too has an answer.
    before = forecast(target, SMALL).ttft_s
    assert before >= 0
    flying = target.in_flight
    fuller = InFlight(promised_tokens=flying.promised_tokens + more, unstarted_tokens=flying.unstarted_tokens + more)
    assert forecast(replace(target, in_flight=fuller), SMALL).ttft_s >= before


@pytest.mark.parametrize(
    ("requests", "wait_s"), [(0, 0.0), (3, 0.0), (4, 2.0), (7, 8.0)], ids=["idle", "a free slot", "full", "a queue"]
)
def test_whoever_finds_no_slot_free_waits_for_those_before_it(requests: int, wait_s: float) -> None:
    target = replace(
        busy(requests=requests), slots=4, pace=Pace(answer_tokens=240.0, stream_tokens_per_s=30.0), load=None
    )
    assert forecast(target, SMALL) == Forecast(wait_s, "spill:queue" if wait_s else "spill:ttft")


def test_an_engine_without_slots_has_no_queue_before_its_memory_is_full() -> None:
    assert forecast(busy(requests=1000), SMALL).ttft_s == 0.0


def test_an_engine_that_is_slowed_down_takes_longer_for_everything() -> None:
    prompt = replace(SMALL, prompt_tokens=4000)
    assert forecast(local(weight=0.5), prompt).ttft_s == 2 * forecast(LOCAL, prompt).ttft_s
    held = busy(promised_tokens=12_000)
    assert forecast(replace(held, weight=0.5), SMALL).ttft_s == pytest.approx(2 * forecast(held, SMALL).ttft_s)
    slots = replace(busy(requests=5), slots=1)
    assert forecast(replace(slots, weight=0.5), SMALL).ttft_s == pytest.approx(2 * forecast(slots, SMALL).ttft_s)


@pytest.mark.parametrize(("wait_s", "timely"), [(1.99, True), (2.0, True), (2.01, False)])
def test_who_is_timely_is_expected_within_the_promise(wait_s: float, timely: bool) -> None:
    assert is_timely(ask(), waiting(wait_s), 2.0, now_s=0.0) is timely
