"""What the stand-in cloud answers, as timed frames: for a question, a switch and the request's number.

Pure: the same arguments give the same bytes at the same moments. It must not know sockets or the clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import cycle, islice

from benchmarks.switch import Switch
from benchmarks.wire import DONE, Answer, BodyError, Json, Question, Usage, encoded, error_json, event

TEXT = (
    "This is a stand-in cloud: no model has read your question. It answers in the shape of the OpenAI API, with a "
    "delay and a price, so that overflow can be tried on one machine without a key. To use a real cloud, name it in "
    "the stack file and put its key into the environment."
)
NATURAL_TOKENS = (40, 120)
EVENTS = "text/event-stream; charset=utf-8"
JSON = "application/json"


class Mode(StrEnum):
    """The switches of the stand-in cloud."""

    OK = "ok"
    RATE_LIMITED = "429"
    BROKEN = "500"
    UNAVAILABLE = "503"
    UNAUTHORIZED = "401"
    TIMEOUT = "timeout"
    SLOW_FIRST_BYTE = "slow_first_byte"
    CUT = "cut"
    ERROR_EVENT = "error_event"
    MALFORMED = "malformed"


class Ending(StrEnum):
    """What follows the last frame: a clean end, a closed connection, or nothing until the client gives up."""

    WHOLE = "whole"
    CUT = "cut"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed of the cloud. `ttft_jitter` is the sigma of a lognormal around the median `ttft_s`.

    `seeded`: an answer has as many tokens as the request's `seed` says.
    """

    ttft_s: float = 0.4
    ttft_jitter: float = 0.2
    tokens_per_s: float = 80.0
    words_per_delta: int = 1
    seed: int = 1
    seeded: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes to write `delay_s` after the frame before; `tokens` of the answer are in it."""

    delay_s: float
    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer. Status and headers go out with the first frame, never earlier."""

    status: int
    content_type: str
    frames: tuple[Frame, ...]
    headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE


def reply(question: Question, switch: Switch, pace: Pace, number: int, created: int) -> Reply:
    """The answer to the request with this number under this switch."""
    if refusal := _refusal(switch, question):
        return refusal
    drawn = random.Random(f"{pace.seed}/{number}")
    natural = drawn.randint(*NATURAL_TOKENS)
    if pace.seeded and question.seed is not None:
        natural = question.seed
    made = natural if question.max_tokens is None else min(natural, question.max_tokens)
    reason = "length" if made < natural else "stop"
    ttft_s = pace.ttft_s * math.exp(pace.ttft_jitter * drawn.gauss(0.0, 1.0))
    answer = Answer(
        question.kind, _id(question, number), created, question.model, "fp_stand_in", question.include_usage
    )
    build = _streamed if question.stream else _at_once
    return _misled(build(question, answer, words(made), reason, (ttft_s, pace)), switch)


def words(count: int) -> tuple[str, ...]:
    """The answer's text as words, each with the space before it."""
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(islice(cycle(TEXT.split()), count)))


def unauthorized(key: str | None) -> Reply:
    """The answer to a missing or wrong key; only the key's first letters are repeated."""
    said = "You didn't provide an API key." if key is None else f"Incorrect API key provided: {key[:5]}***."
    return refused(401, said, "invalid_request_error", "invalid_api_key")


def unknown_model(name: str, known: Sequence[str]) -> Reply:
    """The answer to a model that this cloud does not have."""
    said = f"The model `{name}` does not exist; the stand-in cloud has {', '.join(known)}."
    return refused(404, said, "invalid_request_error", "model_not_found", "model")


def bad_body(error: BodyError) -> Reply:
    """The answer to a body that cannot be read."""
    return refused(400, str(error), "invalid_request_error", None, error.param)


def over_limit(wait_s: float) -> Reply:
    """The answer to a request that comes too early by so long."""
    said = f"Rate limit reached for requests. Please try again in {wait_s:g}s."
    headers = {"retry-after": f"{math.ceil(wait_s)}", "retry-after-ms": f"{wait_s * 1000:.0f}"}
    return replace(refused(429, said, "requests", "rate_limit_exceeded"), headers=headers)


def refused(status: int, message: str, error_type: str, code: str | None, param: str | None = None) -> Reply:
    """An error in OpenAI's envelope, at once."""
    return Reply(status, JSON, (Frame(0.0, encoded(error_json(message, error_type, code, param))),))


def _refusal(switch: Switch, question: Question) -> Reply | None:
    mode = switch.mode
    if mode == Mode.RATE_LIMITED:
        return over_limit(switch.seconds)
    if mode == Mode.BROKEN or (mode == Mode.ERROR_EVENT and not question.stream):
        return refused(500, "The server had an error while processing your request.", "server_error", None)
    if mode == Mode.UNAVAILABLE:
        return refused(503, "The engine is currently overloaded, please try again later.", "server_error", None)
    if mode == Mode.UNAUTHORIZED:
        return unauthorized("switched off")
    return Reply(200, JSON, (), ending=Ending.SILENT) if mode == Mode.TIMEOUT else None


def _id(question: Question, number: int) -> str:
    return f"{'chatcmpl' if question.kind == 'chat' else 'cmpl'}-standin{number:08d}"


def _streamed(
    question: Question, answer: Answer, said: tuple[str, ...], reason: str, speed: tuple[float, Pace]
) -> Reply:
    ttft_s, pace = speed
    size = pace.words_per_delta
    deltas = [said[start : start + size] for start in range(0, len(said), size)]
    frames = [Frame(len(each) / pace.tokens_per_s, event(answer.piece("".join(each))), len(each)) for each in deltas]
    opening = answer.opening()
    if opening is not None:
        frames = [Frame(ttft_s, event(opening)), replace(frames[0], delay_s=0.0), *frames[1:]]
    else:
        frames = [replace(frames[0], delay_s=ttft_s), *frames[1:]]
    frames.append(Frame(0.0, event(answer.closing(reason))))
    if question.include_usage:
        frames.append(Frame(0.0, event(answer.tally(Usage(question.prompt_tokens, len(said))))))
    return Reply(200, EVENTS, (*frames, Frame(0.0, DONE)))


def _at_once(
    question: Question, answer: Answer, said: tuple[str, ...], reason: str, speed: tuple[float, Pace]
) -> Reply:
    ttft_s, pace = speed
    body = encoded(_detailed(answer.whole("".join(said), reason, Usage(question.prompt_tokens, len(said)))))
    return Reply(200, JSON, (Frame(ttft_s + (len(said) - 1) / pace.tokens_per_s, body, len(said)),))


def _detailed(whole: Json) -> Json:
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    return whole | {"usage": whole["usage"] | details, "service_tier": "default"}


def _misled(good: Reply, switch: Switch) -> Reply:
    frames, first = good.frames, good.frames[0]
    streamed = good.content_type == EVENTS
    match switch.mode:
        case Mode.SLOW_FIRST_BYTE:
            return replace(good, frames=(replace(first, delay_s=first.delay_s + switch.seconds), *frames[1:]))
        case Mode.CUT:
            kept = frames[: switch.after] if streamed else (_half(first),)
            return replace(good, frames=kept, ending=Ending.CUT)
        case Mode.ERROR_EVENT:
            failure = error_json("The server had an error while processing your request.", "server_error", None)
            return replace(good, frames=(*frames[: switch.after], Frame(0.0, event(failure))))
        case Mode.MALFORMED:
            broken = Frame(0.0, b'data: {"id":"chatcmpl-standin","choices":[{"index":0,"delta":{"cont\n\n')
            return replace(good, frames=(*frames[: switch.after], broken, frames[-1]) if streamed else (_half(first),))
    return good


def _half(frame: Frame) -> Frame:
    return Frame(frame.delay_s, frame.data[: len(frame.data) // 2])
