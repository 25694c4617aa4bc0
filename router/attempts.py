"""Carry out a Decision: try its targets in order until one yields a first token, and settle what each try cost.

Before the first token the next target may be tried; after it never. Money is set aside before a cloud hears anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from router.ask import Ask
from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable
from router.fleet import Place, Target
from router.ledger import LedgerError
from router.policy import BUDGET, Decision, reserved_usd
from router.reply import Reply
from router.served import Doors, Served
from router.watch import Flight

# The client's own limit, or money that cannot be set aside: nothing that the target did.
NOT_ITS_FAULT = frozenset({"deadline", "ledger", BUDGET})
# We stopped waiting for a cloud that had the request: it may bill the prompt.
LEFT = frozenset({"timeout", "deadline", "gone"})


async def open_first(doors: Doors, ask: Ask, decision: Decision, arrived_s: float) -> Served:
    """The first target that yields a first token. Raises ApiError when none does."""
    failures: list[TargetUnavailable | ContextExceeded] = []
    for attempt, target in enumerate(decision.targets, start=1):
        reason = _reason(failures[0]) if failures else decision.reason
        try:
            return await _try(doors, ask, target, reason, attempt, arrived_s)
        except RequestRefused as refused:
            raise refused.error from refused
        except (TargetUnavailable, ContextExceeded) as failure:
            failures.append(failure)
    raise _none_left(ask, decision.targets, failures)


def _reason(failure: Exception) -> str:
    cause = _cause(failure)
    return cause if cause == BUDGET else f"fallback:{cause}"


async def _try(doors: Doors, ask: Ask, target: Target, reason: str, attempt: int, arrived_s: float) -> Served:
    patience = _patience(doors, ask, target, arrived_s)
    flight = doors.watch.start(ask, target, time.monotonic())
    asked = False
    try:
        await _set_aside(doors, ask, target, flight)
        asked = True
        reply = await _open(doors, ask, target, patience)
    except BaseException as error:
        _give_up(doors, flight, error, asked)
        raise
    now_s = time.monotonic()
    doors.watch.first_token(flight, now_s)
    ttft_s = now_s - arrived_s if ask.stream else None
    return Served(ask, target, reason, attempt, reply, flight, ttft_s)


def _patience(doors: Doors, ask: Ask, target: Target, arrived_s: float) -> tuple[float, str]:
    """(seconds, cause): how long a try may take, and whose limit that is."""
    limits = doors.watch.rules.limits
    patience_s = limits.silence_s if ask.stream else limits.whole_answer_s
    if ask.deadline_s is None:
        return patience_s, "timeout"
    left_s = ask.deadline_s - (time.monotonic() - arrived_s)
    if left_s <= 0:
        raise TargetUnavailable(target.name, "deadline", "the deadline has passed")
    return (left_s, "deadline") if left_s < patience_s else (patience_s, "timeout")


async def _set_aside(doors: Doors, ask: Ask, target: Target, flight: Flight) -> None:
    if target.place is Place.LOCAL:
        return
    usd = reserved_usd(ask, target)
    if usd > doors.money().left_usd:
        # Others have set money aside since the decision; from this look to the reservation nobody else can.
        raise TargetUnavailable(target.name, BUDGET, "the day's budget is set aside for others", saturated=True)
    try:
        await doors.ledger.reserve(flight.id, target.name, usd)
    except LedgerError as error:
        raise TargetUnavailable(target.name, "ledger", f"no money can be set aside: {error}", saturated=True) from error


async def _open(doors: Doors, ask: Ask, target: Target, patience: tuple[float, str]) -> Reply:
    reply: Reply | None = None
    patience_s, cause = patience
    try:
        async with asyncio.timeout(patience_s):
            if target.place is Place.LOCAL:
                reply = await doors.upstream.open(ask, target)
            else:
                reply = await doors.clouds.open(ask, target, patience_s)
            await reply.until_first_token(ask.wants_usage)
            return reply
    except TimeoutError as error:
        await _close(reply)
        what = "first token" if ask.stream else "answer"
        raise TargetUnavailable(target.name, cause, f"no {what} within {patience_s:.3g} s") from error
    except BaseException:
        await _close(reply)
        raise


async def _close(reply: Reply | None) -> None:
    if reply is not None:
        await reply.close()


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
    names = {ContextExceeded: "context", RequestRefused: "refused"}
    return names.get(type(error), "gone")


def broken(error: StreamBroken) -> ApiError:
    """What the client hears when a stream breaks after its first token."""
    message = f"{error.target} failed in the middle of the answer ({error.cause}): {error.message}; ask again"
    return ApiError(502, "stream_broken", message)


def _none_left(
    ask: Ask, targets: Sequence[Target], failures: Sequence[TargetUnavailable | ContextExceeded]
) -> ApiError:
    tried = "; ".join(f"{failure.target}: {_cause(failure)}: {failure.message}" for failure in failures)
    unavailable = [failure for failure in failures if isinstance(failure, TargetUnavailable)]
    if not unavailable:
        sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in targets)
        param = "messages" if "messages" in ask.body else "prompt"
        return ApiError(400, "context_length_exceeded", f"{tried} (context in tokens: {sizes})", param)
    retry_after_s = min((each.retry_after_s for each in unavailable if each.retry_after_s is not None), default=1.0)
    causes = {_cause(failure) for failure in unavailable}
    if causes <= {"timeout", "deadline"}:
        return ApiError(504, "no_target", f"no target answered in time: {tried}", retry_after_s=retry_after_s)
    if all(failure.saturated for failure in unavailable):
        return ApiError(429, "saturated", f"every target is full: {tried}", retry_after_s=retry_after_s)
    return ApiError(503, "no_target", f"no target answered: {tried}", retry_after_s=retry_after_s)
