"""Carry out Decisions until one succeeds: a request that nobody can serve now waits for an engine that will be there.

A round is a Decision with its attempts; between two rounds lies a wait for news. It waits for an engine that starts,
sleeps or is being started again, and for one that has just died under its hands, which the supervisor may not have seen
yet: never longer than [limits] max_wait_s in all, nor beyond its own deadline. Where nobody else is left, it stands in
line for a cloud whose provider's limits are reached, or a target whose failure may pass is tried once more after a
short pause.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from router.ask import Ask
from router.attempts import open_first
from router.course import Course
from router.errand import in_task
from router.errors import ApiError, TargetUnavailable
from router.failure import LATE, LIMITED, Failure
from router.health.breaker import DEATHS
from router.health.retries import pause_s
from router.health.triggers import trigger_of
from router.quotas.quotas import QUOTA
from router.routing.fleet import Place, Target
from router.routing.gate import Decision, without
from router.served import Doors, Served
from router.ticket import settled
from router.wants import Arrival

# A request that an engine had when it died may be what killed it: it is sent home once more, and then no more.
MOST_DEATHS = 2
# Before the next try after one that failed, however well the target does for others.
SHORTEST_PAUSE_S = 0.25
# A target that failed is asked twice where there is no other; not if it wants a longer pause, which the client hears.
MOST_TRIES = 2
LONGEST_RETRY_AFTER_S = 2.0
# What a cloud that has no room now is refused for: by our count of its limits, and by its own.
NO_ROOM = frozenset({QUOTA, LIMITED})
# Where a provider refuses whom our count lets in, it is asked no more often than this.
MOST_LINES = 5
# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD
HERE = f"{LOCAL}/"


async def carried_out(doors: Doors, ask: Ask, course: Course, arrived_s: float) -> Served:
    """The first target that yields a first token, at once or after a wait. Raises ApiError when none does."""
    if _is_just_dead(course.decision):
        # Whoever takes its port before the supervisor has seen its end is a stranger.
        await _somebody(doors, ask, course, arrived_s, 0.0)
    while True:
        failed_before = len(course.failures)
        try:
            return await _round(doors, ask, course, arrived_s)
        except ApiError as error:
            failed = course.failures[failed_before:]
            if not _may_wait(course, failed):
                if _may_stand_in_line(doors, ask, course, failed, arrived_s):
                    continue
                if await _may_try_again(doors, ask, course, failed, arrived_s):
                    continue
                raise _told(error, course) from error
            # Who was turned away at a gate would be so again at once.
            pause_s = SHORTEST_PAUSE_S if failed or course.ticket is not None else 0.0
            if not await _somebody(doors, ask, course, arrived_s, pause_s):
                raise _told(course.decision.refusal or error, course) from error


async def _round(doors: Doors, ask: Ask, course: Course, arrived_s: float) -> Served:
    decision = course.decision
    if decision.prefers_it and decision.targets and decision.asleep is not None:
        doors.line.want(decision.asleep)
    await _let_in(doors, ask, course, arrived_s)
    if course.decision.refusal is not None:
        raise course.decision.refusal
    try:
        return await open_first(doors, ask, course, arrived_s)
    finally:
        if course.ticket is not None:
            doors.watch.pools.withdraw(course.ticket, time.monotonic())


async def _let_in(doors: Doors, ask: Ask, course: Course, arrived_s: float) -> None:
    """Before engines it is decided which of them takes it, after a wait if need be, or that it goes elsewhere."""
    while (gate := course.decision.gate) is not None:
        now_s = time.monotonic()
        arrival = Arrival(ask, gate, arrived_s, now_s, course.queued_s)
        ticket = await doors.basin.place(arrival, again=course.ticket is not None)
        course.ticket = ticket
        course.queued_s += time.monotonic() - now_s
        if ticket.placed is not None:
            course.decision = settled(course.decision, ticket, time.monotonic())
        else:
            course.decision = _decided(doors, ask, course, arrived_s, time.monotonic())


def _is_just_dead(decision: Decision) -> bool:
    """Whether there are only engines that have died under others' hands a moment ago, and may be back soon."""
    return (
        decision.can_wait and bool(decision.targets) and all(each.health.cause in DEATHS for each in decision.targets)
    )


def _may_wait(course: Course, failed: Sequence[Failure]) -> bool:
    """Whether there may yet be somebody: nobody was there, or an engine died, or clouds could not help."""
    if not course.decision.can_wait:
        return False
    if not failed:
        return True
    gone = [each for each in failed if isinstance(each, TargetUnavailable)]
    if not any(_is_death(each) for each in gone):
        return all(isinstance(each, TargetUnavailable) and _is_no_help(each) for each in failed)
    deaths = [each for each in course.failures if isinstance(each, TargetUnavailable) and _is_death(each)]
    return sum(each.was_reached for each in deaths) < MOST_DEATHS


def _is_no_help(failure: TargetUnavailable) -> bool:
    """Whether it is a cloud that failed or is full, in time."""
    return not failure.target.startswith(HERE) and failure.cause not in LATE


def _is_death(failure: TargetUnavailable) -> bool:
    """Whether it is an engine that gave no answer at all. One that is full, or slow, or that refuses, lives."""
    lives = failure.saturated or failure.cause in LATE or not trigger_of(failure.cause).hurts
    return failure.target.startswith(HERE) and not lives


def _may_stand_in_line(doors: Doors, ask: Ask, course: Course, failed: Sequence[Failure], arrived_s: float) -> bool:
    """Whether there are clouds where it gets its turn in time. They stand in the course's decision then, and what our
    count alone refused has not failed."""
    gone = [each for each in failed if isinstance(each, TargetUnavailable)]
    away = [each for each in gone if not each.target.startswith(HERE)]
    full = {each.target: each.retry_after_s or 0.0 for each in away if each.cause in NO_ROOM}
    if not full or ask.shadow_of is not None or course.lines >= MOST_LINES or doors.lobby.is_closed:
        return False
    now_s = time.monotonic()
    most_s = doors.watch.rules.limits.max_wait_s - (now_s - arrived_s)
    left_s = min(_patience_s(doors, ask, course, arrived_s, now_s), most_s)
    decision = _decided(doors, ask, course, arrived_s, now_s, frozenset(full))
    # What it was told there is newer than what the Fleet shows, and holds for this very request.
    targets = [_not_before(each, full[each.name]) for each in decision.targets if each.name in full]
    targets = [each for each in targets if each.room.ready_in_s <= left_s]
    if not targets:
        return False
    course.lines += 1
    course.failures[:] = [each for each in course.failures if not _is_ours(each)]
    course.decision = structs.replace(decision, targets=tuple(targets), gate=None)
    return True


def _not_before(target: Target, ready_in_s: float) -> Target:
    """The target, with no room before that."""
    if target.room.ready_in_s >= ready_in_s:
        return target
    return structs.replace(target, room=structs.replace(target.room, ready_in_s=ready_in_s))


def _is_ours(failure: Failure) -> bool:
    """Whether the target never heard of it, because our count of its provider's limits left no room."""
    return isinstance(failure, TargetUnavailable) and failure.cause == QUOTA


async def _may_try_again(doors: Doors, ask: Ask, course: Course, failed: Sequence[Failure], arrived_s: float) -> bool:
    """Whether there are targets whose failure may pass, which are tried once more after a pause. They stand in the
    course's decision then."""
    tries = Counter(failure.target for failure in course.failures)
    passing = {
        failure.target: failure.retry_after_s or 0.0
        for failure in failed
        if isinstance(failure, TargetUnavailable)
        and trigger_of(failure.cause).passes
        and tries[failure.target] < MOST_TRIES
        and (failure.retry_after_s or 0.0) <= LONGEST_RETRY_AFTER_S
    }
    if not passing or ask.shadow_of is not None:
        return False
    now_s = time.monotonic()
    pause = pause_s(1, min(passing.values()), random.random())
    if pause > _patience_s(doors, ask, course, arrived_s, now_s) or doors.watch.retries.wait_s(now_s) > 0:
        return False
    await in_task(asyncio.sleep(pause))
    decision = _decided(doors, ask, course, arrived_s, time.monotonic(), frozenset(passing))
    left = tuple([each for each in decision.targets if each.name in passing])
    course.decision = structs.replace(decision, targets=left, gate=None)
    return bool(left)


async def _somebody(doors: Doors, ask: Ask, course: Course, arrived_s: float, pause_s: float) -> bool:
    """Wait until there is somebody to ask, who then stands in the course's decision. False if nobody will come, or not
    in time."""
    began_s = now_s = time.monotonic()
    until_s = now_s + _patience_s(doors, ask, course, arrived_s, now_s)
    try:
        while True:
            course.decision = _decided(doors, ask, course, arrived_s, now_s)
            wait_s = max(_wait_s(doors, course.decision, now_s), began_s + pause_s - now_s)
            if wait_s <= 0:
                return True
            if not course.decision.can_wait or now_s >= until_s or doors.lobby.is_closed:
                return False
            asleep = course.decision.asleep
            if asleep is not None:
                doors.line.tell(asleep)
            await doors.lobby.news(min(wait_s, until_s - now_s), asleep)
            now_s = time.monotonic()
    finally:
        course.waited_s += time.monotonic() - began_s


def _patience_s(doors: Doors, ask: Ask, course: Course, arrived_s: float, now_s: float) -> float:
    """How much longer it may wait."""
    limits = doors.watch.rules.limits
    whole_s = min(limits.whole_answer_s, limits.whole_answer_s if ask.deadline_s is None else ask.deadline_s)
    return min(limits.max_wait_s - course.waited_s, arrived_s + whole_s - now_s)


def _decided(
    doors: Doors, ask: Ask, course: Course, arrived_s: float, now_s: float, again: frozenset[str] = frozenset()
) -> Decision:
    """As things are now. A cloud that failed is not asked again, but for those named. Nobody is there for a tier that
    an edit has taken away meanwhile."""
    if ask.tier not in doors.watch.rules.tiers:
        gone = ApiError(503, "no_target", f"the tier {ask.tier!r} is not in stack.toml any more; ask again")
        return structs.replace(course.decision, targets=(), gate=None, can_wait=False, refusal=gone)
    if ask.deadline_s is not None:
        ask = structs.replace(ask, deadline_s=max(0.0, arrived_s + ask.deadline_s - now_s))
    decision = doors.watch.decide(ask, doors.money(ask.tier), now_s)
    failed = {failure.target for failure in course.failures if not _is_ours(failure)} - again
    return without(decision, failed)


def _wait_s(doors: Doors, decision: Decision, now_s: float) -> float:
    """How long until the first of the targets may be asked: 0 if now, infinite if there is none."""
    return min([_rest_s(doors, each, now_s) for each in decision.targets], default=float("inf"))


def _rest_s(doors: Doors, target: Target, now_s: float) -> float:
    """A cloud is asked though it failed of late, as the last resort, but not before its limits have room; an engine
    that has just died is given its time."""
    return target.room.ready_in_s if target.place is CLOUD else doors.watch.shut_s(target, now_s)


def _told(error: ApiError, course: Course) -> ApiError:
    if not course.waited_s:
        return error
    return replace(error, message=f"{error.message}; after {course.waited_s:.1f} s of waiting for it")
