"""Carry out a Decision: try its targets in order until one yields a first token, and settle what each try cost.

Before the first token the next target may be tried; after it never. Money is set aside before a cloud hears anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from router.ask import Ask, Endpoint
from router.clouds.cloud_reply import CloudReply
from router.errand import in_task
from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable
from router.ledger import BudgetSpent, LedgerError
from router.patience import CODES, patience_for
from router.reply import Reply
from router.routing.fleet import Place, Target
from router.routing.policy import BUDGET, Decision, reserved_usd
from router.served import Doors, Served
from router.watch import Flight

# The client's own limit, or money that cannot be set aside: nothing that the target did.
NOT_ITS_FAULT = frozenset({"deadline", "ledger", BUDGET})
# A target that took too long.
LATE = CODES.keys()
# We stopped waiting for a cloud that had the request: it may bill the prompt.
LEFT = LATE | {"gone"}

Failure = TargetUnavailable | ContextExceeded | RequestRefused


async def open_first(doors: Doors, ask: Ask, decision: Decision, arrived_s: float, failures: list[Failure]) -> Served:
    """The first target that yields a first token; failed tries go to `failures`. Raises ApiError when none does."""
    for target in decision.targets:
        attempt = len(failures) + 1
        reason = _reason(failures[0]) if failures else decision.reason
        try:
            if failures:
                _still_there(doors, target)
            return await _try(doors, ask, target, reason, attempt, arrived_s)
        except RequestRefused as refused:
            failures.append(refused)
            raise refused.error from refused
        except (TargetUnavailable, ContextExceeded) as failure:
            failures.append(failure)
    raise _none_left(ask, decision.targets, failures)


def _still_there(doors: Doors, target: Target) -> None:
    """The Decision is as old as the attempts before this one: an engine that drains by now must get nothing new."""
    if target.place is Place.LOCAL and doors.watch.has_left(target):
        raise TargetUnavailable(target.name, "off", "it takes no more requests", was_reached=False)


def _reason(failure: Failure) -> str:
    cause = _cause(failure)
    return cause if cause == BUDGET else f"fallback:{cause}"


async def _try(doors: Doors, ask: Ask, target: Target, reason: str, attempt: int, arrived_s: float) -> Served:
    sent_s = time.monotonic()
    patience = patience_for(ask, doors.watch.rules.limits, arrived_s, sent_s)
    if patience.first_s <= 0:
        raise TargetUnavailable(target.name, patience.cause, "there is no time left")
    flight = doors.watch.start(ask, target, sent_s)
    asked = False
    reply: Reply
    try:
        if target.place is Place.LOCAL:
            reply = await doors.upstream.open(ask, target, patience)
        else:
            await in_task(_set_aside(doors, ask, target, flight))
            asked = True
            opened = await in_task(doors.clouds.open(ask, target, patience), CloudReply.abandon)
            reply = opened
    except BaseException as error:
        _give_up(doors, flight, error, asked)
        raise
    now_s = time.monotonic()
    doors.watch.first_token(flight, now_s)
    ttft_s = now_s - arrived_s if ask.stream else None
    return Served(ask, target, reason, attempt, reply, flight, ttft_s)


async def _set_aside(doors: Doors, ask: Ask, target: Target, flight: Flight) -> None:
    """The ledger looks once more: others may have set money aside since the decision."""
    usd, limit_usd = reserved_usd(ask, target), doors.watch.rules.limits.cloud_usd_per_day
    try:
        await doors.ledger.reserve(flight.id, target.name, usd, limit_usd)
    except BudgetSpent as error:
        message = "the day's budget is set aside for others"
        raise TargetUnavailable(target.name, BUDGET, message, saturated=True) from error
    except LedgerError as error:
        raise TargetUnavailable(target.name, "ledger", f"no money can be set aside: {error}", saturated=True) from error


def _give_up(doors: Doors, flight: Flight, error: BaseException, asked: bool) -> None:
    """Take a failed try out of all counts. A refusal costs nothing; a cloud that we left may bill the prompt."""
    now_s = time.monotonic()
    doors.watch.finish(flight, None, now_s)
    # A full engine tells so at once and for free; a cloud that refuses counts each refusal against us.
    rests = flight.target.place is Place.CLOUD or not (isinstance(error, TargetUnavailable) and error.saturated)
    if isinstance(error, TargetUnavailable) and rests and error.cause not in NOT_ITS_FAULT:
        doors.watch.failed(flight, error.cause, error.retry_after_s, now_s)
    if flight.target.place is Place.CLOUD and asked:
        usd = flight.target.price.usd(flight.prompt_tokens, 0) if flight.target.price else 0.0
        doors.ledger.settle(flight.id, usd if _cause(error) in LEFT else 0.0)


def _cause(error: BaseException) -> str:
    if isinstance(error, TargetUnavailable):
        return error.cause
    names = {ContextExceeded: "context", RequestRefused: "refused", ApiError: "refused"}
    return names.get(type(error), "gone")


def _message(failure: Failure) -> str:
    return failure.error.message if isinstance(failure, RequestRefused) else failure.message


def broken(error: StreamBroken) -> ApiError:
    """What the client hears when a stream breaks after its first token."""
    message = f"{error.target} failed in the middle of the answer ({error.cause}): {error.message}; ask again"
    return ApiError(504 if error.cause in CODES else 502, CODES.get(error.cause, "stream_broken"), message)


def _none_left(ask: Ask, targets: Sequence[Target], failures: Sequence[Failure]) -> ApiError:
    tried = "; ".join(f"{failure.target}: {_cause(failure)}: {_message(failure)}" for failure in failures)
    unavailable = [failure for failure in failures if isinstance(failure, TargetUnavailable)]
    if not unavailable:
        sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in targets)
        param = "messages" if ask.endpoint is Endpoint.CHAT else "prompt"
        return ApiError(400, "context_length_exceeded", f"{tried} (context in tokens: {sizes})", param)
    retry_after_s = min((each.retry_after_s for each in unavailable if each.retry_after_s is not None), default=1.0)
    causes = {_cause(failure) for failure in unavailable}
    if causes <= LATE:
        code = CODES[_cause(unavailable[-1])]
        return ApiError(504, code, f"no target answered in time: {tried}", retry_after_s=retry_after_s)
    if all(failure.saturated for failure in unavailable):
        return ApiError(429, "saturated", f"every target is full: {tried}", retry_after_s=retry_after_s)
    return ApiError(503, "no_target", f"no target answered: {tried}", retry_after_s=retry_after_s)
