"""Carry out a Decision: try its targets in order until one yields a first token, and settle what each try cost.

Before the first token the next target may be tried; after it never. Money is set aside before a cloud hears anything.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Coroutine
from typing import Any

from msgspec import structs

from router.abroad import answered, leave, wait_s
from router.ask import Ask
from router.course import Course
from router.errand import in_task
from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable
from router.failure import LEDGER, LEFT, Failure, cause_of, is_full, none_left, reason_after
from router.health.breaker import DEATHS
from router.health.ejection import SILENT_TIMES
from router.health.triggers import FILTERED, SPENT, UNFIT, next_at, trigger_of
from router.moves import BudgetSpent, LedgerError
from router.patience import LEAST_PROBE_S, Patience, patience_for, writing_s
from router.race import Race
from router.reply import Reply
from router.routing.fleet import Place, Target
from router.routing.gate import Decision
from router.routing.passing import BUDGET, reserved_usd
from router.served import Doors, Served, discard
from router.tables.limits import Limits
from router.ticket import again_s
from router.turn import Turn
from router.watch import Flight
from router.whole import misfit

# The end of the time that the whole of an answer may take.
OURS = frozenset({"whole_answer", "deadline"})
NEEDS_SCHEMA = "json_schema"
# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD


async def open_first(doors: Doors, ask: Ask, course: Course, arrived_s: float) -> Served:
    """The first target of the course's Decision that yields a first token; what failed, and what that cost, goes into
    the course. Raises ApiError when none does."""
    targets, failures = course.decision.targets, course.failures
    if not failures:
        doors.watch.retries.count()
    # The first whole answer that another target might better is the client's if none does.
    kept: Served | None = None
    at: int | None = 0 if targets else None
    try:
        while at is not None:
            served = await _tried(doors, ask, course, at, arrived_s)
            if served is not None:
                lack = _lack(ask, served)
                kept = _better(doors, course, kept, served, lack)
                if lack is None:
                    break
                failures.append(lack)
            at = next_at(targets, at, cause_of(failures[-1]))
    except BaseException:
        if kept is not None:
            _lose(doors, course, kept)
        raise
    if kept is None:
        raise none_left(ask, targets, failures)
    return structs.replace(kept, lost_usd=course.lost_usd) if course.lost_usd else kept


def _better(
    doors: Doors, course: Course, first: Served | None, second: Served, lack: TargetUnavailable | None
) -> Served:
    """Of two answers that one which lacks nothing, else that of whom the tier prefers."""
    if first is None:
        return second
    kept, lost = (second, first) if lack is None else (first, second)
    _lose(doors, course, lost)
    return kept


def _lose(doors: Doors, course: Course, served: Served) -> None:
    """An answer that nobody hears, and that is paid for."""
    course.lost_usd += discard(doors, served)


async def _tried(doors: Doors, ask: Ask, course: Course, at: int, arrived_s: float) -> Served | None:
    """None where the target failed, which then stands in the course."""
    try:
        return await _turn(doors, ask, course, at, arrived_s)
    except (TargetUnavailable, ContextExceeded, RequestRefused) as failure:
        course.failures.append(failure)
        return None


async def _turn(doors: Doors, ask: Ask, course: Course, at: int, arrived_s: float) -> Served:
    """One target's turn. Raises what `_try` does."""
    decision, failures = course.decision, course.failures
    target, reason = decision.targets[at], decision.reason
    if failures:
        reason = reason_after(failures[0])
        await _afford(doors, ask, target, failures[-1], arrived_s)
        _still_there(doors, target)
    turn = Turn(decision.targets, at, reason, len(failures) + 1)
    silent_s = math.inf if failures or course.ticket is None else again_s(course.ticket, target)
    if silent_s == math.inf:
        return await _try(doors, ask, course, turn, arrived_s)
    race = Race[Served](lambda served: _lose(doors, course, served))
    first = _try(doors, ask, course, turn, arrived_s)
    return await race.run(first, silent_s, lambda: _again(doors, ask, course, turn, arrived_s))


def _again(doors: Doors, ask: Ask, course: Course, turn: Turn, arrived_s: float) -> Coroutine[Any, Any, Served] | None:
    """The same call once more, as the cloud has been silent for long; None where second tries are spent."""
    retries = doors.watch.retries
    if retries.wait_s(time.monotonic()) > 0:
        return None
    retries.spend()
    doors.watch.pools.second_calls[turn.target.name] += 1
    again = structs.replace(turn, attempt=turn.attempt + 1, waits_for_leave=False)
    return _try(doors, ask, course, again, arrived_s)


def _lack(ask: Ask, served: Served) -> TargetUnavailable | None:
    """What another target might do better than this answer, where it is whole. Raises nothing: it is under way."""
    reading, body = served.reply.reading, served.reply.body
    if body is None:
        return None
    if reading.finish_reason == FILTERED:
        return TargetUnavailable(served.target.name, FILTERED, "its content filter withheld the answer")
    if NEEDS_SCHEMA not in ask.needs:
        return None
    try:
        wanted = ask.body.get("response_format")
    except ApiError:
        # What an engine could read and has answered.
        return None
    why = misfit(wanted, body)
    return None if why is None else TargetUnavailable(served.target.name, UNFIT, why)


async def _afford(doors: Doors, ask: Ask, target: Target, failure: Failure, arrived_s: float) -> None:
    """Wait until the budget of second tries has room for one more. Raises TargetUnavailable if that is too late."""
    if not _spends(failure):
        return
    retries, limits, now_s = doors.watch.retries, doors.watch.rules.limits, time.monotonic()
    until_s = now_s + min(patience_for(ask, limits, arrived_s, now_s).first_s, limits.max_wait_s)
    while (wait_s := retries.wait_s(now_s)) > 0:
        # Who waits together comes back apart.
        wait_s *= 1 + random.random() / 4
        if now_s + wait_s > until_s:
            message = f"{trigger_of(SPENT).words}, and no more may be"
            raise TargetUnavailable(target.name, SPENT, message, wait_s, was_reached=False)
        await in_task(asyncio.sleep(wait_s))
        now_s = time.monotonic()
    retries.spend()


def _spends(failure: Failure) -> bool:
    """Whether what follows is a second try; not where the target was full or never had the request, nor where many were
    under way when it failed, or an engine died: these are one failure, and nobody is sent there any more."""
    if isinstance(failure, TargetUnavailable):
        is_dead = failure.cause in DEATHS and failure.target.startswith(LOCAL)
        if is_dead or failure.is_old or not failure.was_reached or is_full(failure):
            return False
    return trigger_of(cause_of(failure)).spends


def _still_there(doors: Doors, target: Target) -> None:
    """The Decision is as old as the attempts before this one: an engine that drains by now must get nothing new."""
    if target.place is LOCAL and doors.watch.has_left(target):
        raise TargetUnavailable(target.name, "off", "it takes no more requests", was_reached=False)


async def _try(doors: Doors, ask: Ask, course: Course, turn: Turn, arrived_s: float) -> Served:
    target, sent_s = turn.target, time.monotonic()
    patience = patience_for(ask, doors.watch.rules.limits, arrived_s, sent_s)
    if patience.first_s <= 0:
        raise TargetUnavailable(target.name, patience.cause, "there is no time left", was_reached=False)
    permit = None
    if target.place is CLOUD:
        most_s = _turn_s(doors, course.decision, target, patience, sent_s - arrived_s) if turn.waits_for_leave else 0.0
        permit = await leave(doors, ask, target, most_s)
        sent_s = time.monotonic()
        patience = patience_for(ask, doors.watch.rules.limits, arrived_s, sent_s)
    patience = _shared(ask, turn, doors.watch.rules.limits, patience)
    flight = doors.watch.start(ask, target, sent_s, course.ticket)
    asked = False
    reply: Reply
    try:
        if permit is None:
            reply = await doors.upstream.open(ask, target, patience)
        else:
            await in_task(_set_aside(doors, ask, target, flight, patience))
            asked = True
            # What the disk took is the cloud's loss and not that of whoever comes after it.
            reply, permit = await answered(doors, ask, target, patience.after(time.monotonic() - sent_s), permit)
    except BaseException as error:
        course.lost_usd += _give_up(doors, flight, error, asked)
        if permit is not None and not asked:
            doors.quotas.give_back(permit, was_reached=False)
        raise
    now_s = time.monotonic()
    flight.reading = reply.reading
    doors.watch.first_token(flight, now_s)
    ttft_s = now_s - arrived_s if ask.stream else None
    return Served(ask, target, turn.reason, turn.attempt, reply, flight, ttft_s, permit)


def _turn_s(doors: Doors, decision: Decision, target: Target, patience: Patience, passed_s: float) -> float:
    """How long it may wait for its turn at a cloud whose provider's limits are reached."""
    limits, terms = doors.watch.rules.limits, decision.terms
    promise_s = terms.ttft_target_s if terms is not None else 0.0
    most_s = min(patience.whole_until_s - time.monotonic(), limits.max_wait_s - passed_s)
    if patience.cause == "deadline":
        most_s = min(most_s, patience.first_s)
    return wait_s(target, promise_s - passed_s, max(0.0, most_s))


def _shared(ask: Ask, turn: Turn, limits: Limits, patience: Patience) -> Patience:
    """What of the time this target may take, where another may serve after it.

    A whole answer gives no sign of life before its end. At a cloud, which nobody supervises, it has as long as a stream
    until its first token, and the time for writing it; and never all there is.
    """
    target = turn.target
    is_probe = target.health.cause is not None and (ask.stream or target.place is CLOUD)
    takes_all = target.place is CLOUD and patience.cause != "first_token"
    # Whether there is a next one is asked last: it must be ranked.
    if not (is_probe or takes_all) or turn.is_last:
        return patience
    most_s = limits.first_token_s
    if is_probe:
        # It is a client's request, which must not wait for ever to learn that nothing has changed.
        most_s = min(most_s, max(LEAST_PROBE_S, SILENT_TIMES * (target.pace.ttft_p50_s or 0.0)))
    if not ask.stream:
        most_s += writing_s(ask, target.pace)
    return patience.at_most(min(most_s, patience.first_s / 2) if takes_all else most_s)


async def _set_aside(doors: Doors, ask: Ask, target: Target, flight: Flight, patience: Patience) -> None:
    """The ledger looks once more: others may have set money aside since the decision."""
    usd, caps = reserved_usd(ask, target), doors.watch.rules.limits.caps
    try:
        async with asyncio.timeout(patience.first_s):
            await doors.ledger.reserve(flight.id, target.name, usd, caps)
    except TimeoutError as error:
        message = f"no money could be set aside within {patience.first_s:.3g} s"
        raise TargetUnavailable(target.name, patience.cause, message, was_reached=False) from error
    except BudgetSpent as error:
        message = f"the {error.period}'s budget is set aside for others"
        raise TargetUnavailable(target.name, BUDGET, message, saturated=True, was_reached=False) from error
    except LedgerError as error:
        message = f"no money can be set aside: {error.why}"
        raise TargetUnavailable(target.name, LEDGER, message, saturated=True, was_reached=False) from error


def _give_up(doors: Doors, flight: Flight, error: BaseException, asked: bool) -> float:
    """Take a failed try out of all counts. A refusal costs nothing; a cloud that we left may bill the prompt: the
    dollars."""
    now_s = time.monotonic()
    doors.watch.finish(flight, None, now_s)
    if asked and isinstance(error, asyncio.CancelledError):
        doors.watch.pools.was_silent(flight.aboard, flight.sent_at_s, now_s)
    if isinstance(error, TargetUnavailable) and not is_full(error) and trigger_of(error.cause).hurts:
        error.is_old = not doors.watch.failed(flight, error.cause, error.retry_after_s, now_s)
    if flight.target.place is not CLOUD or not asked:
        return 0.0
    price = flight.target.price if cause_of(error) in LEFT else None
    usd = price.usd(flight.prompt_tokens, 0) if price else 0.0
    doors.ledger.settle(flight.id, usd)
    return usd


def notice(doors: Doors, served: Served, error: StreamBroken) -> None:
    """Its breaker hears that a stream has broken off; not where we took the time away, which may be the reader's."""
    if error.cause not in OURS and trigger_of(error.cause).hurts:
        doors.watch.failed(served.flight, error.cause, None, time.monotonic())
