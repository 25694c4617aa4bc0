"""Server-sent events of OpenAI streams: cut bytes into events and read the little that routing needs of each.

Pure. An event keeps its bytes: what is relayed is what came.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from router.errors import ApiError

DONE = b"data: [DONE]\n\n"
# A content event needs no parsing. These texts cannot stand in a JSON string, where each quote has a backslash.
TELLING = (b'"finish_reason":"', b'"finish_reason": "', b'"usage":{', b'"usage": {', b'"error":', b"[DONE]")
MOST_TOKENS = 2**31
SPOKEN = ("content", "reasoning_content", "reasoning", "tool_calls", "function_call", "refusal")


class BadEvent(ValueError):
    """An event that is not JSON where an OpenAI stream has JSON."""


class Event(msgspec.Struct, frozen=True):
    """One event. `speaks` means that it carries a token; `usage` is (prompt tokens, completion tokens)."""

    raw: bytes
    speaks: bool = False
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None
    only_usage: bool = False
    error: str | None = None
    done: bool = False


class Cutter:
    """Cuts a byte stream into events at blank lines, whatever the chunks were. `rest` is a part of the next event."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        *events, self.rest = (self.rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        return [event + b"\n\n" for event in events if event]


def read_event(raw: bytes, started: bool) -> Event:
    """Read one event. Once a stream has started, events without a telling text are content and stay unparsed."""
    if started and not any(text in raw for text in TELLING):
        return Event(raw, speaks=not raw.startswith(b":"))
    data = b"\n".join(line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:"))
    if not data:
        return Event(raw)
    if data == b"[DONE]":
        return Event(raw, done=True)
    try:
        return _read(raw, orjson.loads(data))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadEvent(f"not an OpenAI stream event: {data[:200].decode(errors='replace')}") from error


def _read(raw: bytes, data: dict[str, Any]) -> Event:
    if data.get("error"):
        error = data["error"]
        return Event(raw, error=str(error.get("message", error)) if isinstance(error, dict) else str(error))
    choices = data.get("choices") or []
    usage = usage_of(data)
    return Event(
        raw,
        speaks=any(_speaks(choice) for choice in choices),
        finish_reason=next((str(each["finish_reason"]) for each in choices if each.get("finish_reason")), None),
        usage=usage,
        only_usage=usage is not None and not choices,
    )


def _speaks(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(choice.get("text")) or any(delta.get(part) for part in SPOKEN)


def usage_of(data: dict[str, Any]) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of a chunk or an answer that has them."""
    usage = data.get("usage")
    return read_usage(usage["prompt_tokens"], usage.get("completion_tokens")) if usage else None


def read_usage(prompt_tokens: Any, completion_tokens: Any) -> tuple[int, int]:
    """Numbers of tokens that can be added up and stored, whatever a target claims."""
    return _count(prompt_tokens), _count(completion_tokens)


def _count(tokens: Any) -> int:
    return min(max(int(tokens or 0), 0), MOST_TOKENS)


def error_event(error: ApiError) -> bytes:
    """The event that ends a broken stream. No `[DONE]` follows, so it cannot be taken for a whole answer."""
    return b"data: " + orjson.dumps(error.envelope()) + b"\n\n"
