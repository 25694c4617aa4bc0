"""Which steps an engine may take in its life, and how long to wait before the next try.

Pure: a table, a value and arithmetic, with the clock passed in. Knows no process and no engine; the supervisor carries
out what it says. `python -m engines.life.lifecycle` prints the table as the diagram that stands in the README.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from engines.snapshot import EngineState

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
STABLE_S = 120.0


class Event(StrEnum):
    """What happens to an engine. EXIT is any end of its process, whatever the exit code says."""

    FETCH = "fetch"
    LAUNCH = "launch"
    ADOPT = "adopt"
    LOAD = "load"
    WARM = "warm"
    SERVE = "serve"
    REST = "rest"
    SLEEP = "sleep"
    WAKE = "wake"
    STOP = "stop"
    EXIT = "exit"
    GIVE_UP = "give up"
    MEND = "mend"


class IllegalStepError(RuntimeError):
    """An event that cannot happen in this state: a fault of ours, never of an engine."""


_S, _E = EngineState, Event
# An engine may skip phases (a cached model warms at once) but never goes back to an earlier one without an EXIT; one
# that sleeps has a process, or none. Repeating a phase is no step: callers ask `is_step` before they apply what a log
# line says.
STEPS: dict[EngineState, dict[Event, EngineState]] = {
    _S.PLANNED: {
        _E.FETCH: _S.DOWNLOADING,
        _E.LAUNCH: _S.LAUNCHING,
        _E.ADOPT: _S.WARMING,
        _E.SLEEP: _S.SLEEPING,
        _E.GIVE_UP: _S.QUARANTINED,
        _E.STOP: _S.STOPPED,
    },
    _S.DOWNLOADING: {
        _E.LAUNCH: _S.LAUNCHING,
        _E.LOAD: _S.LOADING,
        _E.WARM: _S.WARMING,
        _E.EXIT: _S.FAILED,
        _E.STOP: _S.DRAINING,
    },
    _S.LAUNCHING: {
        _E.FETCH: _S.DOWNLOADING,
        _E.LOAD: _S.LOADING,
        _E.WARM: _S.WARMING,
        _E.SERVE: _S.READY,
        _E.STOP: _S.DRAINING,
        _E.EXIT: _S.FAILED,
    },
    _S.LOADING: {_E.WARM: _S.WARMING, _E.SERVE: _S.READY, _E.STOP: _S.DRAINING, _E.EXIT: _S.FAILED},
    _S.WARMING: {_E.SERVE: _S.READY, _E.SLEEP: _S.SLEEPING, _E.STOP: _S.DRAINING, _E.EXIT: _S.FAILED},
    _S.READY: {_E.REST: _S.DRAINING, _E.STOP: _S.DRAINING, _E.EXIT: _S.FAILED},
    _S.DRAINING: {
        _E.SERVE: _S.READY,
        _E.SLEEP: _S.SLEEPING,
        _E.GIVE_UP: _S.QUARANTINED,
        _E.EXIT: _S.STOPPED,
    },
    _S.SLEEPING: {
        _E.WAKE: _S.WARMING,
        _E.FETCH: _S.DOWNLOADING,
        _E.LAUNCH: _S.LAUNCHING,
        _E.STOP: _S.DRAINING,
        _E.EXIT: _S.FAILED,
        _E.GIVE_UP: _S.QUARANTINED,
    },
    _S.FAILED: {
        _E.FETCH: _S.DOWNLOADING,
        _E.LAUNCH: _S.LAUNCHING,
        _E.SLEEP: _S.SLEEPING,
        _E.GIVE_UP: _S.QUARANTINED,
        _E.STOP: _S.STOPPED,
    },
    _S.QUARANTINED: {_E.MEND: _S.PLANNED, _E.STOP: _S.STOPPED},
    _S.STOPPED: {_E.MEND: _S.PLANNED},
}
MEANS = {
    _S.PLANNED: "not started yet",
    _S.DOWNLOADING: "files are fetched and checked",
    _S.LAUNCHING: "waits for its GPUs, then its process starts",
    _S.LOADING: "reads weights",
    _S.WARMING: "has them; profiles, compiles, checks that it answers",
    _S.READY: "made a token; gets requests",
    _S.DRAINING: "gets no new requests, finishes those it has",
    _S.SLEEPING: "gave its memory to others; comes back on demand",
    _S.FAILED: "ended unasked; tried again after a wait",
    _S.QUARANTINED: "not tried again until something changes",
    _S.STOPPED: "ended as asked",
}


@dataclass(frozen=True, slots=True)
class Life:
    """Where an engine is, since when (of a clock that only counts on), and how often it was launched.

    `failures` counts ends in a row that nobody asked for, `crashes` those soon after it was ready; one that has served
    for long enough starts counting anew.
    """

    state: EngineState = EngineState.PLANNED
    since_s: float = 0.0
    launches: int = 0
    failures: int = 0
    crashes: int = 0
    ready_at_s: float | None = None

    @property
    def restarts(self) -> int:
        return max(0, self.launches - 1)


def launched(life: Life) -> Life:
    """The life once a process runs: a launch that waits for its turn is none yet."""
    return replace(life, launches=life.launches + 1, ready_at_s=None)


def lived(life: Life, event: Event, now_s: float) -> Life:
    """The life after `event` at `now_s`. Raises IllegalStepError for a pair that is not in the table."""
    state = step(life.state, event)
    after = replace(life, state=state, since_s=now_s)
    if event is Event.SERVE:
        return replace(after, ready_at_s=now_s if life.ready_at_s is None else life.ready_at_s)
    if event is Event.MEND:
        return replace(after, failures=0, crashes=0)
    return _failed(after, now_s) if state is EngineState.FAILED else after


def _failed(life: Life, now_s: float) -> Life:
    ready_for_s = 0.0 if life.ready_at_s is None else now_s - life.ready_at_s
    failures = failures_after(life.failures, ready_for_s)
    if ready_for_s >= STABLE_S:
        return replace(life, failures=failures, crashes=0, ready_at_s=None)
    has_served = life.ready_at_s is not None
    return replace(life, failures=failures, crashes=life.crashes + has_served, ready_at_s=None)


def step(state: EngineState, event: Event) -> EngineState:
    """The state after `event`. Raises IllegalStepError for a pair that is not in the table."""
    try:
        return STEPS[state][event]
    except KeyError:
        raise IllegalStepError(f"an engine that is {state} cannot {event}") from None


def is_step(state: EngineState, event: Event) -> bool:
    """Whether `event` can happen in `state`."""
    return event in STEPS[state]


def way(state: EngineState, last: Event) -> tuple[Event, ...]:
    """The steps by which an engine without a process comes to where `last` leads it: an EXIT to its end, SLEEP, or
    GIVE_UP."""
    goal = STEPS[EngineState.DRAINING][last]
    if state is goal:
        return ()
    if state is EngineState.DRAINING or (last is not Event.EXIT and is_step(state, last)):
        return (last,)
    return (Event.STOP,) if step(state, Event.STOP) is goal else (Event.STOP, last)


def wait_s(failures: int) -> float:
    """How long to wait after the nth failure in a row: 1, 2, 4 ... 60 seconds."""
    if failures < 1:
        return 0.0
    # The exponent is capped because a stack may fail for weeks and 2.0**1100 overflows.
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 10))


def failures_after(failures: int, ready_for_s: float) -> int:
    """Failures in a row after one more end; an engine that served long enough starts counting anew."""
    return 1 if ready_for_s >= STABLE_S else failures + 1


def diagram() -> str:
    """The table as a Mermaid state diagram, which hosts of git repositories draw."""
    lines = ["stateDiagram-v2", "    [*] --> planned"]
    for state, steps in STEPS.items():
        ways: dict[EngineState, list[str]] = {}
        for event, after in steps.items():
            ways.setdefault(after, []).append(event)
        lines += [f"    {state} --> {after}: {', '.join(events)}" for after, events in ways.items()]
    return "\n".join([*lines, "    stopped --> [*]"])


def meanings() -> str:
    """What each state means, as a Markdown table."""
    return "\n".join(["| state | |", "|---|---|", *(f"| {state} | {means} |" for state, means in MEANS.items())])


if __name__ == "__main__":
    print(diagram(), meanings(), sep="\n\n")
