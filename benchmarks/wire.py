"""OpenAI's JSON, as far as the stand-in cloud and the fake engine speak it: what a request asks, how an answer looks.

Pure: bytes and values in, values out. It must not know sockets, delays, switches or prices.

Tokens are counted by one plain rule: a prompt has one token for every four bytes of text, rounded up, and four more
for each message; token id lists count as they are; an answer has one token for every word sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


class BodyError(ValueError):
    """A request body that OpenAI would refuse with 400. `param` names the field, None when it is the whole body."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Kind(StrEnum):
    """Which of the two generating endpoints was asked."""

    CHAT = "chat"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Question:
    """What we read from a request body; everything else in it is ignored. `text` is the prompt as one text."""

    kind: Kind
    model: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    max_tokens: int | None
    ignore_eos: bool
    text: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request, as `usage` reports them."""

    prompt_tokens: int
    completion_tokens: int

    def as_json(self) -> Json:
        """The `usage` object."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """The parts that every chunk of one answer repeats. `null_usage`: OpenAI adds `usage: null`, vLLM does not."""

    kind: Kind
    id: str
    created: int
    model: str
    fingerprint: str | None = None
    null_usage: bool = False

    def opening(self) -> Json | None:
        """The role chunk; text completions have none."""
        return self._chunk({"role": "assistant", "content": ""}, "", None) if self.kind is Kind.CHAT else None

    def piece(self, text: str) -> Json:
        """A chunk with more of the answer."""
        return self._chunk({"content": text}, text, None)

    def closing(self, reason: str) -> Json:
        """The chunk with the finish reason."""
        return self._chunk({}, "", reason)

    def tally(self, usage: Usage) -> Json:
        """The chunk that `stream_options.include_usage` asks for: no choices, only usage."""
        return self._head(stream=True) | {"choices": [], "usage": usage.as_json()}

    def whole(self, text: str, reason: str, usage: Usage) -> Json:
        """The answer that is not streamed."""
        said: Json = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = {"index": 0, "logprobs": None, "finish_reason": reason} | (said if self._is_chat else {"text": text})
        return self._head(stream=False) | {"choices": [choice], "usage": usage.as_json()}

    @property
    def _is_chat(self) -> bool:
        return self.kind is Kind.CHAT

    def _head(self, *, stream: bool) -> Json:
        chat = "chat.completion.chunk" if stream else "chat.completion"
        head: Json = {
            "id": self.id,
            "object": chat if self._is_chat else "text_completion",
            "created": self.created,
            "model": self.model,
        }
        return head | ({} if self.fingerprint is None else {"system_fingerprint": self.fingerprint})

    def _chunk(self, delta: Json, text: str, reason: str | None) -> Json:
        said: Json = {"delta": delta} if self._is_chat else {"text": text}
        choice = {"index": 0} | said | {"logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self.null_usage else {}
        return self._head(stream=True) | {"choices": [choice]} | usage


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + encoded(data) + b"\n\n"


def encoded(data: Mapping[str, Any]) -> bytes:
    """Compact JSON."""
    return json.dumps(data, separators=(",", ":")).encode()


def error_json(message: str, error_type: str, code: str | int | None, param: str | None = None) -> Json:
    """The error envelope."""
    return {"error": {"message": message, "type": error_type, "param": param, "code": code}}


def models_json(names: Sequence[str], owner: str, **facts: Any) -> Json:
    """The answer of `/v1/models`; `facts` are added to every entry."""
    listed = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": owner} | facts for name in names]
    return {"object": "list", "data": listed}


def read_question(kind: Kind, body: bytes) -> Question:
    """Read a request body. Raises BodyError with the sentence and the field for the envelope."""
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise BodyError(f"We could not parse the JSON body of your request: {error}.") from error
    if not isinstance(raw, dict):
        raise BodyError("The JSON body of your request must be an object.")
    options = raw.get("stream_options")
    return Question(
        kind=kind,
        model=_needed(raw, "model", str),
        prompt_tokens=_chat_tokens(_needed(raw, "messages", list)) if kind is Kind.CHAT else _text_tokens(raw),
        stream=raw.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=_limit(raw, kind),
        ignore_eos=raw.get("ignore_eos") is True,
        text=json.dumps(raw["messages"] if kind is Kind.CHAT else raw["prompt"], ensure_ascii=False),
        seed=_seed(raw),
    )


def _seed(raw: Json) -> int | None:
    seed = raw.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and seed > 0 else None


def counted(text: str) -> int:
    """Tokens of a prompt text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def _needed(raw: Json, field: str, wanted: type) -> Any:
    if field not in raw:
        raise BodyError(f"Missing required parameter: '{field}'.", field)
    if not isinstance(raw[field], wanted):
        raise BodyError(f"Invalid type for '{field}': expected {wanted.__name__}.", field)
    return raw[field]


def _limit(raw: Json, kind: Kind) -> int | None:
    names = ("max_completion_tokens", "max_tokens") if kind is Kind.CHAT else ("max_tokens",)
    for name in names:
        value = raw.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BodyError(f"Invalid value for '{name}': expected an integer of at least 1.", name)
        return value
    return None


def _chat_tokens(messages: list[Any]) -> int:
    if not messages:
        raise BodyError("Invalid 'messages': empty array.", "messages")
    return sum(_message_tokens(message, index) for index, message in enumerate(messages))


def _message_tokens(message: Any, index: int) -> int:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BodyError(f"Missing required parameter: 'messages[{index}].role'.", f"messages[{index}].role")
    content = message.get("content") or ""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") or "" for part in parts if isinstance(part, dict)]
    return TOKENS_PER_MESSAGE + sum(counted(str(text)) for text in texts)


def _text_tokens(raw: Json) -> int:
    prompt = _needed(raw, "prompt", object)
    if isinstance(prompt, str):
        return counted(prompt)
    if isinstance(prompt, list) and prompt and all(isinstance(each, int) for each in prompt):
        return len(prompt)
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return counted(prompt[0])
    raise BodyError("Invalid 'prompt': expected one string or one list of token ids.", "prompt")
