"""The answer of an engine to one request, from its first byte to its last, with every limit of time that it has.

Each limit has its own cause: `first_token` and `whole_answer` before the answer is open (or `deadline`, the client's
own), `silence` and `whole_answer` after that. One timer serves them all: it is set to the next limit and looks, when it
fires, whether that limit has moved on meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from router.ask import Ask
from router.connection import Connection
from router.errand import Wait
from router.errors import StreamBroken, TargetUnavailable
from router.patience import Patience
from router.reply import Reading, Sink
from router.routing.fleet import Target
from router.whole import OK, read_whole

# An engine that has said [DONE] closes the message at once; if it does not, the connection is of no more use.
LAST_WORDS_S = 1.0

# Sixteen long answers with the probabilities of twenty tokens beside each one are shorter.
MOST_WHOLE_BYTES = 128 * 1024 * 1024
# Of a refusal only a sentence is read.
MOST_ERROR_BYTES = 1024 * 1024


class Stale(Exception):
    """The kept connection was closed just when it was used again: the request never reached the engine."""


class EngineReply:
    """Listens to a Connection. `opened` is done with the first token, or with the whole answer, or with an error."""

    __slots__ = (
        "_connection",
        "_ended",
        "_heard_at_s",
        "_held",
        "_loop",
        "_paused",
        "_pieces",
        "_retry_after",
        "_reused",
        "_sink",
        "_status",
        "_streams",
        "_timer",
        "_whole_bytes",
        "body",
        "content_type",
        "opened",
        "patience",
        "reading",
        "target",
        "wire",
    )

    def __init__(self, ask: Ask, target: Target, patience: Patience, connection: Connection) -> None:
        self.target = target.name
        self.content_type = "application/json"
        self.body: bytes | None = None
        self.reading = Reading(target.name, ask.wants_usage)
        self.wire: Callable[[bytes], None] | None = None
        self.patience = patience
        self._connection: Connection | None = connection
        self._reused = connection.used
        self._streams = ask.stream
        self._loop = asyncio.get_running_loop()
        self.opened: Wait[None] = Wait()
        self._ended: Wait[None] | None = None
        self._sink: Sink | None = None
        self._status = 0
        self._retry_after: str | None = None
        self._pieces: list[bytes] = []
        self._whole_bytes = 0
        self._held = b""
        self._paused = False
        self._heard_at_s = 0.0
        self._timer = self._loop.call_later(patience.first_s, self._look)

    # The Reply.

    async def relay(self, sink: Sink) -> None:
        self._sink = sink
        self._ended = Wait()
        self._heard_at_s = time.monotonic()
        self._set_timer(self.patience.silence_s)
        held, self._held = self._held, b""
        self._pass_on(held)
        await self._ended

    async def close(self) -> None:
        self._timer.cancel()
        self.wire = None
        self._sink = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.hang_up()

    def pause(self) -> None:
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        self._paused = False
        self._heard_at_s = time.monotonic()
        if self._connection is not None:
            self._connection.resume()

    # What the Connection tells.

    def head(self, status: int, content_type: str, retry_after: str | None) -> None:
        self._status = status
        self.content_type = content_type
        self._streams = self._streams and status == OK
        self._retry_after = retry_after

    def piece(self, body: bytes) -> None:
        if self.reading.ended:
            # What comes after the last word is nobody's, and no reason to wait longer for the end of the message.
            return
        self._heard_at_s = time.monotonic()
        if not self._streams:
            self._pieces.append(body)
            self._whole_bytes += len(body)
            most_bytes = MOST_WHOLE_BYTES if self._status == OK else MOST_ERROR_BYTES
            if self._whole_bytes > most_bytes:
                self._give_up("malformed", f"its answer is longer than {most_bytes} bytes")
            return
        ready = self.reading.feed(body)
        if self._sink is not None:
            self._pass_on(ready)
            return
        self._held += ready
        if self.reading.failure is not None:
            self._fail(self.reading.failure)
        elif self.reading.started:
            self.opened.done(None)

    def passed(self, events: int) -> None:
        self._heard_at_s = time.monotonic()
        self.reading.spoken += events

    def whole(self) -> None:
        self._connection = None
        if not self._streams:
            self._read_whole()
            return
        self.reading.over()
        self._end()

    def lost(self, began: bool, why: str) -> None:
        self._connection = None
        if self._reused and not began:
            self._refuse(Stale())
        elif self.opened.settled or self._streams:
            self.reading.cut("cut" if began else "connect", why)
            self._end()
        else:
            self._refuse(TargetUnavailable(self.target, "cut" if began else "connect", why))

    # What follows from it.

    def _pass_on(self, ready: bytes) -> None:
        sink, reading = self._sink, self.reading
        assert sink is not None
        if reading.ended:
            self.wire = None
            sink.end(ready)
            self._set_timer(LAST_WORDS_S)
            if self._connection is None:
                self._end()
            return
        if ready:
            sink.write(ready)
        if reading.failure is not None:
            self._end()
        else:
            self.wire = sink.wire if reading.flows else None

    def _end(self) -> None:
        """The stream is over, or will not go on. Who waits is told: before the first token, else after it."""
        failure = self.reading.failure
        if self._ended is None:
            if failure is not None:
                self._fail(failure)
            return
        self._timer.cancel()
        self.wire = None
        if failure is None:
            self._ended.done(None)
        else:
            self._ended.fail(failure)

    def _fail(self, failure: StreamBroken) -> None:
        self._refuse(TargetUnavailable(self.target, failure.cause, failure.message))

    def _refuse(self, error: Exception) -> None:
        self._timer.cancel()
        self.opened.fail(error)

    def _read_whole(self) -> None:
        self._timer.cancel()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        error = read_whole(self.reading, self._status, body, self._retry_after)
        if error is None:
            self.body = body
            self.opened.done(None)
        else:
            self._refuse(error)

    def _set_timer(self, after_s: float) -> None:
        self._timer.cancel()
        left_s = self.patience.whole_until_s - time.monotonic()
        self._timer = self._loop.call_later(max(0.0, min(after_s, left_s)), self._look)

    def _look(self) -> None:
        """A limit may have passed. Hang up if it has; else wait for the next one."""
        if self._ended is None:
            what = "first token" if self._streams else "answer"
            message = f"no {what} within {self.patience.first_s:.3g} s"
            self._give_up(self.patience.cause, message)
            return
        now_s = time.monotonic()
        if now_s >= self.patience.whole_until_s:
            self._give_up("whole_answer", "the answer was not whole in time")
            return
        quiet_s = 0.0 if self._paused else now_s - self._heard_at_s
        limit_s = LAST_WORDS_S if self.reading.ended else self.patience.silence_s
        if quiet_s < limit_s:
            self._set_timer(limit_s - quiet_s)
        else:
            self._give_up("silence", f"nothing was sent for {limit_s:.3g} s")

    def _give_up(self, cause: str, message: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.hang_up()
        self.reading.cut(cause, message)
        self._end()
