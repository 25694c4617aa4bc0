"""One request under way: what was asked, and what has come back so far. It ends exactly once, with a verdict.

It must not know sockets: a connection feeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from benchmarks.drive.chunk import Chunk, read_chunk
from benchmarks.drive.events import Events
from benchmarks.figures.errors import Ending, Failure, kind_of, kind_of_status
from benchmarks.workload.arrival import Arrival, Kind

OK = 200
STREAM = b"text/event-stream"
SHOWN_BYTES = 200
# An engine that stops answers so what it had not finished, with status 200.
BROKEN_OFF = ("abort", "error")


class Whole:
    """A body that is read when it is complete."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def take(self, parts: list[bytes], _now_s: float) -> int:
        """What one read brought; it holds no events."""
        self.parts += parts
        return 0


class Exchange:
    """Moments are on the clock of the connection. `ended` is called once, when the verdict is known."""

    __slots__ = (
        "_ended",
        "abandon",
        "arrival",
        "body",
        "due_s",
        "ended_s",
        "error",
        "headers",
        "is_over",
        "message",
        "needs_usage",
        "number",
        "raw",
        "sent_s",
        "status",
    )

    def __init__(self, number: int, arrival: Arrival, raw: bytes, due_s: float, ended: Callable[[Exchange], None]):
        self.number = number
        self.arrival = arrival
        self.raw = raw
        self.due_s = due_s
        self.sent_s = due_s
        self.needs_usage = True
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.body: Events | Whole = Whole()
        self.is_over = False
        self.ended_s = 0.0
        self.error: Failure | None = None
        self.message = ""
        # Hangs up, or gives up dialling; set by whoever works on it.
        self.abandon: Callable[[], None] = _nothing
        self._ended = ended

    @property
    def wants_events(self) -> bool:
        """Whether the answer was asked for as a stream."""
        return self.arrival.stream and self.arrival.kind is not Kind.EMBEDDING

    def head(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """The answer has begun."""
        self.status, self.headers = status, headers
        if status == OK and headers.get(b"content-type", b"").lower().startswith(STREAM):
            self.body = Events()

    def complete(self, now_s: float) -> None:
        """The body is over, and its framing says that it is whole."""
        if isinstance(self.body, Events):
            self._judge_events(self.body, now_s)
        elif self.status != OK:
            self._end(now_s, kind_of_status(self.status), self._refusal(b"".join(self.body.parts)))
        else:
            self._judge_whole(b"".join(self.body.parts), now_s)

    def fail(self, now_s: float, failure: Failure, message: str) -> None:
        """It ends here; what the server said before says more than that it did not go on."""
        if isinstance(self.body, Events) and self.body.complaint is not None and failure is not Failure.TIMEOUT:
            failure, message = Failure.STREAM_ERROR, self.body.complaint
        elif self.status not in (0, OK):
            failure, message = kind_of_status(self.status) or failure, f"{self.status}, and then {message}"
        self._end(now_s, failure, message)

    def _judge_events(self, body: Events, now_s: float) -> None:
        body.end()
        if body.complaint is None and body.finish_reason in BROKEN_OFF:
            body.complaint = f"finish_reason is {body.finish_reason!r}"
        error = kind_of(
            Ending(
                self.status,
                is_wellformed=body.malformed is None,
                has_error=body.complaint is not None,
                has_done=body.is_done,
                has_finished=body.finish_reason is not None,
                has_content=body.events > 0 or body.completion_tokens > 0,
                lacks_usage=self.needs_usage and not body.has_usage,
            )
        )
        missing = "the stream ends without " + ("[DONE]" if body.finish_reason else "a finish reason")
        self._end(now_s, error, _why(error, body.complaint, body.malformed, missing))

    def _judge_whole(self, raw: bytes, now_s: float) -> None:
        try:
            answer, malformed = read_chunk(raw), None
        except msgspec.DecodeError as cause:
            answer, malformed = Chunk(), f"the answer is not what it should be ({cause}): {_shown(raw)}"
        if self.wants_events and malformed is None and answer.complaint is None:
            malformed = f"a stream was asked for, and a whole answer came: {_shown(raw)}"
        is_embedding = self.arrival.kind is Kind.EMBEDDING
        choice = answer.choices[0] if answer.choices else None
        finish_reason = None if choice is None else choice.finish_reason
        complaint = answer.complaint
        if complaint is None and finish_reason in BROKEN_OFF:
            complaint = f"finish_reason is {finish_reason!r}"
        counted = 0 if answer.usage is None else answer.usage.completion_tokens or 0
        has_content = bool(answer.data) if is_embedding else counted > 0 or (choice is not None and choice.is_content)
        self.body = _read(answer, finish_reason)
        error = kind_of(
            Ending(
                self.status,
                is_wellformed=malformed is None,
                has_error=complaint is not None,
                has_finished=is_embedding or finish_reason is not None,
                has_content=has_content,
                lacks_usage=self.needs_usage and answer.usage is None,
            )
        )
        self._end(now_s, error, _why(error, complaint, malformed, "the answer has no finish reason"))

    def _refusal(self, raw: bytes) -> str:
        after = self.headers.get(b"retry-after")
        wait = "" if after is None else f" (retry after {after.decode('latin-1')})"
        try:
            said = read_chunk(raw).complaint
        except msgspec.DecodeError:
            said = None
        return f"{self.status}{wait}: {said or _shown(raw)}"

    def _end(self, now_s: float, error: Failure | None, message: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        self.ended_s, self.error, self.message = now_s, error, message if error else ""
        self._ended(self)


def _nothing() -> None:
    """There is nothing to give up."""


def _read(answer: Chunk, finish_reason: str | None) -> Events:
    """What a whole answer told, in the form of a stream's: it has no moments."""
    told = Events()
    told.finish_reason = finish_reason
    if answer.usage is not None:
        told.prompt_tokens = answer.usage.prompt_tokens
        told.completion_tokens = answer.usage.completion_tokens or 0
    return told


def _why(error: Failure | None, complaint: str | None, malformed: str | None, missing: str) -> str:
    by_failure = {
        Failure.STREAM_ERROR: complaint,
        Failure.MALFORMED: malformed,
        Failure.CUT: missing,
        Failure.EMPTY: "the answer has nothing in it",
        Failure.NO_USAGE: "the answer has no usage, so that its tokens are not known",
    }
    return (error and by_failure.get(error)) or ""


def _shown(raw: bytes) -> str:
    return raw[:SHOWN_BYTES].decode(errors="replace")
