"""The kinds of failure of a request, and how the end of an answer is judged. Pure; it must not know sockets.

A request that is not complete is an error of exactly one kind, the first that applies in the order of `kind_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class Failure(StrEnum):
    """The words of `Sample.error` and of `summary.errors_by_kind`."""

    # No connection, or one that was lost before any byte of the answer.
    CONNECTION = "connection"
    # No complete answer within the generator's limit.
    TIMEOUT = "timeout"
    # 429: the endpoint refuses for now. Apart from other 4xx, for a load too high is not a wrong request.
    RATE_LIMITED = "rate_limited"
    STATUS_4XX = "status_4xx"
    STATUS_5XX = "status_5xx"
    # A status that is no answer and no error: 1xx, 3xx, or 2xx other than 200.
    STATUS_OTHER = "status_other"
    # The bytes are no HTTP, or the body is shorter than its framing says: lost in the middle.
    FRAMING = "framing"
    # A body or an event that is not the JSON it should be.
    MALFORMED = "malformed"
    # The server said in the stream that it failed, after it had begun with 200.
    STREAM_ERROR = "stream_error"
    # A well-framed stream that ends without a finish reason or without [DONE].
    CUT = "cut"
    # A complete answer with nothing in it.
    EMPTY = "empty"
    # Asked for usage and got none. A run may choose to bear it: then tokens are events.
    NO_USAGE = "no_usage"


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `has_finished`: a finish reason came, which whole answers have too, embeddings do not need.

    `has_content`: an event with content came, or usage counts an output token (a special token has no text);
    of an embedding, that it has a vector. `lacks_usage`: it was asked for, needed, and did not come.
    """

    status: int
    is_framed: bool = True
    is_wellformed: bool = True
    has_error: bool = False
    has_done: bool = True
    has_finished: bool = True
    has_content: bool = True
    lacks_usage: bool = False


def kind_of_status(status: int) -> Failure | None:
    """The failure that a status alone says; None for 200. 0 stands for no status at all: no answer began."""
    if status == HTTPStatus.OK:
        return None
    if status == 0:
        return Failure.CONNECTION
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Failure.RATE_LIMITED
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure.STATUS_5XX
    return Failure.STATUS_4XX if status >= HTTPStatus.BAD_REQUEST else Failure.STATUS_OTHER


def kind_of(ending: Ending) -> Failure | None:
    """The failure of an answer; None for a complete one. What the server said comes before what we miss.

    An error in the stream explains the cut that follows it, and a cut explains missing content and usage.
    """
    said = kind_of_status(ending.status)
    if said is not None:
        return said
    faults = (
        (ending.has_error, Failure.STREAM_ERROR),
        (not ending.is_framed, Failure.FRAMING),
        (not ending.is_wellformed, Failure.MALFORMED),
        (not (ending.has_finished and ending.has_done), Failure.CUT),
        (not ending.has_content, Failure.EMPTY),
        (ending.lacks_usage, Failure.NO_USAGE),
    )
    return next((failure for applies, failure in faults if applies), None)
