"""One request of the suite and what came of it. Pure: the bytes of an answer in, a verdict out.

It must not know how requests are sent, nor what was broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from typing import Any

import msgspec

from benchmarks import cloud_reply, engine
from benchmarks.completeness import Fault, fault_of_stream, fault_of_whole
from benchmarks.night.scenery import MAY_SPILL

OK = 200
REFUSALS = (429, 503)
AWAY = "cloud/"
HOME = "local/"
DATA = b"data:"


class End(StrEnum):
    """How a request ended. REFUSED: told honestly to come again later. BEFORE and AFTER the first token: an error that
    the client sees as one. WRONG: it looks like an answer and is none."""

    ANSWERED = "answered"
    REFUSED = "refused"
    BEFORE = "error before the first token"
    AFTER = "error after the first token"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; `number` says which of the prompts, `tokens` how long the answer must be."""

    number: int
    tier: str
    stream: bool
    tokens: int
    model: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Times of the monotonic clock; `first_s`: the first content. `broke` is the client's own error."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    started_s: float
    first_s: float | None
    ended_s: float
    broke: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request and its end; `why` in words where it was not answered."""

    question: Question
    end: End
    target: str
    reason: str
    started_s: float
    first_s: float | None
    ended_s: float
    why: str = ""

    @property
    def may_spill(self) -> bool:
        return self.question.tier == MAY_SPILL

    @property
    def is_away(self) -> bool:
        """Whether the cloud answered."""
        return self.target.startswith(AWAY)

    @property
    def seen_s(self) -> float:
        """When its client saw the first of the answer."""
        return self.ended_s if self.first_s is None else self.first_s


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_read = msgspec.json.Decoder(_Chunk).decode


def judged(question: Question, reply: Reply, known: Mapping[int, str]) -> Visit:
    """`known`: by the number of the prompt, what the engine at home must say."""
    target = reply.headers.get("x-spillway-target", "")
    end, why = _end(question, reply, known, target)
    reason = reply.headers.get("x-spillway-reason", "")
    return Visit(question, end, target, reason, reply.started_s, reply.first_s, reply.ended_s, why)


def said_in(body: bytes, *, stream: bool) -> tuple[str, str | None]:
    """The text and the finish reason, as far as they can be read."""
    lines = [line.removeprefix(DATA).strip() for line in body.splitlines() if line.startswith(DATA)]
    parts: Sequence[bytes] = lines if stream else [body]
    text, reason = "", None
    for part in parts:
        try:
            choices = _read(part).choices
        except msgspec.DecodeError:
            continue
        for choice in choices:
            text += (choice.delta or choice.message or _Said()).content or ""
            reason = choice.finish_reason or reason
    return text, reason


def of_fake(tokens: int) -> str:
    """What the fake engine says."""
    return " ".join(islice(cycle(engine.TEXT.split()), tokens))


def of_cloud(tokens: int) -> str:
    """What the stand-in cloud says, up to the fewest words that it may draw."""
    return "".join(cloud_reply.words(tokens))


def _end(question: Question, reply: Reply, known: Mapping[int, str], target: str) -> tuple[End, str]:
    if reply.status != OK:
        return _unanswered(reply)
    fault = fault_of_stream(reply.body, None) if question.stream else fault_of_whole(reply.body, None)
    text, finished = said_in(reply.body, stream=question.stream)
    wanted = _wanted(question, known, target)
    if wanted is not None and not wanted.startswith(text):
        return End.WRONG, f"said {text[:60]!r} and not {wanted[:60]!r}"
    if reply.broke or fault is Fault.ERROR:
        # A connection that is cut and an error in the stream are both seen by every client; an answer that ends in
        # good order and is not whole is seen by none.
        return (End.AFTER if text else End.BEFORE), reply.broke or f"{fault}: {reply.body[-160:]!r}"
    if fault is not None:
        return End.WRONG, str(fault)
    if finished == "abort" or (wanted is not None and text != wanted):
        return End.WRONG, f"finished with {finished!r} after {text[-40:]!r}"
    return End.ANSWERED, ""


def _wanted(question: Question, known: Mapping[int, str], target: str) -> str | None:
    """The whole answer, None where it cannot be foretold."""
    if not target.startswith(AWAY):
        return known.get(question.number)
    return of_cloud(question.tokens) if question.tokens <= cloud_reply.NATURAL_TOKENS[0] else None


def _unanswered(reply: Reply) -> tuple[End, str]:
    why = reply.broke or f"status {reply.status}: {reply.body[:200]!r}"
    if reply.status in REFUSALS and "retry-after" in reply.headers:
        return End.REFUSED, why
    return End.BEFORE, why


def body_of(question: Question, prompt: str) -> dict[str, Any]:
    """As OpenAI's clients send it."""
    body: dict[str, Any] = {
        "model": question.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": question.tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": question.stream,
    }
    return body | ({"stream_options": {"include_usage": True}} if question.stream else {})
