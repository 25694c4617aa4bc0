"""Which steps an engine may take in its life, and how long to wait before the next try.

Pure tables and arithmetic. Knows no process, no clock and no engine; the supervisor carries out what it says.
"""

from __future__ import annotations

from enum import StrEnum

from engines.snapshot import EngineState

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
STABLE_S = 120.0


class Event(StrEnum):
    """What happens to an engine. EXIT is any end of its process, whatever the exit code says."""

    LAUNCH = "launch"
    LOAD = "load"
    WARM = "warm"
    SERVE = "serve"
    STOP = "stop"
    EXIT = "exit"


class IllegalStepError(RuntimeError):
    """An event that cannot happen in this state: a fault of ours, never of an engine."""


# An engine may skip phases (a cached model warms at once) but never goes back to an earlier one without an EXIT.
# Repeating a phase is no step: callers ask `is_step` before they apply what a log line says.
STEPS: dict[EngineState, dict[Event, EngineState]] = {
    EngineState.PLANNED: {Event.LAUNCH: EngineState.LAUNCHING, Event.STOP: EngineState.STOPPED},
    EngineState.LAUNCHING: {
        Event.LOAD: EngineState.LOADING,
        Event.WARM: EngineState.WARMING,
        Event.SERVE: EngineState.READY,
        Event.STOP: EngineState.DRAINING,
        Event.EXIT: EngineState.FAILED,
    },
    EngineState.LOADING: {
        Event.WARM: EngineState.WARMING,
        Event.SERVE: EngineState.READY,
        Event.STOP: EngineState.DRAINING,
        Event.EXIT: EngineState.FAILED,
    },
    EngineState.WARMING: {
        Event.SERVE: EngineState.READY,
        Event.STOP: EngineState.DRAINING,
        Event.EXIT: EngineState.FAILED,
    },
    EngineState.READY: {Event.STOP: EngineState.DRAINING, Event.EXIT: EngineState.FAILED},
    EngineState.DRAINING: {Event.EXIT: EngineState.STOPPED},
    EngineState.FAILED: {Event.LAUNCH: EngineState.LAUNCHING, Event.STOP: EngineState.STOPPED},
    EngineState.STOPPED: {Event.LAUNCH: EngineState.LAUNCHING},
}


def step(state: EngineState, event: Event) -> EngineState:
    """The state after `event`. Raises IllegalStepError for a pair that is not in the table."""
    try:
        return STEPS[state][event]
    except KeyError:
        raise IllegalStepError(f"an engine that is {state} cannot {event}") from None


def is_step(state: EngineState, event: Event) -> bool:
    """Whether `event` can happen in `state`."""
    return event in STEPS[state]


def wait_s(failures: int) -> float:
    """How long to wait after the nth failure in a row: 1, 2, 4 ... 60 seconds."""
    if failures < 1:
        return 0.0
    # The exponent is capped because a stack may fail for weeks and 2.0**1100 overflows.
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 10))


def failures_after(failures: int, ready_for_s: float) -> int:
    """Failures in a row after one more end; an engine that served long enough starts counting anew."""
    return 1 if ready_for_s >= STABLE_S else failures + 1
