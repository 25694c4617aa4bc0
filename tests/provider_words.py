"""What a question to a stand-in provider and its answer are, whatever wire format they came in. Pure.

The answer shows what arrived: it repeats the last words, names the size of an image, calls the first tool with
arguments of its schema, says what a tool has said, and fills in a schema that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]
TOKENS_PER_WORD = 1
THOUGHT = "I think before I speak."
# Rate limits as all of them tell them.
LIMIT, REMAINING, RETRY_AFTER_S = 30, 29, 7


class Mode(StrEnum):
    """How a stand-in answers: well, with an error of its provider's, or not at all."""

    OK = "ok"
    FULL = "full"
    SPENT = "spent"
    BROKEN = "broken"
    OVERLOADED = "overloaded"
    GONE = "gone"
    TOO_LONG = "too_long"
    FILTERED = "filtered"
    FILTERED_ANSWER = "filtered_answer"
    BAD_KEY = "bad_key"
    REFUSED = "refused"
    CUT = "cut"
    HANG = "hang"
    SILENT = "silent"
    ERROR_EVENT = "error_event"
    MALFORMED = "malformed"
    EMPTY = "empty"


# Whoever has said a part of the answer stops: closed, silent for ever, with an error, or in the middle of an event.
HALF = (Mode.CUT, Mode.SILENT, Mode.ERROR_EVENT, Mode.MALFORMED)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for. `images` are (media type, bytes), `said` the last text, `tool_said` what a tool answered."""

    model: str
    stream: bool
    said: str
    images: Sequence[tuple[str, int]] = ()
    tools: Sequence[tuple[str, Json]] = ()
    tool_said: str | None = None
    schema: Json | None = None
    thinks: bool = False
    max_tokens: int | None = None
    more: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to it. `call` is (tool, arguments); `finish` is `stop`, `length`, `tool` or `filtered`."""

    words: tuple[str, ...]
    thought: str | None = None
    call: tuple[str, Json] | None = None
    finish: str = "stop"
    prompt_tokens: int = 11

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def completion_tokens(self) -> int:
        return max(1, len(self.words))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of the provider's."""

    status: int
    body: Json | list[Json]
    headers: dict[str, str] = field(default_factory=dict)


class Bad(ValueError):
    """A request that the provider's documentation does not allow; the text says why."""


def answer_to(question: Question, mode: Mode) -> Answer:
    """The answer to the question; a model that filters breaks off with its first word."""
    thought = THOUGHT if question.thinks else None
    if mode is Mode.FILTERED_ANSWER:
        return Answer(("Well",), thought, finish="filtered")
    if question.tools and question.tool_said is None:
        name, schema = question.tools[0]
        return Answer((), thought, (name, filled(schema)), "tool")
    words = tuple(_spoken(question).split(" "))
    words = tuple(word if at == 0 else f" {word}" for at, word in enumerate(words))
    most = question.max_tokens
    if most is not None and most < len(words) and not question.thinks:
        return Answer(words[:most], thought, finish="length")
    return Answer(words, thought)


def _spoken(question: Question) -> str:
    if question.schema is not None:
        return compact(filled(question.schema))
    if question.tool_said is not None:
        return f"The tool says: {question.tool_said}"
    seen = [f"I see {kind} of {size} bytes." for kind, size in question.images]
    return " ".join([*seen, f"You said: {question.said}"])


def filled(schema: Json) -> Any:
    """The smallest value that a JSON schema allows, texts being `Oslo`."""
    match schema.get("type", "object"):
        case "object" | "OBJECT":
            return {name: filled(each) for name, each in schema.get("properties", {}).items()}
        case "array" | "ARRAY":
            return [filled(schema.get("items", {"type": "string"}))]
        case "integer" | "number" | "INTEGER" | "NUMBER":
            return 7
        case "boolean" | "BOOLEAN":
            return True
    return schema.get("enum", ["Oslo"])[0]


def compact(value: Any) -> str:
    """As JSON with no space in it, so that it is one word."""
    return json.dumps(value, separators=(",", ":"))
