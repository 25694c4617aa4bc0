"""Is an answer complete? Every token once and in order, a finish reason, then `[DONE]`; a whole answer with its usage.

Pure: the bytes of a body in, a Fault or None out. Answers of the stub engine are numbered; of any other engine only
the form can be checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from benchmarks.numbered import numbers
from benchmarks.wire import DONE

DATA = b"data:"
SAID_DONE = DONE.removeprefix(DATA).strip()


class Fault(StrEnum):
    """Why an answer is not complete."""

    CONNECTION = "connection lost"
    STATUS = "not status 200"
    FRAMING = "broken or cut HTTP body"
    JSON = "not OpenAI's JSON"
    ERROR = "error in the stream"
    LOST = "token lost"
    DOUBLED = "token doubled"
    MOVED = "token in the wrong place"
    NO_FINISH = "no finish reason"
    NO_DONE = "no [DONE] at the end"
    NO_USAGE = "no usage, or a wrong one"


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def said(self) -> str:
        """What this part of the answer adds to its text."""
        said = self.delta or self.message or _Said()
        return self.text or said.content or said.reasoning_content or ""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_read_chunk = msgspec.json.Decoder(_Chunk).decode


class Exam:
    """Checks the answers to one kind of request. `tokens` is None where they are not numbered."""

    def __init__(self, *, stream: bool, tokens: int | None) -> None:
        self._stream = stream
        self._tokens = tokens
        self._good = b""

    def fault(self, body: bytes) -> Fault | None:
        """What is wrong. A body that is the same as the last good one, byte for byte, need not be read again."""
        if body == self._good:
            return None
        found = fault_of_stream(body, self._tokens) if self._stream else fault_of_whole(body, self._tokens)
        if found is None:
            self._good = body
        return found


def fault_of_stream(body: bytes, tokens: int | None) -> Fault | None:
    """Of a body of server-sent events, without its HTTP chunks."""
    events = [line.removeprefix(DATA).strip() for line in body.splitlines() if line.startswith(DATA)]
    is_done = events[-1:] == [SAID_DONE]
    if SAID_DONE in events[:-1]:
        return Fault.NO_DONE
    try:
        chunks = [_read_chunk(each) for each in (events[:-1] if is_done else events)]
    except msgspec.DecodeError:
        return Fault.JSON
    if any(chunk.error is not None for chunk in chunks):
        return Fault.ERROR
    choices = [choice for chunk in chunks for choice in chunk.choices]
    # A last event that is cut in half ends no line, so that it is not the cut but its consequence that shows.
    return _fault_of_choices(choices, tokens) or (None if is_done and body.endswith(b"\n\n") else Fault.NO_DONE)


def fault_of_whole(body: bytes, tokens: int | None) -> Fault | None:
    """Of the body of an answer that is not streamed."""
    try:
        answer = _read_chunk(body)
    except msgspec.DecodeError:
        return Fault.JSON
    if answer.error is not None or not answer.choices:
        return Fault.ERROR
    counted = None if answer.usage is None else answer.usage.completion_tokens
    wrong_usage = counted is None or (tokens is not None and counted != tokens)
    return _fault_of_choices(answer.choices, tokens) or (Fault.NO_USAGE if wrong_usage else None)


def _fault_of_choices(choices: Sequence[_Choice], tokens: int | None) -> Fault | None:
    if tokens is not None and (found := fault_of_text("".join(choice.said for choice in choices), tokens)) is not None:
        return found
    return None if any(choice.finish_reason for choice in choices) else Fault.NO_FINISH


def fault_of_text(said: str, tokens: int) -> Fault | None:
    """Of the text of a numbered answer."""
    found = numbers(said)
    if found is None:
        return Fault.JSON
    if len(set(found)) < len(found):
        return Fault.DOUBLED
    if found != sorted(found):
        return Fault.MOVED
    return None if found == list(range(tokens)) else Fault.LOST
