"""Reads the server-sent events of one answer, as cheaply as can be. Pure: bytes and a moment in, counts out.

Of a stream, all events but a few differ only in the text of their token. The first such event is read completely;
what stands before and after its text is what a plain event looks like, and one that looks so is counted, not parsed.
Whatever does not (the opening, the finish reason, usage, an error, `[DONE]`) is parsed.
"""

from __future__ import annotations

import re

import msgspec

from benchmarks.drive.chunk import Chunk, read_chunk

LINE = b"\n"
BLANK = b"\n\n"
DATA = b"data:"
DONE = b"[DONE]"
# The text of a token, with what names it.
TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)": ?"((?:[^"\\]|\\.)+)"')
# Cannot stand at the beginning of an event: nothing is plain until a plain event has been seen.
UNKNOWN = b"\0"
# An engine whose events are never alike is not asked again and again what is plain.
MOST_LESSONS = 4
# An event longer than this is no token, and a stream without a blank line must not fill the memory.
LONGEST_EVENT_BYTES = 4 << 20
SHOWN_BYTES = 120


class Events:
    """One stream. Moments are on the clock of the caller."""

    __slots__ = (
        "_lessons",
        "_prefix",
        "_rest",
        "_suffix",
        "complaint",
        "completion_tokens",
        "events",
        "finish_reason",
        "first_s",
        "gap_events",
        "gaps_s",
        "has_usage",
        "is_done",
        "last_s",
        "malformed",
        "prompt_tokens",
    )

    def __init__(self) -> None:
        self._prefix = self._suffix = UNKNOWN
        self._rest = b""
        self._lessons = 0
        self.first_s: float | None = None
        self.last_s = 0.0
        self.gaps_s: list[float] = []
        self.gap_events: list[int] = []
        self.events = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.has_usage = False
        self.finish_reason: str | None = None
        self.is_done = False
        self.complaint: str | None = None
        self.malformed: str | None = None

    def take(self, parts: list[bytes], now_s: float) -> int:
        """What one read brought, in pieces; how many events with content ended in it."""
        count = 0
        prefix, suffix = self._prefix, self._suffix
        for part in parts:
            if part.startswith(prefix) and part.endswith(suffix) and not self._rest:
                # The one event of a usual piece has no line feed before its end.
                if part.find(LINE, len(prefix), -len(suffix)) < 0:
                    count += 1
                    continue
                blanks = part.count(BLANK)
                if part.count(prefix) == blanks == part.count(suffix):
                    count += blanks
                    continue
            count += self._read(part)
        if count:
            if self.first_s is None:
                self.first_s = now_s
            else:
                self.gaps_s.append(now_s - self.last_s)
                self.gap_events.append(count)
            self.last_s = now_s
            self.events += count
        return count

    def end(self) -> None:
        """The body is over: an event that no blank line ended counts as one that was cut."""
        if self._rest.strip() and self.malformed is None:
            self._wrong("the stream ends inside an event", self._rest)

    def _read(self, part: bytes) -> int:
        """Take a piece apart into events; how many had content."""
        data = self._rest + part
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._rest = data.split(BLANK)
        if len(self._rest) > LONGEST_EVENT_BYTES:
            self._wrong("an event without an end", self._rest)
            self._rest = b""
        return sum(self._event(event) for event in events)

    def _event(self, event: bytes) -> bool:
        """Whether it has content."""
        lines = [line[len(DATA) :].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(DATA)]
        if not lines:
            # A comment keeps a connection alive and says nothing.
            return False
        data = b"\n".join(lines)
        if self.is_done:
            self._wrong("something after [DONE]", data)
            return False
        if data.strip() == DONE:
            self.is_done = True
            return False
        try:
            chunk = read_chunk(data)
        except msgspec.DecodeError as error:
            self._wrong(f"an event is not what it should be ({error})", data)
            return False
        return self._chunk(chunk, event)

    def _chunk(self, chunk: Chunk, event: bytes) -> bool:
        self.complaint = self.complaint or chunk.complaint
        if chunk.usage is not None:
            self.has_usage = True
            self.prompt_tokens = chunk.usage.prompt_tokens
            self.completion_tokens = chunk.usage.completion_tokens or 0
        if not chunk.choices:
            return False
        choice = chunk.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        if not choice.is_content:
            return False
        if choice.finish_reason is None and chunk.usage is None and self._lessons < MOST_LESSONS:
            self._learn(event)
        return True

    def _learn(self, event: bytes) -> None:
        """From now on, what looks like this event is plain."""
        texts = list(TEXT.finditer(event))
        if len(texts) != 1 or b"\n" in event or not event.startswith(DATA):
            return
        self._lessons += 1
        start, end = texts[0].span(1)
        self._prefix, self._suffix = event[:start], event[end:] + BLANK

    def _wrong(self, what: str, data: bytes) -> None:
        if self.malformed is None:
            self.malformed = f"{what}: {data[:SHOWN_BYTES].decode(errors='replace')}"
