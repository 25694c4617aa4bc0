"""Carry out a Decision: try its targets in order until one yields a first token, and settle what each try cost.

Before the first token the next target may be tried; after it never. Money is set aside before a cloud hears anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from router.ask import Ask
from router.cloud import Clouds
from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable
from router.fleet import Place, Target
from router.ledger import Ledger, LedgerError, Outcome
from router.metrics import Metrics
from router.policy import Decision, Money, reserved_usd
from router.reply import Reply
from router.upstream import Upstream
from router.watch import Flight, Usage, Watch

CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Doors:
    """Everything the request handler reaches: one door per foreign thing, one Watch."""

    watch: Watch
    upstream: Upstream
    clouds: Clouds
    ledger: Ledger
    metrics: Metrics

    def money(self) -> Money:
        return Money(left_usd=self.watch.rules.limits.cloud_usd_per_day - self.ledger.spent_today_usd)


@dataclass(frozen=True, slots=True)
class Served:
    """An answer under way: the target that gave the first token, and why it runs there."""

    ask: Ask
    target: Target
    reason: str
    attempts: int
    reply: Reply
    flight: Flight
    ttft_s: float | None

    def headers(self) -> dict[str, str]:
        usd = _usd(self) if self.reply.events is None or self.target.place is Place.LOCAL else None
        return {
            "x-spillway-target": self.target.name,
            "x-spillway-model": self.target.served_name,
            "x-spillway-tier": self.ask.tier,
            "x-spillway-reason": self.reason,
            "x-spillway-attempts": str(self.attempts),
            "x-request-id": self.ask.request_id,
        } | ({} if usd is None else {"x-spillway-usd": f"{usd:.8f}".rstrip("0").rstrip(".")})


async def open_first(doors: Doors, ask: Ask, decision: Decision, arrived_s: float) -> Served:
    """The first target that yields a first token. Raises ApiError when none does."""
    failures: list[TargetUnavailable | ContextExceeded] = []
    for attempt, target in enumerate(decision.targets, start=1):
        reason = f"fallback:{_cause(failures[0])}" if failures else decision.reason
        try:
            return await _try(doors, ask, target, reason, attempt, arrived_s)
        except RequestRefused as refused:
            raise refused.error from refused
        except (TargetUnavailable, ContextExceeded) as failure:
            failures.append(failure)
    raise _none_left(ask, decision.targets, failures)


async def _try(doors: Doors, ask: Ask, target: Target, reason: str, attempt: int, arrived_s: float) -> Served:
    patience_s = _patience_s(doors, ask, target, arrived_s)
    flight = doors.watch.start(ask, target, time.monotonic())
    asked = False
    try:
        await _set_aside(doors, ask, target, flight)
        asked = True
        reply = await _open(doors, ask, target, patience_s)
    except BaseException as error:
        _give_up(doors, flight, error, asked)
        raise
    now_s = time.monotonic()
    doors.watch.first_token(flight, now_s)
    ttft_s = now_s - arrived_s if ask.stream else None
    return Served(ask, target, reason, attempt, reply, flight, ttft_s)


def _patience_s(doors: Doors, ask: Ask, target: Target, arrived_s: float) -> float:
    limits = doors.watch.rules.limits
    patience_s = limits.silence_s if ask.stream else limits.whole_answer_s
    if ask.deadline_s is None:
        return patience_s
    left_s = ask.deadline_s - (time.monotonic() - arrived_s)
    if left_s <= 0:
        raise TargetUnavailable(target.name, "deadline", "the deadline has passed", saturated=True)
    return min(patience_s, left_s)


async def _set_aside(doors: Doors, ask: Ask, target: Target, flight: Flight) -> None:
    if target.place is Place.LOCAL:
        return
    try:
        await doors.ledger.reserve(flight.id, target.name, reserved_usd(ask, target))
    except LedgerError as error:
        raise TargetUnavailable(target.name, "ledger", f"no money can be set aside: {error}", saturated=True) from error


async def _open(doors: Doors, ask: Ask, target: Target, patience_s: float) -> Reply:
    reply: Reply | None = None
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
        raise TargetUnavailable(target.name, "timeout", f"no {what} within {patience_s:.1f} s") from error
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
    if isinstance(error, TargetUnavailable) and (flight.target.place is Place.CLOUD or not error.saturated):
        doors.watch.failed(flight, error.cause, error.retry_after_s, now_s)
    if flight.target.place is Place.CLOUD and asked:
        left = not isinstance(error, RequestRefused | ContextExceeded) and _cause(error) in {"timeout", "gone"}
        usd = flight.target.price.usd(flight.prompt_tokens, 0) if left and flight.target.price else 0.0
        doors.ledger.settle(flight.id, usd)


def _cause(error: BaseException) -> str:
    if isinstance(error, ContextExceeded):
        return "context"
    return error.cause if isinstance(error, TargetUnavailable) else "gone"


def settle(doors: Doors, served: Served, arrived_s: float, status: int, error: str | None) -> None:
    """The end of an answer, whole or not: counts, money, ledger row, metrics."""
    now_s = time.monotonic()
    reply = served.reply
    whole = Usage(*reply.usage) if reply.usage and status < CLIENT_GONE else None
    doors.watch.finish(served.flight, whole, now_s)
    usd = _usd(served)
    if served.target.place is Place.CLOUD:
        doors.ledger.settle(served.flight.id, usd)
    prompt_tokens, completion_tokens = _tokens(served)
    outcome = Outcome(
        request_id=served.ask.request_id,
        at_unix_s=time.time(),
        target=served.target.name,
        model=served.target.served_name,
        tier=served.ask.tier,
        task=served.ask.task,
        tenant=served.ask.tenant,
        feature=served.ask.feature,
        reason=served.reason,
        attempts=served.attempts,
        status=status,
        error=error,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        usd=usd,
        ttft_s=served.ttft_s,
        e2e_s=now_s - arrived_s,
    )
    note(doors, outcome)


def refused(doors: Doors, ask: Ask, decision: Decision, arrived_s: float, error: ApiError) -> None:
    """The end of a request that no target served."""
    outcome = Outcome(
        request_id=ask.request_id,
        at_unix_s=time.time(),
        target="none",
        model=ask.requested,
        tier=ask.tier,
        task=ask.task,
        tenant=ask.tenant,
        feature=ask.feature,
        reason=decision.reason,
        attempts=len(decision.targets),
        status=error.status,
        error=error.message,
        prompt_tokens=0,
        completion_tokens=0,
        usd=0.0,
        ttft_s=None,
        e2e_s=time.monotonic() - arrived_s,
    )
    note(doors, outcome)


def note(doors: Doors, outcome: Outcome) -> None:
    doors.ledger.record(outcome)
    doors.metrics.observe(outcome)


def _tokens(served: Served) -> tuple[int, int]:
    """As the target counted them; of an answer that broke off, the prompt as estimated and the tokens that came."""
    return served.reply.usage or (round(served.flight.prompt_tokens), served.reply.spoken)


def _usd(served: Served) -> float:
    return served.target.price.usd(*_tokens(served)) if served.target.price else 0.0


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
    waits = [failure.retry_after_s for failure in unavailable if failure.retry_after_s is not None]
    if all(failure.saturated for failure in unavailable):
        return ApiError(429, "saturated", f"every target is full: {tried}", retry_after_s=min(waits, default=1.0))
    status = 504 if all(_cause(failure) in {"timeout", "deadline"} for failure in unavailable) else 503
    return ApiError(status, "no_target", f"no target answered: {tried}", retry_after_s=min(waits, default=1.0))
