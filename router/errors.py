"""What can go wrong between a client and a target, in our words.

`ApiError` is for the client and renders the OpenAI envelope. The two target errors say whether another target
may still be tried: before the first token yes, after it never. They are not frozen, because Python itself writes
the traceback into an exception.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from router.quotas.learned import Told

INTERNAL_ERROR = 500
# Busy, not ill. And what a client cannot mend: a key, an address, a time limit of ours.
FULL = frozenset({429, 503, 529})
NOT_THE_CLIENT = frozenset({401, 402, 403, 404, 408, 409})
TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


@dataclass(eq=False)
class ApiError(Exception):
    """An answer of ours that is an error. `retry_after_s` becomes the `retry-after` header, rounded up."""

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None

    @property
    def type(self) -> str:
        """The OpenAI error type that goes with the status."""
        return TYPES.get(self.status, "server_error" if self.status >= INTERNAL_ERROR else "invalid_request_error")

    def envelope(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}


@dataclass(eq=False)
class TargetUnavailable(Exception):
    """This target gave no first token; the next one may. `cause` goes into `fallback:<cause>`.

    `saturated` means busy, not ill: it must not cool the target down. `was_reached`: it may have had the request.
    `told` is what a cloud said of its limits when it refused. `is_old`: it was under way when others failed there, and
    says nothing new of the target.
    """

    target: str
    cause: str
    message: str
    retry_after_s: float | None = None
    saturated: bool = False
    was_reached: bool = True
    told: Told | None = None
    is_old: bool = False


@dataclass(eq=False)
class RequestRefused(Exception):
    """The target says that the request itself is wrong. Another target would say the same, so the client hears it."""

    target: str
    error: ApiError


@dataclass(eq=False)
class ContextExceeded(Exception):
    """The prompt does not fit this target; one with a longer context may take it."""

    target: str
    message: str


@dataclass(eq=False)
class StreamBroken(Exception):
    """The target failed after the first token: too late for another one, the stream ends with an error event."""

    target: str
    cause: str
    message: str


def error_answer(
    target: str, status: int, message: str, param: str | None = None, retry_after_s: float | None = None
) -> TargetUnavailable | RequestRefused:
    """An error status of a target in our words: full, broken, or else the request's own fault."""
    if status in FULL:
        return TargetUnavailable(target, str(status), message, retry_after_s, saturated=True)
    if status >= INTERNAL_ERROR or status in NOT_THE_CLIENT:
        return TargetUnavailable(target, str(status), message)
    return RequestRefused(target, ApiError(status, "invalid_value", message, param))
