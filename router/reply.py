"""A target's answer while it is being relayed: the commit gate before the first token, the tally after it.

Knows events and bodies, not where they come from: `router.upstream` and `router.cloud` both hand over a Reply.
Before the first token a failure raises TargetUnavailable and nothing has reached the client; after it, StreamBroken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field

from router.errors import StreamBroken, TargetUnavailable
from router.sse import BadEvent, Event, read_event

# An engine that is shutting down ends requests with this, 200 and no text: engine-made, never what a client asked for.
ABORTED = "abort"


@dataclass(slots=True, eq=False)
class Reply:
    """An open answer: either `body` (whole) or `events` (a stream), and how to let go of it.

    `spoken` counts the events that carried text: about one token each, for answers that never tell their usage.
    """

    target: str
    content_type: str
    release: Callable[[], Awaitable[None]]
    body: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None
    usage: tuple[int, int] | None = None
    finish_reason: str | None = None
    spoken: int = 0
    held_back: list[bytes] = field(default_factory=list)

    async def close(self) -> None:
        """Let go of the target at once: that is how it learns that nobody listens any more."""
        try:
            if self.events is not None:
                await self.events.aclose()
        finally:
            await self.release()

    async def until_first_token(self, show_usage: bool) -> None:
        """Read on until the target has shown that it works. Raises TargetUnavailable when it does not."""
        try:
            await self._gate(show_usage)
        except StreamBroken as error:
            raise TargetUnavailable(error.target, error.cause, error.message) from error

    async def _gate(self, show_usage: bool) -> None:
        if self.events is None:
            return
        async for raw in self.events:
            event = self._read(raw)
            if event.error is not None:
                raise StreamBroken(self.target, "stream_error", event.error)
            if event.done:
                break
            self._note(event, show_usage, self.held_back)
            if event.speaks or self.finish_reason is not None:
                return
        raise StreamBroken(self.target, "empty", "the stream ended without a token")

    async def rest(self, show_usage: bool) -> AsyncGenerator[bytes, None]:
        """What follows the first token, as it comes. Raises StreamBroken unless the stream ends as it should."""
        ready = self.held_back
        self.held_back = []
        for raw in ready:
            yield raw
        if self.events is None:
            return
        async for raw in self.events:
            event = self._read(raw, started=True)
            if event.error is not None:
                raise StreamBroken(self.target, "stream_error", event.error)
            if event.done:
                self._check_complete()
                yield raw
                return
            self._note(event, show_usage, ready := [])
            for each in ready:
                yield each
        raise StreamBroken(self.target, "cut", "the stream was cut before its end")

    def _note(self, event: Event, show_usage: bool, relayed: list[bytes]) -> None:
        """Keep what the event says of the whole, and pass it on unless the client did not ask for it."""
        self.spoken += event.speaks
        self.usage = event.usage or self.usage
        self.finish_reason = event.finish_reason or self.finish_reason
        if self.finish_reason == ABORTED:
            raise StreamBroken(self.target, ABORTED, "the engine aborted the request")
        if show_usage or not event.only_usage:
            relayed.append(event.raw)

    def _check_complete(self) -> None:
        if self.finish_reason is None:
            raise StreamBroken(self.target, "cut", "the stream ended before the answer was whole")

    def _read(self, raw: bytes, started: bool = False) -> Event:
        try:
            return read_event(raw, started)
        except BadEvent as error:
            raise StreamBroken(self.target, "malformed", str(error)) from error
