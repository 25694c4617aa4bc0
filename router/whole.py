"""Whole answers of an engine, and its error answers, in our words. Pure: status and bytes in, a verdict out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from router.errors import ContextExceeded, TargetUnavailable, error_answer
from router.health.schema import complaint
from router.reply import ABORTED, Reading
from router.sse import read_usage

# What vLLM says of a prompt that is too long (engine-facts 4.1).
CONTEXT_TEXT = "maximum context length"
OK = 200
BAD_REQUEST = 400


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Said(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    message: _Message | None = None


class _Texts(msgspec.Struct):
    choices: list[_Said]


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    """The little that we read of an answer; the rest is skipped, not decoded. Vectors stand in `data`."""

    choices: list[_Choice] = []
    data: list[msgspec.Raw] = []
    usage: _Usage | None = None


ANSWER = msgspec.json.Decoder(_Answer)
TEXTS = msgspec.json.Decoder(_Texts)
# An answer that the client's own bound has cut short is not what the request asked for, and would be so anywhere.
CUT_SHORT = "length"


def read_whole(reading: Reading, status: int, body: bytes, retry_after: str | None) -> Exception | None:
    """Note in `reading` what the answer says of itself. What comes back says why it is none, for `raise`."""
    return _read(reading, body) if status == OK else _refused(reading.target, status, body, retry_after)


def misfit(wanted: object, body: bytes) -> str | None:
    """Where a whole chat does not have the form that its `response_format` asks for; None where it has, and where it
    calls tools instead or was cut short."""
    if not isinstance(wanted, dict):
        return None
    try:
        choices = TEXTS.decode(body).choices
    except msgspec.DecodeError:
        return None
    for choice in choices:
        text = None if choice.message is None else choice.message.content
        if text is None or choice.finish_reason == CUT_SHORT:
            continue
        if (why := complaint(wanted, text)) is not None:
            return f"the answer {why}"
    return None


def _read(reading: Reading, body: bytes) -> TargetUnavailable | None:
    try:
        answer = ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return TargetUnavailable(reading.target, "malformed", f"the answer is not an OpenAI answer: {error}")
    if not answer.choices and not answer.data:
        return TargetUnavailable(reading.target, "empty", "the answer has no choice in it")
    for choice in answer.choices:
        if choice.finish_reason == ABORTED:
            return TargetUnavailable(reading.target, ABORTED, "the engine aborted the request")
        reading.finish_reason = reading.finish_reason or choice.finish_reason
    usage = answer.usage
    if usage is not None:
        reading.usage = read_usage(usage.prompt_tokens, usage.completion_tokens)
    return None


def _refused(target: str, status: int, body: bytes, retry_after: str | None) -> Exception:
    if status < BAD_REQUEST:
        return TargetUnavailable(target, "malformed", f"answered {status}, which is neither an answer nor an error")
    error = _error_of(body)
    message = str(error.get("message") or f"answered {status}")
    if status == BAD_REQUEST and CONTEXT_TEXT in message:
        return ContextExceeded(target, message)
    param = error.get("param")
    field = param.removeprefix("body.") if isinstance(param, str) else None
    return error_answer(target, status, message, field, _seconds(retry_after))


def _error_of(body: bytes) -> Mapping[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:200].decode(errors="replace")}
    error = data.get("error", data) if isinstance(data, dict) else data
    return error if isinstance(error, dict) else {"message": str(error)}


def _seconds(retry_after: str | None) -> float | None:
    """The header as seconds; a date, its other form, is used by no engine."""
    return float(retry_after) if retry_after is not None and retry_after.isascii() and retry_after.isdigit() else None
