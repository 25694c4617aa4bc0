"""What a failed try was, in one word and in a sentence: for the next try, the ledger and the client. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from router.ask import PROMPT_FIELDS, Ask
from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable
from router.health.triggers import CONTEXT, FILTERED, REFUSED
from router.patience import CODES
from router.quotas.quotas import QUOTA
from router.routing.fleet import Place, Target
from router.routing.passing import BUDGET, ESCALATED

# A target that took too long.
LATE = CODES.keys()
# We stopped waiting for a cloud that had the request: it may bill the prompt.
LEFT = LATE | {"gone"}
# Full, as its own limits say: its provider's keys are told, and its breaker never hears of it.
LIMITED = "429"
LEDGER = "ledger"
LIMITS = frozenset({QUOTA, BUDGET})
# A member of an enumeration is slow to look up in it.
LOCAL = Place.LOCAL

Failure = TargetUnavailable | ContextExceeded | RequestRefused


def cause_of(error: BaseException) -> str:
    """In one word, of an attempt that ended so."""
    if isinstance(error, TargetUnavailable):
        return error.cause
    names = {ContextExceeded: CONTEXT, RequestRefused: REFUSED, ApiError: REFUSED}
    return names.get(type(error), "gone")


def is_full(failure: TargetUnavailable) -> bool:
    """Whether it is well and has no room: an engine says so by itself, a cloud only by its limits."""
    return failure.saturated and (failure.target.startswith(LOCAL) or failure.cause == LIMITED)


def is_limit(failure: TargetUnavailable) -> bool:
    """Whether limits keep the request out: its own, or those that we know of. A client can obey them."""
    return is_full(failure) or (failure.saturated and failure.cause in LIMITS)


def reason_after(failure: Failure) -> str:
    cause = cause_of(failure)
    if cause == CONTEXT:
        return ESCALATED
    return cause if cause == BUDGET else f"fallback:{cause}"


def broken(error: StreamBroken) -> ApiError:
    """What the client hears when a stream breaks after its first token."""
    message = f"{error.target} failed in the middle of the answer ({error.cause}): {error.message}; ask again"
    return ApiError(504 if error.cause in CODES else 502, CODES.get(error.cause, "stream_broken"), message)


def none_left(ask: Ask, targets: Sequence[Target], failures: Sequence[Failure]) -> ApiError:
    """What the client hears when nobody served it."""
    if failures and isinstance(failures[-1], RequestRefused):
        return failures[-1].error
    tried = "; ".join(f"{failure.target}: {cause_of(failure)}: {_message(failure)}" for failure in failures)
    unavailable = [failure for failure in failures if isinstance(failure, TargetUnavailable)]
    if not unavailable:
        sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in targets)
        message = f"{tried} (context in tokens: {sizes})"
        return ApiError(400, "context_length_exceeded", message, PROMPT_FIELDS[ask.endpoint])
    retry_after_s = min((each.retry_after_s for each in unavailable if each.retry_after_s is not None), default=1.0)
    causes = {failure.cause for failure in unavailable}
    if causes == {FILTERED}:
        return ApiError(400, FILTERED, f"withheld by the content filter: {tried}")
    if causes <= LATE:
        code = CODES[unavailable[-1].cause]
        return ApiError(504, code, f"no target answered in time: {tried}", retry_after_s=retry_after_s)
    # A ledger that cannot be written is our own fault, and a cloud that says 503 has not been asked too often.
    if all(is_limit(failure) for failure in unavailable):
        return ApiError(429, "saturated", f"every target is full: {tried}", retry_after_s=retry_after_s)
    return ApiError(503, "no_target", f"no target answered: {tried}", retry_after_s=retry_after_s)


def _message(failure: Failure) -> str:
    return failure.error.message if isinstance(failure, RequestRefused) else failure.message
