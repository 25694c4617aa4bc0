"""Anthropic's Messages API as a stand-in speaks it. Pure: a request in, an answer as bytes or events out.

Sources: Anthropic's API documentation, pages "Messages", "Streaming messages", "Errors", "Rate limits", "Structured
outputs" and "Extended thinking"; anthropic-version 2023-06-01.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.provider_words import LIMIT, REMAINING, RETRY_AFTER_S, Answer, Bad, Json, Mode, Question, Refusal

RESET = "2030-01-01T00:00:00Z"
LIMITS = {
    "anthropic-ratelimit-requests-limit": f"{LIMIT}",
    "anthropic-ratelimit-requests-remaining": f"{REMAINING}",
    "anthropic-ratelimit-requests-reset": RESET,
    "anthropic-ratelimit-tokens-limit": "80000",
    "anthropic-ratelimit-tokens-remaining": "79000",
    "anthropic-ratelimit-tokens-reset": RESET,
    "request-id": "req_011standin",
}
STOPS = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filtered": "refusal"}
ROLES = ("user", "assistant")
LEAST_THOUGHT_TOKENS = 1024


def key_of(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-api-key")


def read(body: Json, headers: Mapping[str, str], path: str) -> Question:
    """Raises Bad for what the API refuses with 400."""
    if headers.get("anthropic-version") != "2023-06-01":
        raise Bad("anthropic-version: header is required")
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(body.get(name), kind):
            raise Bad(f"{name}: Field required")
    if any(message.get("role") not in ROLES for message in body["messages"]):
        raise Bad("messages: Unexpected role. Allowed roles are user or assistant; use the top-level system parameter")
    blocks = [block for message in body["messages"] for block in _blocks(message["content"])]
    last = _blocks(body["messages"][-1]["content"])
    thinking = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    if body.get("thinking", {}).get("budget_tokens", LEAST_THOUGHT_TOKENS) < LEAST_THOUGHT_TOKENS:
        raise Bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    return Question(
        model=body["model"],
        stream=bool(body.get("stream")),
        said=" ".join(block["text"] for block in last if block["type"] == "text"),
        images=[_image(block) for block in blocks if block["type"] == "image"],
        tools=[(tool["name"], tool["input_schema"]) for tool in body.get("tools", ())],
        tool_said=next((_text(block["content"]) for block in last if block["type"] == "tool_result"), None),
        schema=_schema(body),
        thinks=thinking,
        max_tokens=body["max_tokens"],
        more={"system": body.get("system")},
    )


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return "".join(block["text"] for block in _blocks(content))


def _image(block: Json) -> tuple[str, int]:
    source = block["source"]
    if source["type"] != "base64":
        raise Bad("messages.content.image.source: only base64 here, for a stand-in fetches nothing")
    return source["media_type"], len(base64.b64decode(source["data"]))


def _schema(body: Json) -> Json | None:
    wanted = body.get("output_format") or body.get("output_config", {}).get("format")
    return wanted["schema"] if wanted else None


def headers(_mode: Mode) -> dict[str, str]:
    return LIMITS


def refusal(mode: Mode, question: Question | None) -> Refusal | None:
    """The provider's error for this mode, None for a mode that answers."""
    name = question.model if question else ""
    told: dict[Mode, tuple[int, str, str]] = {
        Mode.FULL: (429, "rate_limit_error", "This request would exceed your organization's rate limit of 30 requests"),
        Mode.SPENT: (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        Mode.BROKEN: (500, "api_error", "Internal server error"),
        Mode.OVERLOADED: (529, "overloaded_error", "Overloaded"),
        Mode.GONE: (404, "not_found_error", f"model: {name}"),
        Mode.TOO_LONG: (400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
        Mode.FILTERED: (400, "invalid_request_error", "Output blocked by content filtering policy"),
        Mode.BAD_KEY: (401, "authentication_error", "invalid x-api-key"),
        Mode.REFUSED: (400, "invalid_request_error", "top_k: Input should be greater than 0; rate limit 429"),
    }
    if mode not in told:
        return None
    status, kind, message = told[mode]
    more = {"retry-after": f"{RETRY_AFTER_S}"} if mode in (Mode.FULL, Mode.OVERLOADED) else {}
    return Refusal(status, error(kind, message), LIMITS | more)


def bad(message: str) -> Refusal:
    return Refusal(400, error("invalid_request_error", message), LIMITS)


def error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011standin"}


def whole(question: Question, answer: Answer) -> Json:
    return _message(question, answer, [block for block, _ in _content(answer)], STOPS[answer.finish])


def events(question: Question, answer: Answer) -> Iterator[bytes]:
    """A stream, event by event; a `ping` may come anywhere."""
    yield _event("message_start", {"message": _message(question, answer, [], None)})
    yield _event("ping", {})
    for index, (block, deltas) in enumerate(_content(answer)):
        yield _event("content_block_start", {"index": index, "content_block": _opened(block)})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    usage = {"output_tokens": answer.completion_tokens}
    yield _event(
        "message_delta", {"delta": {"stop_reason": STOPS[answer.finish], "stop_sequence": None}, "usage": usage}
    )
    yield _event("message_stop", {})


def error_event() -> bytes:
    """What comes in the middle of a stream when the service is overloaded (page "Streaming messages")."""
    return _event("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})


def _content(answer: Answer) -> Iterator[tuple[Json, list[Json]]]:
    """Each block, whole, and the deltas that make it."""
    if answer.thought is not None:
        deltas = [
            {"type": "thinking_delta", "thinking": answer.thought},
            {"type": "signature_delta", "signature": "c2ln"},
        ]
        yield {"type": "thinking", "thinking": answer.thought, "signature": "c2ln"}, deltas
    if answer.words:
        deltas = [{"type": "text_delta", "text": word} for word in answer.words]
        yield {"type": "text", "text": answer.text}, deltas
    if answer.call is not None:
        name, arguments = answer.call
        said = json.dumps(arguments)
        halves = (said[: len(said) // 2], said[len(said) // 2 :])
        deltas = [{"type": "input_json_delta", "partial_json": half} for half in ("", *halves)]
        yield {"type": "tool_use", "id": "toolu_01standin", "name": name, "input": arguments}, deltas


def _opened(block: Json) -> Json:
    empty: dict[str, Json] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return block | empty[block["type"]]


def _message(question: Question, answer: Answer, content: list[Json], stop: str | None) -> Json:
    return {
        "id": "msg_01standin",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": answer.completion_tokens if stop else 1,
        },
    }


def _event(kind: str, more: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | more)}\n\n".encode()
