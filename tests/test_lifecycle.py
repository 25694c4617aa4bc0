"""The lifecycle table, what a life counts, and the back-off, as tables."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as any_of

from engines.life.lifecycle import (
    LONGEST_WAIT_S,
    MEANS,
    STABLE_S,
    STEPS,
    Event,
    IllegalStepError,
    Life,
    diagram,
    failures_after,
    is_step,
    launched,
    lived,
    meanings,
    step,
    wait_s,
    way,
)
from engines.snapshot import EngineState

README = Path(__file__).parents[1] / "README.md"
RUNNING = (
    EngineState.DOWNLOADING,
    EngineState.LAUNCHING,
    EngineState.LOADING,
    EngineState.WARMING,
    EngineState.READY,
    EngineState.SLEEPING,
)
# An engine is without a process in any of these; the others have one, and come to one of these by its end.
WITHOUT_PROCESS = [state for state in EngineState if state not in (EngineState.STOPPED, EngineState.QUARANTINED)]


@pytest.mark.parametrize("state", list(EngineState))
def test_every_state_has_a_row_a_meaning_and_a_way_in(state: EngineState) -> None:
    assert STEPS[state]
    assert MEANS[state]
    ways_in = [earlier for earlier, steps in STEPS.items() if state in steps.values()]
    assert ways_in or state is EngineState.PLANNED


@pytest.mark.parametrize("event", list(Event))
def test_every_event_happens_somewhere(event: Event) -> None:
    assert any(event in steps for steps in STEPS.values())


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


@pytest.mark.parametrize("state", RUNNING)
def test_any_end_that_was_not_asked_for_is_a_failure(state: EngineState) -> None:
    assert step(state, Event.EXIT) is EngineState.FAILED


def test_only_one_that_is_ready_gets_requests_and_it_was_proved_before() -> None:
    before = {state for state, steps in STEPS.items() if EngineState.READY in steps.values()}
    assert {STEPS[state][Event.SERVE] for state in before} == {EngineState.READY}
    assert before == {EngineState.LAUNCHING, EngineState.LOADING, EngineState.WARMING, EngineState.DRAINING}


def test_an_engine_never_goes_back_without_an_exit() -> None:
    order = [EngineState.PLANNED, EngineState.LAUNCHING, EngineState.LOADING, EngineState.WARMING, EngineState.READY]
    for earlier in order:
        forward = [state for event, state in STEPS[earlier].items() if state in order]
        assert all(order.index(state) > order.index(earlier) for state in forward)


@pytest.mark.parametrize("last", [Event.EXIT, Event.SLEEP, Event.GIVE_UP])
@pytest.mark.parametrize("state", WITHOUT_PROCESS)
def test_an_engine_without_a_process_comes_to_rest_from_anywhere(state: EngineState, last: Event) -> None:
    found = state
    for event in way(state, last):
        found = step(found, event)
    goal = {Event.EXIT: EngineState.STOPPED, Event.SLEEP: EngineState.SLEEPING, Event.GIVE_UP: EngineState.QUARANTINED}
    assert found is goal[last]
    assert way(found, last) == ()


def test_what_is_in_quarantine_can_be_stopped_and_what_is_stopped_stays_so() -> None:
    assert way(EngineState.QUARANTINED, Event.EXIT) == (Event.STOP,)
    assert way(EngineState.STOPPED, Event.EXIT) == ()


def test_the_diagram_of_the_readme_is_that_of_the_table() -> None:
    assert diagram() in README.read_text()


def test_the_readme_says_what_each_state_means() -> None:
    assert meanings() in README.read_text()


def test_the_diagram_shows_every_state_and_every_step() -> None:
    drawn = re.findall(r"^    (\S+) --> (\S+): (.+)$", diagram(), re.MULTILINE)
    shown = {(state, event, after) for state, after, events in drawn for event in events.split(", ")}
    assert shown == {(state, event, after) for state, steps in STEPS.items() for event, after in steps.items()}
    assert {state for state, _, _ in shown} == set(EngineState)
    assert "[*] --> planned" in diagram()


def ended(life: Life, ready_for_s: float) -> Life:
    """One more run of an engine that ends by itself."""
    ready = lived(launched(replace(life, state=EngineState.LAUNCHING)), Event.SERVE, 100.0)
    return lived(ready, Event.EXIT, 100.0 + ready_for_s)


def test_a_life_counts_its_launches_and_since_when_it_is_where_it_is() -> None:
    life = launched(lived(Life(), Event.LAUNCH, 5.0))
    assert (life.state, life.since_s, life.restarts) == (EngineState.LAUNCHING, 5.0, 0)
    assert launched(life).restarts == 1


def test_an_engine_that_waited_for_its_turn_was_not_restarted() -> None:
    waited = lived(lived(Life(), Event.LAUNCH, 1.0), Event.EXIT, 2.0)
    assert (waited.state, waited.failures, waited.restarts) == (EngineState.FAILED, 1, 0)


def test_ends_soon_after_it_was_ready_are_counted_until_one_serves_for_long() -> None:
    life = ended(ended(Life(), 1.0), STABLE_S - 1)
    assert (life.failures, life.crashes) == (2, 2)
    assert (ended(life, STABLE_S).failures, ended(life, STABLE_S).crashes) == (1, 0)


def test_a_failed_start_is_no_crash_and_forgives_none() -> None:
    failed = lived(lived(ended(Life(), 1.0), Event.LAUNCH, 1.0), Event.EXIT, 2.0)
    assert (failed.failures, failed.crashes) == (2, 1)


def test_a_drain_that_is_called_off_does_not_make_it_young_again() -> None:
    ready = lived(replace(Life(), state=EngineState.LAUNCHING), Event.SERVE, 10.0)
    back = lived(lived(ready, Event.REST, 200.0), Event.SERVE, 201.0)
    assert (back.state, back.ready_at_s) == (EngineState.READY, 10.0)


def test_what_is_mended_starts_counting_anew() -> None:
    broken = replace(ended(ended(Life(), 1.0), 1.0), state=EngineState.QUARANTINED)
    mended = lived(broken, Event.MEND, 300.0)
    assert (mended.state, mended.failures, mended.crashes) == (EngineState.PLANNED, 0, 0)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10_000, 60)])
def test_waits_double_up_to_a_minute(failures: int, seconds: float) -> None:
    assert wait_s(failures) == seconds


@given(any_of.integers(min_value=0, max_value=10**9))
def test_waits_never_shrink_and_never_pass_the_cap(failures: int) -> None:
    assert wait_s(failures) <= wait_s(failures + 1) <= LONGEST_WAIT_S


@pytest.mark.parametrize(("ready_for_s", "failures"), [(0.0, 6), (STABLE_S - 1, 6), (STABLE_S, 1)])
def test_serving_for_long_forgets_old_failures(ready_for_s: float, failures: int) -> None:
    assert failures_after(5, ready_for_s) == failures
