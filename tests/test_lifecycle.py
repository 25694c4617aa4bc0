"""The lifecycle table and the back-off, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as any_of

from engines.life.lifecycle import (
    LONGEST_WAIT_S,
    STABLE_S,
    STEPS,
    Event,
    IllegalStepError,
    failures_after,
    is_step,
    step,
    wait_s,
)
from engines.snapshot import EngineState


@pytest.mark.parametrize("state", list(EngineState))
def test_every_state_has_a_row_and_a_way_out(state: EngineState) -> None:
    assert STEPS[state]


@pytest.mark.parametrize("state", list(EngineState))
@pytest.mark.parametrize("event", list(Event))
def test_a_pair_outside_the_table_is_refused(state: EngineState, event: Event) -> None:
    if is_step(state, event):
        assert step(state, event) is not state
    else:
        with pytest.raises(IllegalStepError, match=f"{state} cannot {event}"):
            step(state, event)


@pytest.mark.parametrize("state", list(EngineState))
def test_every_living_state_can_be_stopped_and_ends_stopped(state: EngineState) -> None:
    if state is not EngineState.STOPPED:
        stopping = step(state, Event.STOP) if is_step(state, Event.STOP) else state
        assert EngineState.STOPPED in (stopping, STEPS[stopping].get(Event.EXIT))


def test_any_end_that_was_not_asked_for_is_a_failure() -> None:
    running = (EngineState.LAUNCHING, EngineState.LOADING, EngineState.WARMING, EngineState.READY)
    assert {step(state, Event.EXIT) for state in running} == {EngineState.FAILED}


def test_an_engine_never_goes_back_without_an_exit() -> None:
    order = [EngineState.PLANNED, EngineState.LAUNCHING, EngineState.LOADING, EngineState.WARMING, EngineState.READY]
    for earlier in order:
        forward = [state for event, state in STEPS[earlier].items() if state in order]
        assert all(order.index(state) > order.index(earlier) for state in forward)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10_000, 60)])
def test_waits_double_up_to_a_minute(failures: int, seconds: float) -> None:
    assert wait_s(failures) == seconds


@given(any_of.integers(min_value=0, max_value=10**9))
def test_waits_never_shrink_and_never_pass_the_cap(failures: int) -> None:
    assert wait_s(failures) <= wait_s(failures + 1) <= LONGEST_WAIT_S


@pytest.mark.parametrize(("ready_for_s", "failures"), [(0.0, 6), (STABLE_S - 1, 6), (STABLE_S, 1)])
def test_serving_for_long_forgets_old_failures(ready_for_s: float, failures: int) -> None:
    assert failures_after(5, ready_for_s) == failures
