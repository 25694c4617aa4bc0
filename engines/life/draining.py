"""When an engine that is to end has finished what it serves. Pure: counts and a clock in, yes or no out."""

from __future__ import annotations

from dataclasses import dataclass

from engines.snapshot import EngineUse, Load

STILL_S = 3.0


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: when it began, how long it may take, and the first Snapshot in which routers see it."""

    began_s: float
    limit_s: float
    sequence: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known now: whether every router that is connected has heard that Snapshot, what they have in flight, what
    the engine told, and for how long it has made no step."""

    has_heard: bool
    use: EngineUse
    load: Load | None
    still_s: float


def is_drained(drain: Drain, seen: Seen, now_s: float) -> bool:
    """Whether it may be told to end: every router knows that nothing more goes there and has nothing in flight, and the
    engine itself, if it tells, has nothing either; or the time is up.

    What the engine told before the drain began says nothing of a request that came in between. Its counts are those of
    its last step (vLLM 0.33, v1/metrics/loggers.py), so they say nothing either once it makes none.
    """
    if now_s - drain.began_s >= drain.limit_s:
        return True
    if not seen.has_heard or seen.use.in_flight:
        return False
    if seen.load is None or seen.still_s >= STILL_S:
        return True
    return seen.load.running + seen.load.waiting == 0 and seen.load.age_s <= now_s - drain.began_s
