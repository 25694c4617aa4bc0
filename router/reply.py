"""A target's answer: the commit gate before the first token, the tally after it, and how it reaches the client.

`Reading` is pure: it knows bytes and events, not where they come from. `router.engine_reply` and
`router.clouds.cloud` each make a Reply around one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from router.errors import StreamBroken
from router.health.triggers import FILTERED
from router.sse import BadEvent, Cutter, Event, read_event

# An engine that is shutting down ends requests with this, 200 and no text: engine-made, never what a client asked for.
ABORTED = "abort"
# More than this before the first token, or in one event, is no answer. It bounds the memory of a stream.
MOST_HELD_BYTES = 2 * 1024 * 1024


class Reading:
    """What has been read of an answer: (prompt, completion) tokens, finish reason, and how far it has come.

    `spoken` counts the events that carried text: about one token each, for answers that never tell their usage.
    Before `started` everything is held back, for another target may still take over. `failure` is the end of it.
    """

    __slots__ = (
        "_cutter",
        "_held",
        "_held_bytes",
        "_show_usage",
        "ended",
        "failure",
        "finish_reason",
        "spoken",
        "started",
        "target",
        "usage",
    )

    def __init__(self, target: str, show_usage: bool) -> None:
        self.target = target
        self.usage: tuple[int, int] | None = None
        self.finish_reason: str | None = None
        self.spoken = 0
        self.started = False
        self.ended = False
        self.failure: StreamBroken | None = None
        self._show_usage = show_usage
        self._cutter = Cutter()
        self._held: list[bytes] = []
        self._held_bytes = 0

    @property
    def flows(self) -> bool:
        """The stream is past its first token, and nothing of an event waits for its rest."""
        return self.started and not self.ended and self.failure is None and not self._cutter.rest

    def feed(self, chunk: bytes) -> bytes:
        """What the client may have now, in whole events. A failure is kept in `failure`, and nothing follows it."""
        ready: list[bytes] = []
        try:
            for raw in self._cutter.feed(chunk):
                self._take(raw, ready)
            self._check_size(len(chunk))
        except StreamBroken as error:
            self.failure = error
        if not self.started:
            self._held += ready
            return b""
        if self._held:
            ready, self._held = self._held + ready, []
        return b"".join(ready)

    def over(self) -> None:
        """The target has sent its last byte. An end that came too early is a failure."""
        if self.ended or self.failure is not None:
            return
        if self.started:
            self.failure = self._broken("cut", "the stream was cut before its end")
        else:
            self.failure = self._broken("empty", "the stream ended without a token")

    def cut(self, cause: str, message: str) -> None:
        """The target is gone. After the end of the stream nobody minds."""
        if not self.ended and self.failure is None:
            self.failure = self._broken(cause, message)

    def _take(self, raw: bytes, ready: list[bytes]) -> None:
        if self.ended or self.failure is not None:
            return
        event = self._read(raw)
        if event.error is not None:
            raise self._broken("stream_error", event.error)
        if event.done:
            self._finish(raw, ready)
            return
        self.spoken += event.speaks
        self.usage = event.usage or self.usage
        self.finish_reason = event.finish_reason or self.finish_reason
        if self.finish_reason == ABORTED:
            raise self._broken(ABORTED, "the engine aborted the request")
        if self.finish_reason == FILTERED and not self.started and not event.speaks:
            raise self._broken(FILTERED, "its content filter withheld the answer")
        self.started = self.started or event.speaks or self.finish_reason is not None
        if self._show_usage or not event.only_usage:
            ready.append(event.raw)

    def _check_size(self, chunk_bytes: int) -> None:
        self._held_bytes = self._held_bytes + chunk_bytes if not self.started else len(self._cutter.rest)
        if self._held_bytes > MOST_HELD_BYTES:
            raise self._broken("malformed", f"more than {MOST_HELD_BYTES} bytes without an answer in them")

    def _finish(self, raw: bytes, ready: list[bytes]) -> None:
        if not self.started:
            raise self._broken("empty", "the stream ended without a token")
        if self.finish_reason is None:
            raise self._broken("cut", "the stream ended before the answer was whole")
        self.ended = True
        ready.append(raw)

    def _read(self, raw: bytes) -> Event:
        try:
            return read_event(raw, self.started)
        except BadEvent as error:
            raise self._broken("malformed", str(error)) from error

    def _broken(self, cause: str, message: str) -> StreamBroken:
        return StreamBroken(self.target, cause, message)


class Sink(Protocol):
    """The client's side of a stream. `wire` takes bytes that are HTTP chunks already; None where there are none."""

    wire: Callable[[bytes], None] | None

    def write(self, events: bytes) -> None:
        """Send whole events on."""

    def end(self, events: bytes) -> None:
        """Send the last events and the end of the message, as one."""


class Reply(Protocol):
    """An open answer: either `body`, whole, or a stream whose first token has come."""

    target: str
    content_type: str
    body: bytes | None
    reading: Reading

    async def relay(self, sink: Sink) -> None:
        """Pass on the stream as it comes. Raises StreamBroken unless it ends as it should."""

    async def close(self) -> None:
        """Let go of the target at once: that is how it learns that nobody listens any more."""

    def pause(self) -> None:
        """The client reads too slowly: read no more of this stream for now."""

    def resume(self) -> None:
        """Go on after `pause`."""
