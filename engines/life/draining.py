"""When an engine that is to end has finished what it serves. Pure: counts and a clock in, yes or no out."""

from __future__ import annotations

from dataclasses import dataclass

from engines.snapshot import EngineUse, Load


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: when it began, how long it may take, and the first Snapshot in which routers see it."""

    began_s: float
    limit_s: float
    sequence: int


def is_drained(drain: Drain, has_heard: bool, use: EngineUse, load: Load | None, now_s: float) -> bool:
    """Whether it may be told to end: every router knows that nothing more goes there (`has_heard`) and has nothing in
    flight, and the engine itself, if it tells, has nothing either; or its time is up.

    What the engine told before the drain began says nothing of a request that came in between.
    """
    if now_s - drain.began_s >= drain.limit_s:
        return True
    if not has_heard or use.in_flight:
        return False
    if load is None:
        return True
    return load.running + load.waiting == 0 and load.age_s <= now_s - drain.began_s
