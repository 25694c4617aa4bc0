"""The spill rule: each term alone, the border with its hysteresis, and what is unknown."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.ask import Ask
from router.routing.fleet import InFlight, Pace, Target
from router.routing.spill import Forecast, Need, forecast, late, tokens_of
from router.routing.spill import judge as judged
from tests.specimens import ASKS, CLOUDS, LOCAL, LOCALS, busy, load, local

SMALL = Need(prompt_tokens=0, answer_tokens=10, ttft_target_s=2.0)


def judge(target: Target, need: Need, spilling: bool) -> str | None:
    return judged(target, need, forecast(target, need), spilling)


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
    assert judge(local(stale=True), SMALL, False) == "spill:queue"


@pytest.mark.parametrize(
    ("wait_s", "spilling", "cause"),
    [
        pytest.param(1.99, False, None, id="under the promise it stays"),
        pytest.param(2.0, False, None, id="at the promise it stays"),
        pytest.param(2.01, False, "spill:queue", id="over the promise it spills"),
        pytest.param(1.5, True, "spill:queue", id="just under the promise it goes on spilling"),
        pytest.param(1.01, True, "spill:queue", id="over half of the promise it goes on spilling"),
        pytest.param(1.0, True, None, id="at half of the promise it comes back"),
    ],
)
def test_spilling_starts_at_the_promise_and_ends_at_half_of_it(
    wait_s: float, spilling: bool, cause: str | None
) -> None:
    assert judge(waiting(wait_s), SMALL, spilling) == cause


@pytest.mark.parametrize(
    ("used", "queued", "spilling", "cause"),
    [
        pytest.param(0.96, 1, False, "spill:kv", id="full and a queue: spill"),
        pytest.param(0.96, 0, False, None, id="full and no queue: good use"),
        pytest.param(0.94, 9, False, None, id="a queue and room: it will move"),
        pytest.param(0.81, 0, True, "spill:kv", id="while spilling it goes on until there is real room"),
        pytest.param(0.80, 9, True, None, id="real room ends it"),
    ],
)
def test_kv_use_as_the_engine_reports_it(used: float, queued: int, spilling: bool, cause: str | None) -> None:
    assert judge(local(load=load(kv_used_fraction=used, waiting=queued)), SMALL, spilling) == cause


@pytest.mark.parametrize(
    ("deadline_s", "cause"),
    [
        pytest.param(3.0, "spill:deadline", id="too late"),
        pytest.param(3.5, None, id="in time"),
        pytest.param(None, None, id="no deadline"),
    ],
)
def test_a_deadline_holds_for_the_whole_answer(deadline_s: float | None, cause: str | None) -> None:
    # One second of waiting, seventy tokens at thirty a second.
    need = replace(SMALL, answer_tokens=70, deadline_s=deadline_s)
    assert judge(waiting(1.0), need, False) == cause


@given(st.lists(st.floats(1.01, 2.0)), st.booleans())
def test_between_the_two_borders_nothing_changes(waits: list[float], spilling: bool) -> None:
    for wait_s in waits:
        assert (judge(waiting(wait_s), SMALL, spilling) is not None) is spilling


@given(st.lists(st.floats(1.5, 2.5), min_size=1))
def test_a_load_that_wobbles_around_the_promise_changes_the_route_once(waits: list[float]) -> None:
    state, changes = False, 0
    for wait_s in waits:
        after = judge(waiting(wait_s), SMALL, state) is not None
        changes += after is not state
        state = after
    assert changes == (max(waits) > 2.0)


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
    hurried = replace(SMALL, answer_tokens=60, deadline_s=3.0)
    assert judge(LOCAL, hurried, False) is None
    assert judge(local(weight=0.5), hurried, False) == "spill:deadline"


@given(
    asked=ASKS,
    target=LOCALS | CLOUDS,
    slots=st.none() | st.integers(1, 8),
    promise_s=st.sampled_from([0.01, 2.0, 60.0]),
)
def test_who_is_late_is_whose_forecast_is_longer_than_the_promise(
    asked: Ask, target: Target, slots: int | None, promise_s: float
) -> None:
    several = [replace(target, slots=slots), LOCAL, busy(oldest_sent_at_s=-100.0)]
    waits = [forecast(each, Need(*tokens_of(asked, each), promise_s)).ttft_s for each in several]
    assume(not any(wait_s == pytest.approx(promise_s) for wait_s in waits))
    assert late(asked, several, promise_s) == [wait_s > promise_s for wait_s in waits]
